"""Files of a folder that others wrote: JSON, and tensors in safetensors files, sharded or not.

A folder is foreign input. Nothing in it is run, no path leaves it, and what is missing, left over, misshapen or not
finite is an InputError that names the tensor.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hornbook.errors import InputError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SPOOL = ".tmp-spool"
FLOATS = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor in a file: where its bytes begin, its shape, and safetensors' name of its type."""

    path: Path
    begin: int
    shape: tuple[int, ...]
    kind: str


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """All tensors of the folder's safetensors files, sharded or not, by the names that they have there."""
    found: dict[str, Stored] = {}
    for path, names in shards(folder).items():
        held = held_tensors(path)
        for name in sorted(held if names is None else names):
            if name not in held:
                raise InputError(f"{path}: tensor {name!r} is missing")
            found[name] = held[name]
    return found


def held_tensors(path: Path) -> dict[str, Stored]:
    """All tensors of one safetensors file."""
    try:
        # Checks the header: types, names, and that the tensors' bytes fill the file without a gap.
        with safe_open(path, framework="pt"), path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {error}") from error
    header.pop("__metadata__", None)
    return {
        name: Stored(path=path, begin=8 + length + its["data_offsets"][0], shape=tuple(its["shape"]), kind=its["dtype"])
        for name, its in header.items()
    }


def shards(folder: Path) -> dict[Path, list[str] | None]:
    """Which tensors to take from which file; None: all of them."""
    if (folder / WEIGHTS).exists():
        return {inside(folder, WEIGHTS): None}
    if not (folder / INDEX).exists():
        hint = "weights in pickle files (.bin, .pt) are not read: they can run code" if pickled(folder) else ""
        raise InputError(f"{folder}: not a model folder, it has no {WEIGHTS}", hint=hint)
    names = read_json(inside(folder, INDEX)).get("weight_map")
    if not isinstance(names, Mapping):
        raise InputError(f"{folder / INDEX}: weight_map is missing or no object")
    stored = {str(file): inside(folder, str(file)) for file in sorted(map(str, names.values()))}
    return {path: [name for name, its in names.items() if str(its) == file] for file, path in stored.items()}


