"""The document: one record for every kind of input, its id, its order, and its Parquet file.

The fields are those of Dolma and datatrove: id, text, source, url, created, metadata.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hornbook.errors import InputError
from hornbook.text.files import one_line

SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "text", "source", "url", "created", "metadata")])
"""One row a document. `metadata` is a JSON object with sorted keys: its keys differ from source to source."""

ROWS_A_GROUP = 1024
ROWS_A_BATCH = 128
"""Read at a time: a book has a megabyte."""


@dataclass(slots=True)
class Document:
    """A text and where it came from."""

    id: str
    text: str
    source: str
    url: str = ""
    created: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something that could not be read: `row` counts lines or records from 1."""

    file: str
    row: int
    reason: str
    excerpt: str = ""


@dataclass(slots=True)
class Rows:
    """How many rows or records were read, readable or not: from where those of the next piece are counted on."""

    count: int = 0


def document_id(url: str, payload: bytes) -> str:
    """32 hex digits that depend on where a document is from and on its bytes, and on nothing else."""
    # Processors have instructions for SHA-256, which takes half of the time of BLAKE2.
    return hashlib.sha256(url.encode() + b"\0" + payload).hexdigest()[:32]


def order_key(id: str, *, seed: int, purpose: str = "") -> int:
    """A 63-bit keyed hash: sorting by it shuffles, and taking a document out leaves the order of the others alone."""
    key = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=32).digest()
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8, key=key).digest(), "big") >> 1


def held_out(id: str, *, fraction: float, seed: int) -> bool:
    """Whether a document belongs to the held-out `fraction`; no other document has a say in it."""
    return order_key(id, seed=seed, purpose="held out") < fraction * 2**63


# -- Parquet --------------------------------------------------------------------------------------------------------


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Write Parquet (zstd) with the columns of SCHEMA; the same documents give the same bytes. Returns how many."""
    return _write(path, documents, SCHEMA, _columns)


def write_rows(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> int:
    """Write any rows as Parquet (zstd), a group at a time, so that memory does not grow with the file."""
    return _write(path, rows, schema, lambda group: pa.Table.from_pylist(group, schema))


def _write(path: Path, rows: Iterable[Any], schema: pa.Schema, table: Callable[[list[Any]], pa.Table]) -> int:
    count, rows = 0, iter(rows)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(rows, ROWS_A_GROUP)):
            writer.write_table(table(group))
            count += len(group)
    return count


def _columns(documents: list[Document]) -> pa.Table:
    columns = [
        [document.id for document in documents],
        [document.text for document in documents],
        [document.source for document in documents],
        [document.url for document in documents],
        [document.created for document in documents],
        [orjson.dumps(document.metadata, option=orjson.OPT_SORT_KEYS).decode() for document in documents],
    ]
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=SCHEMA)


def read_documents(path: Path, groups: Sequence[int] | None = None) -> Iterator[Document]:
    """Read what `write_documents` wrote, or some of its row groups.

    Raises:
        InputError: not Parquet, or a column is missing.
    """
    try:
        with pq.ParquetFile(path) as file:
            if missing := set(SCHEMA.names) - set(file.schema_arrow.names):
                have = ", ".join(file.schema_arrow.names)
                raise InputError(f"{path}: no column {', '.join(sorted(missing))}", hint=f"its columns are: {have}")
            for batch in file.iter_batches(ROWS_A_BATCH, row_groups=groups, columns=SCHEMA.names):
                columns = [batch.column(name).to_pylist() for name in SCHEMA.names]
                for id, text, source, url, created, metadata in zip(*columns, strict=True):
                    yield Document(id, text, source, url or "", created or "", orjson.loads(metadata or "{}"))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {one_line(error)}") from error
