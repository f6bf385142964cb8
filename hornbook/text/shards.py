"""A corpus as token ids: flat arrays, and a table that says where each document lies in them.

train-00000.npy ...  valid-00000.npy ...   uint16 (uint32 past 65,536 token types); memory-mapped when they are read
documents.parquet    one row a document: id, source, split, shard, offset, tokens, bytes, key, and `sampled`
                     (whether the tokenizer learned from it)

Every document begins with the separator and lies in one shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hornbook.text.document import order_key, write_rows

SPLITS = ("train", "valid")
SHARD = 2**27
"""Tokens of a shard, at most: 256 MiB of the smaller type. A longer document has one of its own."""
TABLE = "documents.parquet"
Tokens = npt.NDArray[np.unsignedinteger[npt.NBitBase]]
Integers = npt.NDArray[np.int64]
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),
        ("tokens", pa.int64()),
        ("bytes", pa.int64()),
        ("sampled", pa.bool_()),
        ("key", pa.uint64()),
    ]
)
"""`key` is a keyed hash of the id, from which the orders of training are made."""


@dataclass(frozen=True)
class Row:
    """One document to be written: its ids without separator, and what the table says of it."""

    id: str
    source: str
    split: str
    tokens: Sequence[int] | Tokens
    bytes: int
    sampled: bool


class Names(Protocol):
    """Texts by number, which need not be in memory as texts."""

    def __getitem__(self, at: int, /) -> str: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[str]: ...


@dataclass(frozen=True)
class Split:
    """The documents of one split."""

    shards: Sequence[Tokens]
    """Memory-mapped."""
    ids: Names
    sources: Sequence[str]
    """Names of the sources, in order."""
    source: Integers
    """Of each document, as a place in `sources`."""
    shard: Integers
    offsets: Integers
    """Where each document begins in its shard."""
    lengths: Integers
    """Tokens of each document, its separator included."""
    bytes: Integers
    """UTF-8 bytes of each document's text."""
    keys: npt.NDArray[np.uint64]

    def read(self, document: int, first: int = 0, end: int | None = None) -> Tokens:
        """Tokens `first` to `end` (or the last) of a document."""
        length, offset = int(self.lengths[document]), int(self.offsets[document])
        last = length if end is None else min(end, length)
        return self.shards[int(self.shard[document])][offset + first : offset + last]

    def by_source(self, *, most: int) -> dict[str, list[tuple[Tokens, int]]]:
        """(token ids, UTF-8 bytes) of documents of each source, in their order, until `most` tokens are reached."""
        return {name: self._some(np.flatnonzero(self.source == code), most) for code, name in enumerate(self.sources)}

    def _some(self, documents: Integers, most: int) -> list[tuple[Tokens, int]]:
        before = np.cumsum(self.lengths[documents]) - self.lengths[documents]
        return [(self.read(row), int(self.bytes[row])) for row in documents[before < most].tolist()]


class _Ids:
    """A column of ids that stays as Arrow has it: a third of the memory of Python's texts."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column.combine_chunks()

    def __getitem__(self, at: int) -> str:
        return str(self._column[at].as_py())

    def __len__(self) -> int:
        return len(self._column)

    def __iter__(self) -> Iterator[str]:
        return map(str, self._column)


# -- writing ----------------------------------------------------------------------------------------------------------


def write(folder: Path, rows: Iterable[Row], *, separator: int, vocabulary: int, most: int = SHARD) -> None:
    """Write documents as they come, into shards of at most `most` tokens, and their table."""
    kind = np.dtype(np.uint16 if vocabulary <= 2**16 else np.uint32)
    with ExitStack() as stack:
        files = {split: stack.enter_context(_Shards(folder, split, kind, most)) for split in SPLITS}
        write_rows(folder / TABLE, (_placed(row, files[row.split], separator) for row in rows), SCHEMA)


def _placed(row: Row, shards: _Shards, separator: int) -> dict[str, Any]:
    tokens = np.empty(len(row.tokens) + 1, shards.kind)
    tokens[0], tokens[1:] = separator, row.tokens
    shard, offset = shards.add(tokens)
    key = order_key(row.id, seed=0, purpose="order")
    return {**vars(row), "tokens": len(tokens), "shard": shard, "offset": offset, "key": key}


class _Shards:
    """The shards of one split, the last of them open."""

    def __init__(self, folder: Path, split: str, kind: np.dtype[Any], most: int) -> None:
        self.folder, self.split, self.kind, self.most = folder, split, kind, most
        self.number, self.size = -1, 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.seek(0)
            self._header(self._file)
            self._file.close()

    def add(self, tokens: Tokens) -> tuple[int, int]:
        """Append a document; returns its shard and its place in it."""
        if self._file is None or self.size + len(tokens) > self.most:
            self._next()
        assert self._file is not None
        self._file.write(tokens.data)
        self.size += len(tokens)
        return self.number, self.size - len(tokens)

    def _next(self) -> None:
        self.__exit__()
        self.number, self.size = self.number + 1, 0
        self._file = (self.folder / shard_name(self.split, self.number)).open("wb")
        self._header(self._file)

    def _header(self, file: IO[bytes]) -> None:
        # NumPy leaves room in the header for a length to grow, so it is as long when it is written again at the end.
        described = {"descr": self.kind.str, "fortran_order": False, "shape": (self.size,)}
        np.lib.format.write_array_header_1_0(file, described)


def shard_name(split: str, number: int) -> str:
    return f"{split}-{number:05}.npy"


# -- reading ----------------------------------------------------------------------------------------------------------


def read(file: Callable[[str], Path], split: str) -> Split:
    """One split; `file` gives the path of a name in the folder (and may check it)."""
    with pq.ParquetFile(file(TABLE)) as stored:
        table = stored.read()
    table = table.filter(pc.equal(table["split"], split))
    sources = sorted(pc.unique(table["source"]).to_pylist())
    numbers = {name: table[name].to_numpy() for name in ("shard", "offset", "tokens", "bytes", "key")}
    count = int(numbers["shard"].max()) + 1 if len(table) else 0
    return Split(
        shards=[np.load(file(shard_name(split, number)), mmap_mode="r") for number in range(count)],
        ids=_Ids(table["id"]),
        sources=sources,
        source=pc.index_in(table["source"], pa.array(sources, pa.string())).to_numpy().astype(np.int64),
        shard=numbers["shard"],
        offsets=numbers["offset"],
        lengths=numbers["tokens"],
        bytes=numbers["bytes"],
        keys=numbers["key"],
    )


def rows(folder: Path) -> Iterator[Row]:
    """The documents of a folder as they were written, in their order."""
    splits = {split: read(folder.joinpath, split) for split in SPLITS}
    at = dict.fromkeys(SPLITS, 0)
    with pq.ParquetFile(folder / TABLE) as file:
        for batch in file.iter_batches(columns=["id", "source", "split", "bytes", "sampled"]):
            for row in batch.to_pylist():
                tokens = splits[row["split"]].read(at[row["split"]], 1)
                at[row["split"]] += 1
                yield Row(tokens=tokens, **row)