def pickled(folder: Path) -> bool:
    return any(path.suffix in (".bin", ".pt", ".pth", ".ckpt") for path in folder.iterdir())


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, a plain name whose file lies in the folder (or among the Hugging Face cache's blobs)."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise InputError(f"{folder}: {name!r} is not a plain file name")
    path, home = folder / name, folder.resolve()
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    target = path.resolve()
    if not (target.is_relative_to(home) or target.is_relative_to(blobs)):
        raise InputError(f"{path}: links to {target}, outside of its folder")
    if not target.is_file():
        raise InputError(f"{path}: no such file")
    return path


def read_tensors(held: Mapping[str, Stored], *, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Each name and its tensor, one at a time, in memory of its own, converted and checked to be finite."""
    for name, stored in held.items():
        what = f"{stored.path}: tensor {name!r}"
        tensor = read(stored, what).to(dtype)
        check_finite(tensor, what)
        yield name, tensor


PIECE = 1 << 20
"""Numbers looked at together, as torch makes a copy of what it tests; bytes copied together."""


def check_finite(tensor: Tensor, what: str) -> None:
    """Raise InputError where a tensor holds NaN or an infinity."""
    if not all(piece.isfinite().all() for piece in torch.split(tensor.reshape(-1), PIECE)):
        raise InputError(f"{what} holds values that are not finite")


def read(stored: Stored, what: str, *, kinds: Mapping[str, torch.dtype] = FLOATS, into: Tensor | None = None) -> Tensor:
    """A tensor as it is stored. Read, not mapped: the pages of a mapped file count as memory, and it may change.

    into: uint8, large enough: the tensor's memory, until the next is read there.
    """
    if stored.kind not in kinds:
        raise InputError(f"{what} is stored as {stored.kind}, not as floating-point numbers")
    dtype = kinds[stored.kind]
    size = torch.Size(stored.shape).numel() * dtype.itemsize
    memory = torch.empty(size, dtype=torch.uint8) if into is None else into[:size]
    tensor = memory.view(dtype).view(stored.shape)
    with stored.path.open("rb") as file:
        file.seek(stored.begin)
        if file.readinto(memory.numpy().data) != size:
            raise InputError(f"{what} ends before its end")
    return tensor


def check_shapes(held: Mapping[str, Sequence[int]], wanted: Mapping[str, Sequence[int]], where: Path) -> None:
    """Every wanted tensor there, in its shape, and no other. Raises InputError naming the first that is not."""
    missing, extra = [n for n in wanted if n not in held], [n for n in held if n not in wanted]
    if missing:
        raise InputError(f"{where}: tensor {missing[0]!r} is missing{others(missing)}")
    if extra:
        raise InputError(f"{where}: tensor {extra[0]!r} has no place in this model{others(extra)}")
    for name, shape in held.items():
        if list(shape) != list(wanted[name]):
            have, want = list(shape), list(wanted[name])
            raise InputError(f"{where}: tensor {name!r} has shape {have}, the configuration says {want}")


def others(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


@dataclass(frozen=True, kw_only=True)
class Spooled:
    """A tensor whose bytes wait in a file."""

    path: Path
    begin: int
    shape: torch.Size
    dtype: torch.dtype
    nbytes: int


class Shards:
    """A folder's weights, by Hugging Face's names: one file, or several with an index, each written when it is full.

    spooled: what is added waits on disk, not in memory.
    """

    def __init__(self, folder: Path, *, most: int, spooled: bool = False) -> None:
        self._folder, self._most, self._spooled = folder, most, spooled
        self._pending: dict[str, Tensor | Spooled] = {}
        self._parts: list[list[str]] = []
        self._total = 0

    def add(self, name: str, tensor: Tensor) -> None:
        """One more tensor: into the file of those before it, unless that would grow past `most` bytes."""
        if self._pending and sum(t.nbytes for t in self._pending.values()) + tensor.nbytes > self._most:
            self._write()
        self._pending[name] = self._spool(tensor) if self._spooled else tensor
        self._total += tensor.nbytes

    def close(self) -> None:
        """Write what is left, and name the files by how many there are."""
        self._write()
        if len(self._parts) == 1:
            self._part(0).rename(self._folder / WEIGHTS)
            return
        places: dict[str, str] = {}
        for number, names in enumerate(self._parts):
            file = f"model-{number + 1:05d}-of-{len(self._parts):05d}.safetensors"
            self._part(number).rename(self._folder / file)
            places |= dict.fromkeys(names, file)
        write_json(self._folder / INDEX, {"metadata": {"total_size": self._total}, "weight_map": places})

    def _write(self) -> None:
        write_tensors(self._part(len(self._parts)), self._pending)
        self._parts.append(list(self._pending))
        self._pending = {}
        (self._folder / SPOOL).unlink(missing_ok=True)

    def _spool(self, tensor: Tensor) -> Spooled:
        path = self._folder / SPOOL
        with path.open("ab") as file:
            begin = file.tell()
            file.writelines(_content(tensor))
        return Spooled(path=path, begin=begin, shape=tensor.shape, dtype=tensor.dtype, nbytes=tensor.nbytes)

    def _part(self, number: int) -> Path:
        return self._folder / f".tmp-{number}.safetensors"


def write_shards(folder: Path, tensors: Mapping[str, Tensor], *, most: int) -> None:
    """One file of weights, or several with an index, each of at most `most` bytes or one tensor."""
    shards = Shards(folder, most=most)
    for name, tensor in tensors.items():
        shards.add(name, tensor)
    shards.close()


ORDER = {torch.float64: "F64", torch.int64: "I64", torch.float32: "F32", torch.int32: "I32", torch.bfloat16: "BF16",
         torch.float16: "F16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}  # fmt: skip
"""safetensors' names of types, in the order in which its own writer lays them out."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor | Spooled]) -> None:
    """One safetensors file, the same bytes as from its own writer, which makes a copy of all tensors first."""
    kinds = list(ORDER)
    ordered = sorted(tensors.items(), key=lambda item: (kinds.index(item[1].dtype), item[0]))
    # Older readers want `format`.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": ORDER[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in ordered:
            file.writelines(_content(tensor))


def _content(tensor: Tensor | Spooled) -> Iterator[memoryview | bytes]:
    """A tensor's bytes."""
    if isinstance(tensor, Tensor):
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        return
    with tensor.path.open("rb") as file:
        file.seek(tensor.begin)
        for at in range(0, tensor.nbytes, PIECE):
            yield file.read(min(PIECE, tensor.nbytes - at))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no JSON object")
    return value


def copy_files(source: Path, folder: Path, names: Iterable[str]) -> None:
    """Copy those of `names` that `source` has."""
    for name in names:
        if (source / name).exists() and source.resolve() != folder.resolve():
            shutil.copyfile(inside(source, name), folder / name)
