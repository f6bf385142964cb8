"""Documents from rows of JSON: lines, an array, or the rows of another format as dictionaries.

A row is an object with a string `text`. Every row that is not so becomes a Malformed, with what is wrong with it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import orjson

from hornbook.text.document import Document, Malformed, Rows, document_id
from hornbook.text.files import one_line, stem

LONGEST_ROW = 64 * 2**20
"""Bytes of a row, at most."""

BOM = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_lines(
    stream: io.BufferedReader, start: int, end: int | None, name: str, rows: Rows
) -> Iterator[Document | Malformed]:
    """The rows of the lines that begin in a range of a stream's bytes (without `end`, all that there are)."""
    if start:
        stream.seek(0)
    if stream.peek(2)[:2] in UTF_16:
        if start == 0 != end:
            rows.count += 1
            yield Malformed(name, 1, "not UTF-8 but UTF-16")
        return
    at = start
    if start:
        stream.seek(start - 1)
        at = start - 1 + _skip_line(stream)
    while end is None or at < end:
        line = stream.readline(LONGEST_ROW + 1)
        if not line:
            return
        line, at = line if at else line.removeprefix(BOM), at + len(line)
        rows.count += 1
        if len(line) > LONGEST_ROW:
            yield Malformed(name, rows.count, f"longer than {LONGEST_ROW:,} bytes", _excerpt(line))
            at += 0 if line.endswith(b"\n") else _skip_line(stream)
        elif line.strip():
            yield read_row(line, name, rows.count)


def _skip_line(stream: io.BufferedReader) -> int:
    """Go to the next line. Returns how many bytes it is away."""
    skipped = 0
    while piece := stream.readline(2**20):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def read_array(stream: io.BufferedReader, name: str, rows: Rows) -> Iterator[Document | Malformed]:
    """The rows of a stream that is a JSON array."""
    raw = stream.read(LONGEST_ROW + 1)
    try:
        array = orjson.loads(raw.removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        problem = f"longer than {LONGEST_ROW:,} bytes" if len(raw) > LONGEST_ROW else f"not JSON: {one_line(error)}"
        rows.count += 1
        yield Malformed(name, 1, problem, _excerpt(raw))
        return
    for row in array:
        rows.count += 1
        yield to_document(row, name, rows.count)


def read_row(line: bytes, name: str, number: int) -> Document | Malformed:
    """The row of a line of JSON."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Malformed(name, number, f"not JSON: {one_line(error)}", _excerpt(line))
    return to_document(row, name, number)


def to_document(row: Any, name: str, number: int) -> Document | Malformed:
    """The document of a row. `row`, a dictionary of its own, is used up.

    `id`, `url`, `source`, `created` and `metadata` are taken where they are there; every other field is metadata.
    """
    if not isinstance(row, dict):
        return Malformed(name, number, f"not an object but {_type(row)}", _shown(row))
    text = row.pop("text", None)
    if not isinstance(text, str):
        keys = ", ".join(map(str, row))[:200] or "nothing"
        what = f"`text` is {_type(text)}, not a string" if text is not None else f"no `text`: there is {keys}"
        return Malformed(name, number, what, _shown(row))
    metadata = _metadata(row.pop("metadata", None))
    url = _text(row.pop("url", None)) or metadata.pop("url", "")
    return Document(
        _text(row.pop("id", None)) or document_id(url, text.encode("utf-8", "replace")),
        text,
        _text(row.pop("source", None)) or stem(name),
        url,
        _text(row.pop("created", None)) or metadata.pop("created", ""),
        metadata | {key: _text(value) for key, value in row.items() if value is not None},
    )


def _metadata(value: Any) -> dict[str, str]:
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return {"metadata": value}
    if isinstance(value, dict):
        return {str(key): _text(item) for key, item in value.items() if item is not None}
    return {} if value is None else {"metadata": _text(value)}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:  # nested more deeply than it goes
        return ""


def _type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    return _text(value)[:200]


def _excerpt(raw: bytes) -> str:
    return raw[:200].decode("utf-8", errors="replace")
