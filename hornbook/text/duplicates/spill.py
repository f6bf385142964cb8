"""Grouping on disk: what belongs together in a corpus is brought together without holding the corpus.

Every task of a phase writes its records cut into parts by their key; a task of the next phase reads one part of all of
them. That is the shuffle of MapReduce (Dean and Ghemawat 2004), with files instead of a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbook.text.engine import written

RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("document", "<u8"), ("unit", "<u4")])
"""A key of 128 bits, the document that has it (its bucket in the upper 32 bits, its place in the lower), and the unit
of the document: a line, a window, or 0 for the document itself."""

REPEAT = np.dtype([("document", "<u8"), ("unit", "<u4"), ("first", "<u8")])
"""A unit whose key was there before, and the document that had it first."""

Records = NDArray[np.void]


@dataclass(frozen=True)
class Spill:
    """Records of one dtype in a folder, one file a writer, each file cut into `parts`."""

    folder: Path
    parts: int
    dtype: np.dtype[Any]

    def write(self, writer: int, records: Records, part: NDArray[np.uint64]) -> None:
        """Write a writer's records, each into its part; inside a part their order is kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        order = np.argsort(part, kind="stable")
        counts = np.bincount(part.astype(np.int64), minlength=self.parts).astype("<i8")
        with written(self._file(writer)) as path, path.open("wb") as stream:
            stream.write(counts.tobytes())
            stream.write(np.ascontiguousarray(records[order]).tobytes())

    def read(self, part: int) -> Records:
        """One part of what all writers wrote, in the writers' order."""
        files = sorted(self.folder.glob("*.records"))
        return np.concatenate([self._read(path, part) for path in files] or [np.empty(0, self.dtype)])

    def _read(self, path: Path, part: int) -> Records:
        with path.open("rb") as stream:
            counts = np.frombuffer(stream.read(8 * self.parts), "<i8")
            stream.seek(8 * self.parts + int(counts[:part].sum()) * self.dtype.itemsize)
            found = stream.read(int(counts[part]) * self.dtype.itemsize)
        return np.frombuffer(found, self.dtype)

    def _file(self, writer: int) -> Path:
        return self.folder / f"{writer:05}.records"


def part_of(high: NDArray[np.uint64], parts: int) -> NDArray[np.uint64]:
    """The part of each key, by its upper bits: keys are hashes, so the parts are of like size."""
    part: NDArray[np.uint64] = (high >> np.uint64(32)) * np.uint64(parts) >> np.uint64(32)
    return part


def bucket_of(document: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The bucket of each reference to a document."""
    bucket: NDArray[np.uint64] = document >> np.uint64(32)
    return bucket


def repeats(records: Records, *, times: int = 1) -> Records:
    """Of RECORDs, the units whose key was there at least `times` times before, in the order of the corpus."""
    order = np.lexsort((records["unit"], records["document"], records["low"], records["high"]))
    ordered = records[order]
    starts = _starts(ordered)
    rank = np.arange(len(ordered)) - starts
    again = rank >= times
    found = np.empty(int(again.sum()), REPEAT)
    found["document"], found["unit"] = ordered["document"][again], ordered["unit"][again]
    found["first"] = ordered["document"][starts[again]]
    return found


def neighbours(records: Records) -> NDArray[np.uint64]:
    """Pairs [n, 2] of documents that share a key: each with the first of its group, and with the one before it."""
    order = np.lexsort((records["document"], records["low"], records["high"]))
    ordered = records[order]
    starts, at = _starts(ordered), np.arange(len(ordered))
    documents = ordered["document"]
    later, chained = at > starts, at > starts + 1
    first = np.stack([documents[starts[later]], documents[at[later]]], axis=1)
    before = np.stack([documents[at[chained] - 1], documents[at[chained]]], axis=1)
    pairs: NDArray[np.uint64] = np.unique(np.concatenate([first, before]), axis=0)
    different: NDArray[np.uint64] = pairs[pairs[:, 0] != pairs[:, 1]]
    return different


def _starts(ordered: Records) -> NDArray[np.int64]:
    """For each record, where the group of its key begins."""
    if not len(ordered):
        return np.empty(0, np.int64)
    high, low = ordered["high"], ordered["low"]
    new = np.concatenate([[True], (high[1:] != high[:-1]) | (low[1:] != low[:-1])])
    return np.maximum.accumulate(np.where(new, np.arange(len(ordered)), 0))


def records(keys: NDArray[np.uint64], documents: NDArray[np.uint64], units: NDArray[np.uint32] | int = 0) -> Records:
    """RECORDs from keys [n, 2] and the documents and units that have them."""
    made = np.empty(len(documents), RECORD)
    made["high"], made["low"] = keys[:, 0], keys[:, 1]
    made["document"], made["unit"] = documents, units
    return made


def keys_of(digests: Sequence[bytes]) -> NDArray[np.uint64]:
    """Keys [n, 2] from digests of 16 bytes."""
    return np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2).astype(np.uint64)


def unite(pairs: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The documents in any pair [n, 2], sorted, and for each the first document that a chain of pairs leads to."""
    members, flat = np.unique(pairs, return_inverse=True)
    parents = list(range(len(members)))
    for one, other in flat.reshape(-1, 2).tolist():
        first, second = _root(parents, one), _root(parents, other)
        parents[max(first, second)] = min(first, second)
    roots = np.array([_root(parents, at) for at in range(len(members))], np.int64)
    return members, members[roots]


def _root(parents: list[int], at: int) -> int:
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = parents[at]
    return at
