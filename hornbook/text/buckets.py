"""Documents on their way through curation: in files cut into buckets by their place in the corpus' order.

A bucket is a range of the keyed hash that orders the corpus, so the buckets one after another are the corpus, and no
task holds more than one. A document's reference is its bucket (upper 32 bits) and its place in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from hornbook.text.document import Document, order_key
from hornbook.text.engine import written

COLUMNS = pa.schema(
    [(name, pa.string()) for name in ("id", "text", "source", "url", "created", "metadata", "kind", "reason")]
    + [("order", pa.uint64())]
)
"""`kind` is what the document came as, `reason` why it was removed, "" while it was not."""

OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")
FLUSH = 32_000_000
"""Characters of text that a task gathers before it writes them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document, what it came as, and why it was removed, if it was."""

    document: Document
    kind: str
    reason: str


class PartWriter:
    """Writes entries as they come, in files of one Arrow batch a bucket; only the entries decide how they are cut."""

    def __init__(self, folder: Path, name: str, *, buckets: int, seed: int) -> None:
        self.folder, self.name, self.buckets, self.seed = folder, name, buckets, seed
        self.files = 0
        self._waiting: list[Entry] = []
        self._size = 0
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, entry: Entry) -> None:
        """Take an entry."""
        self._waiting.append(entry)
        self._size += len(entry.document.text)
        if self._size > FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        table, orders = _table(self._waiting, self.seed)
        bucket = (orders >> np.uint64(31)) * np.uint64(self.buckets) >> np.uint64(32)
        sorted_ = table.take(np.argsort(bucket, kind="stable"))
        ends = np.cumsum(np.bincount(bucket.astype(np.int64), minlength=self.buckets)).tolist()
        batches = [sorted_.slice(start, end - start) for start, end in zip([0, *ends], ends, strict=False)]
        write_batches(self.folder / f"{self.name}-{self.files:03}.arrow", batches)
        self.files, self._waiting, self._size = self.files + 1, [], 0


def _table(entries: Sequence[Entry], seed: int) -> tuple[pa.Table, NDArray[np.uint64]]:
    orders = np.array([order_key(entry.document.id, seed=seed) for entry in entries], np.uint64)
    documents = [entry.document for entry in entries]
    columns = [
        *(pa.array([clean(getattr(document, name)) for document in documents]) for name in COLUMNS.names[:5]),
        pa.array([orjson.dumps(document.metadata, option=orjson.OPT_SORT_KEYS).decode() for document in documents]),
        pa.array([entry.kind for entry in entries], pa.string()),
        pa.array([entry.reason for entry in entries], pa.string()),
        pa.array(orders),
    ]
    return pa.Table.from_arrays(columns, schema=COLUMNS), orders


def write_batches(path: Path, batches: Sequence[pa.Table]) -> None:
    """Write an Arrow file with one record batch for each table, empty ones too."""
    with written(path) as temporary, pa.ipc.new_file(temporary, COLUMNS, options=OPTIONS) as writer:
        for table in batches:
            whole = table.combine_chunks().to_batches()
            writer.write_batch(whole[0] if whole else pa.RecordBatch.from_pylist([], schema=COLUMNS))


def read_batch(path: Path, number: int, columns: Sequence[str] | None = None) -> pa.Table:
    """One batch of an Arrow file, or some of its columns."""
    indices = [COLUMNS.names.index(name) for name in columns] if columns else []
    options = pa.ipc.IpcReadOptions(included_fields=indices) if columns else None
    with path.open("rb") as stream:
        return pa.Table.from_batches([pa.ipc.open_file(stream, options=options).get_batch(number)])


def gather(folder: Path, number: int, target: Path) -> int:
    """Bring a bucket's entries of all parts together, in the corpus' order; returns how many there are.

    Entries of one id keep the order of the parts, which is that of the input.
    """
    parts = [read_batch(path, number) for path in sorted(folder.glob("*.arrow"))]
    table = pa.concat_tables(parts) if parts else COLUMNS.empty_table()
    orders, ids = table["order"].to_numpy(), table["id"].to_pylist()
    place = sorted(range(len(ids)), key=lambda at: (orders[at], ids[at]))
    write_batches(target, [table.take(pa.array(place, pa.int64()))])
    return len(ids)


def entries(rows: pa.Table, texts: Sequence[str]) -> Iterator[Entry]:
    """The entries of a bucket, with their texts as they are by now."""
    names = ("id", "source", "url", "created", "metadata", "kind", "reason")
    columns = (rows[name].to_pylist() for name in names)
    for text, id, source, url, created, metadata, kind, reason in zip(texts, *columns, strict=True):
        yield Entry(Document(id, text, source, url, created, orjson.loads(metadata)), kind, reason)


def clean(text: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate, which JSON may smuggle in, becomes U+FFFD."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
