"""What a run folder promises, and the check that it keeps it.

`manifest.json` is the last file of a run to be written. It names every product with its size and SHA-256, what
the run was made from, and by which code. A folder without a manifest does not exist; a file that differs from
its line is an error that names the file. Nothing hashed here depends on the clock, the host or the folder's place.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hornbook.disk import file_digest
from hornbook.errors import Damaged, InputError, UsageError

FORMAT = 1
MANIFEST = "manifest.json"
OCCASION = ("log/", "report.html")
"""Files that tell of the occasion (clock, machine), not of the result: kept, but neither hashed nor promised."""

_NOT_PRODUCTS = ("config.toml", "metrics.jsonl", "skipped.jsonl")
_SHELL = (
    "hornbook.cli",
    "hornbook.config",
    "hornbook.disk",
    "hornbook.errors",
    "hornbook.execute",
    "hornbook.hub",
    "hornbook.ranks",
    "hornbook.run",
    "hornbook.report",
    "hornbook.recipe",
    "hornbook.manifest",
    "hornbook.progress",
    "hornbook.trackers",
    "hornbook.memory",
    "hornbook.live",
)


def canonical(value: Any) -> bytes:
    """JSON without white space: the form in which things are hashed. Order counts, as it does in a recipe."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value."""
    return hashlib.sha256(canonical(value)).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One run, as its `manifest.json` has it."""

    name: str
    stage: str
    makes: str
    identity: str
    """Hash of inputs, config and code: what the run is named by."""
    contents: str
    """Hash of the products: what runs downstream are named by."""
    inputs: dict[str, dict[str, str]]
    code: str
    versions: dict[str, str]
    counts: dict[str, int] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run folder.

    Raises:
        InputError: the folder is no run.
        Damaged: its manifest cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder} is not a run: it has no {MANIFEST}", hint="`hornbook runs` lists the runs there are"
        )
    try:
        values = json.loads(path.read_bytes())
        return Manifest(**values)
    except (ValueError, TypeError) as error:
        raise Damaged(f"{path} cannot be read: {error}", hint="remove the folder and make the run again") from error


def products(folder: Path) -> dict[str, dict[str, Any]]:
    """Every file of a folder that a manifest promises, with size and hash."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    kept = [name for name in names if name != MANIFEST and not name.startswith(OCCASION)]
    return {name: {"size": (folder / name).stat().st_size, "sha256": file_digest(folder / name)} for name in kept}


def contents_of(files: Mapping[str, Mapping[str, Any]]) -> str:
    """The identity of what was made, whatever made it: so that an equal result rebuilds nothing downstream."""
    return digest({name: entry["sha256"] for name, entry in files.items() if name not in _NOT_PRODUCTS})


def check_file(folder: Path, name: str, entry: Mapping[str, Any]) -> Path:
    """The path of a promised file, once its bytes are known to be what was promised."""
    path = folder / name
    if not path.is_file():
        raise Damaged(f"{path} is missing, though {MANIFEST} names it", hint="remove the folder and make the run again")
    size = path.stat().st_size
    if size != entry["size"]:
        raise Damaged(
            f"{path} has {size} bytes, {MANIFEST} says {entry['size']}", hint="remove the folder and make the run again"
        )
    if file_digest(path) != entry["sha256"]:
        raise Damaged(
            f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}",
            hint="remove the folder and make the run again",
        )
    return path


def verify(folder: Path) -> Manifest:
    """Check every promised file of a run; the manifest, if all is well."""
    manifest = read_manifest(folder)
    for name, entry in manifest.files.items():
        check_file(folder, name, entry)
    return manifest


def list_runs(runs: Path) -> list[Manifest]:
    """The finished runs under a folder, in order of name."""
    return [
        read_manifest(path.parent)
        for path in sorted(runs.glob(f"*/{MANIFEST}"))
        if not path.parent.name.startswith(".")
    ]


class Input:
    """What a stage reads: a run (checked against its manifest), or a folder or file made elsewhere."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise UsageError(f"there is no file or folder {path}")
        self.path = path
        self.manifest = read_manifest(path) if (path / MANIFEST).is_file() else None
        self._checked: set[str] = set()

    @property
    def name(self) -> str:
        return self.manifest.name if self.manifest else self.path.name

    @property
    def contents(self) -> str:
        """Hash of the contents: from the manifest of a run, over all bytes of anything else."""
        if self.manifest:
            return self.manifest.contents
        return file_digest(self.path) if self.path.is_file() else contents_of(products(self.path))

    def file(self, name: str) -> Path:
        """The path of one file, checked against the manifest at its first use."""
        path = self.path / name
        if self.manifest is None or name in self._checked:
            if not path.is_file():
                raise InputError(f"{self.path} has no file {name}")
            return path
        if name not in self.manifest.files:
            raise InputError(f"{self.path} has no file {name}; it has {', '.join(self.manifest.files)}")
        self._checked.add(name)
        return check_file(self.path, name, self.manifest.files[name])

    def files(self, pattern: str = "*") -> list[Path]:
        """The checked files whose names match a glob, in order of name."""
        return [self.file(name) for name in sorted(self._names()) if Path(name).match(pattern)]

    def folder(self) -> Path:
        """The folder, once all of its files are checked: for readers that open several files themselves."""
        for name in self._names():
            self.file(name)
        return self.path

    def _names(self) -> Iterator[str]:
        if self.manifest:
            yield from self.manifest.files
        else:
            yield from (str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())


@cache
def code_version(module: str) -> str:
    """Hash of the source of a module and of all of ours that it imports, directly or not, but for the shell.

    So a change to one stage or noun makes stale only the runs that it can have changed.
    """
    seen: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen and not name.startswith(_SHELL):
            source = _source(name)
            seen[name] = hashlib.sha256(source).hexdigest()
            todo += _imported(source)
    return digest(dict(sorted(seen.items())))[:16]


def _source(module: str) -> bytes:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return Path(spec.origin).read_bytes()


def _imported(source: bytes) -> list[str]:
    """Names of our modules that a source imports, at its top or inside a function."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            candidates = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
            found += [name for name in candidates if name.startswith("hornbook") and _is_module(name)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("hornbook")]
    return found


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def package_versions() -> dict[str, str]:
    """Versions of the packages that can change a run's bytes."""
    names = ("hornbook", "torch", "numpy", "pyarrow", "tokenizers", "safetensors", "resiliparse", "fastwarc")
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def is_run_name(text: str) -> bool:
    """Whether a text has the form of a run's name, `<stage>-<hash8>`."""
    return re.fullmatch(r"[a-z_]+-[0-9a-f]{8}", text) is not None
