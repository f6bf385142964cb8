"""Rows of a file as plain objects: JSON lines, a JSON array, or Parquet."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hornbook.errors import InputError
from hornbook.learn.faults import Fault
from hornbook.text.files import kind_of, one_line, open_bytes
from hornbook.text.json_rows import BOM, LONGEST_ROW, UTF_16

Record = dict[str, Any]
ROWS_A_BATCH = 1024


def read_records(path: Path) -> Iterator[tuple[int, Record | Fault]]:
    """(row, counted from 1; the object, or why it is none) of .jsonl, .json (lines or an array) or .parquet.

    JSON may be compressed (.gz, .zst); empty lines are counted and left out. Keys of a Parquet row without a value are
    left out, at every depth, since a column is there for all rows or for none.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        yield from _READERS.get(kind_of(path), _lines)(path)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read: {one_line(error)}") from error


def _lines(path: Path) -> Iterator[tuple[int, Record | Fault]]:
    with open_bytes(path) as stream:
        yield from _json_lines(stream, path)


def _json(path: Path) -> Iterator[tuple[int, Record | Fault]]:
    with open_bytes(path) as stream:
        if stream.peek(99)[:99].removeprefix(BOM).lstrip()[:1] == b"[":
            yield from _array(stream, path)
        else:
            yield from _json_lines(stream, path)


def _json_lines(stream: io.BufferedReader, path: Path) -> Iterator[tuple[int, Record | Fault]]:
    if stream.peek(2)[:2] in UTF_16:
        raise InputError(f"{path}: cannot be read: it is UTF-16, not UTF-8")
    number = 0
    while line := stream.readline(LONGEST_ROW + 1):
        number += 1
        if len(line) > LONGEST_ROW:
            raise InputError(f"{path}: row {number} is longer than {LONGEST_ROW:,} bytes")
        line = line.removeprefix(BOM) if number == 1 else line
        if line.strip():
            yield number, _parsed(line)


def _parsed(line: bytes) -> Record | Fault:
    try:
        return _object(orjson.loads(line))
    except orjson.JSONDecodeError as error:
        return Fault(f"not JSON: {error}", key="line", value=line.decode(errors="replace").strip())


def _object(row: Any) -> Record | Fault:
    if isinstance(row, dict):
        return row
    return Fault("not an object", key="row", value=row, hint='a row is an object, such as {"messages": [...]}')


def _array(stream: io.BufferedReader, path: Path) -> Iterator[tuple[int, Record | Fault]]:
    try:
        rows = orjson.loads(stream.read().removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path}: not a JSON array: {error}") from error
    yield from ((number, _object(row)) for number, row in enumerate(rows, 1))


def _parquet(path: Path) -> Iterator[tuple[int, Record | Fault]]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_A_BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, _filled(row)


def _filled(value: Any) -> Any:
    """Without keys that have no value."""
    if isinstance(value, dict):
        return {key: _filled(item) for key, item in value.items() if item is not None}
    return [_filled(item) for item in value] if isinstance(value, list) else value


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, Record | Fault]]]] = {".json": _json, ".parquet": _parquet}
