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
from safetensors.torch import save_file
from torch import Tensor

from hornbook.errors import InputError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
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
        tensor = read(stored, f"{stored.path}: tensor {name!r}").to(dtype)
        if not tensor.isfinite().all():
            raise InputError(f"{stored.path}: tensor {name!r} holds values that are not finite")
        yield name, tensor


def read(stored: Stored, what: str, *, kinds: Mapping[str, torch.dtype] = FLOATS) -> Tensor:
    """A tensor as it is stored. Read, not mapped: the pages of a mapped file count as memory, and it may change."""
    if stored.kind not in kinds:
        raise InputError(f"{what} is stored as {stored.kind}, not as floating-point numbers")
    tensor = torch.empty(stored.shape, dtype=kinds[stored.kind])
    with stored.path.open("rb") as file:
        file.seek(stored.begin)
        if file.readinto(tensor.reshape(-1).view(torch.uint8).numpy().data) != tensor.nbytes:
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


def write_shards(folder: Path, tensors: Mapping[str, Tensor], *, most: int) -> None:
    """One file of weights, or several with an index, by Hugging Face's names."""
    parts = split(tensors, most=most)
    if len(parts) == 1:
        write_tensors(folder / WEIGHTS, tensors)
        return
    places: dict[str, str] = {}
    for number, names in enumerate(parts, 1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        write_tensors(folder / file, {name: tensors[name] for name in names})
        places |= dict.fromkeys(names, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def split(tensors: Mapping[str, Tensor], *, most: int) -> list[list[str]]:
    """Names in order, in groups of at most `most` bytes or one tensor."""
    parts: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        if parts[-1] and size + tensor.nbytes > most:
            parts.append([])
            size = 0
        parts[-1].append(name)
        size += tensor.nbytes
    return parts


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """One safetensors file; older readers want `format` in its metadata."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})


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
