"""Tensors in parts: each process writes what it holds to a safetensors file, and any number of them reads it again.

The header of a file says of each part where in the whole it lies: `{"regions": {name: [shape, start]}}`, as JSON. A
part that several processes hold alike is in several files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hornbook.errors import Damaged, InputError
from hornbook.learn.parallel import Region, local, region


def held(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What this process holds of the tensors, on the CPU, and the header that says which parts they are."""
    regions = {name: region(tensor) for name, tensor in sorted(tensors.items())}
    there = {name: block for name, block in regions.items() if block.numel}
    parts = {name: local(tensors[name].detach()).to("cpu").contiguous() for name in there}
    return parts, {"regions": json.dumps({name: [block.shape, block.start] for name, block in there.items()})}


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write what this process holds of the tensors."""
    parts, header = held(tensors)
    save_file(parts, path, header)


class Pieces:
    """The tensors of several files, to be read in whatever parts are wanted.

    Raises:
        Damaged: a file cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._stack = ExitStack()
        self._files: dict[str, dict[Region, Any]] = {}

    def __enter__(self) -> Pieces:
        try:
            for path in self._paths:
                file = self._stack.enter_context(safe_open(path, framework="pt"))
                for name, (shape, start) in json.loads(file.metadata()["regions"]).items():
                    size = file.get_slice(name).get_shape()
                    self._files.setdefault(name, {})[Region(tuple(shape), tuple(start), tuple(size))] = file
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            self._stack.close()
            raise Damaged(f"{path}: {error}") from error
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def names(self, prefix: str) -> Iterator[str]:
        """Names of the tensors, of those that begin with `prefix`, without it."""
        return (name.removeprefix(prefix) for name in self._files if name.startswith(prefix))

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the whole tensor."""
        return next(iter(self._files[name])).shape

    def dtype(self, name: str) -> torch.dtype:
        file = next(iter(self._files[name].values()))
        found: Tensor = file.get_slice(name)[:0] if self.shape(name) else file.get_tensor(name)
        return found.dtype

    def read(self, name: str, wanted: Region) -> Tensor:
        """That part of a tensor, put together from all files that have some of it.

        Raises:
            InputError: a part is missing.
        """
        stored = self._files[name]
        if wanted in stored:
            found: Tensor = stored[wanted].get_tensor(name).clone()
            return found
        parts = [(block, overlap) for block in stored if (overlap := _overlap(block, wanted)).numel]
        if sum(overlap.numel for _, overlap in parts) != wanted.numel:
            raise InputError(f"{self._paths[0].parent}: a part of {name!r} is missing")
        made = torch.empty(wanted.size, dtype=self.dtype(name))
        for block, overlap in parts:
            made[_slices(overlap, wanted)] = stored[block].get_slice(name)[_slices(overlap, block)]
        return made


def _overlap(one: Region, other: Region) -> Region:
    start = tuple(map(max, one.start, other.start))
    end = map(min, one.end, other.end)
    return Region(one.shape, start, tuple(max(0, e - s) for s, e in zip(start, end, strict=True)))


def _slices(block: Region, within: Region) -> tuple[slice, ...]:
    """Where `block` lies in a tensor that holds `within`."""
    ranges = zip(block.start, block.end, within.start, strict=True)
    return tuple(slice(start - first, end - first) for start, end, first in ranges)
