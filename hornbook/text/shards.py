"""A corpus as token ids: one flat array a split, and a table that says where each document lies in it.

train.npy  valid.npy     uint16 (uint32 past 65,536 token types); every document begins with the separator
documents.parquet        id, source, split, offset, tokens, bytes, sampled (whether the tokenizer learned from it)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hornbook.text.document import write_rows

SPLITS = ("train", "valid")
Tokens = npt.NDArray[np.unsignedinteger[npt.NBitBase]]
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("offset", pa.int64()),
        ("tokens", pa.int64()),
        ("bytes", pa.int64()),
        ("sampled", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Row:
    """One document to be written: its ids without separator, and what the table says of it."""

    id: str
    source: str
    split: str
    tokens: Sequence[int]
    bytes: int
    sampled: bool


@dataclass(frozen=True)
class Split:
    """The documents of one split. `tokens` is memory-mapped."""

    tokens: Tokens
    ids: list[str]
    sources: list[str]
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    """Tokens of each document, its separator included."""
    bytes: npt.NDArray[np.int64]
    """UTF-8 bytes of each document's text."""

    def by_source(self, *, most: int) -> dict[str, list[tuple[Tokens, int]]]:
        """(token ids, UTF-8 bytes) of documents of each source, in their order, until `most` tokens are reached."""
        found: dict[str, list[tuple[Tokens, int]]] = {source: [] for source in sorted(set(self.sources))}
        left = dict.fromkeys(found, most)
        for source, offset, length, size in zip(self.sources, self.offsets, self.lengths, self.bytes, strict=True):
            if left[source] > 0:
                found[source].append((self.tokens[offset : offset + length], int(size)))
                left[source] -= int(length)
        return found


def write(folder: Path, rows: Iterable[Row], *, separator: int, vocabulary: int) -> None:
    """Write the splits and their table; each split keeps the order of the rows."""
    kind: npt.DTypeLike = np.uint16 if vocabulary <= 2**16 else np.uint32
    pieces: dict[str, list[Tokens]] = {split: [] for split in SPLITS}
    offsets = dict.fromkeys(SPLITS, 0)
    table = []
    for row in rows:
        tokens = np.array([separator, *row.tokens], kind)
        table.append({**vars(row), "tokens": len(tokens), "offset": offsets[row.split]})
        pieces[row.split].append(tokens)
        offsets[row.split] += len(tokens)
    for split, arrays in pieces.items():
        np.save(folder / f"{split}.npy", np.concatenate(arrays) if arrays else np.empty(0, kind))
    write_rows(folder / "documents.parquet", table, SCHEMA)


def read(file: Callable[[str], Path], split: str) -> Split:
    """One split; `file` gives the path of a name in the folder (and may check it)."""
    table = pq.read_table(file("documents.parquet"))
    table = table.filter(pc.equal(table["split"], split))
    return Split(
        tokens=np.load(file(f"{split}.npy"), mmap_mode="r"),
        ids=table["id"].to_pylist(),
        sources=table["source"].to_pylist(),
        offsets=table["offset"].to_numpy(),
        lengths=table["tokens"].to_numpy(),
        bytes=table["bytes"].to_numpy(),
    )
