"""Reading input of any kind, whole or a piece at a time: pages of archives and HTML files, documents of the others.

A piece is a range of a file's bytes; it has what begins in it, so that pieces can be read in parallel, and what they
give, one after the other, is what the whole file gives.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from hornbook.text.archives.bodies import LARGEST_BODY
from hornbook.text.archives.frames import Frame, is_frame, read_dictionary
from hornbook.text.archives.members import GZIP, Member, Raw
from hornbook.text.archives.warc import Page, read_archive
from hornbook.text.document import Document, Malformed, document_id
from hornbook.text.document import Rows as Rows
from hornbook.text.files import Place, is_compressed, kind_of, name_of, one_line, open_bytes, open_raw, size_of, stem
from hornbook.text.json_rows import BOM, LONGEST_ROW, UTF_16, read_array, read_lines, to_document

ARCHIVES = (".warc", ".wet", ".arc")
PART = 50_000
"""Characters of a part of a long text file."""

ROWS_A_BATCH = 128
"""Parquet rows that are held at a time; few, since the cores have pieces of their own to read."""

FIRST_MEMBER = 2**24
"""Bytes of a first member at which it is taken for the whole file."""

Read = Page | Document | Malformed


def pieces(place: Place, *, megabytes: float = 64) -> list[tuple[int, int]]:
    """Ranges of bytes, of about a size, in which a file can be read; they depend on nothing but the file."""
    size = size_of(place)
    step = max(1, int(megabytes * 2**20))
    if size <= step or not _divisible(place):
        return [(0, size)]
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def _divisible(place: Place) -> bool:
    kind = kind_of(place)
    if kind in ARCHIVES:
        return _has_members(place)
    return kind == ".parquet" or (kind in (".jsonl", ".ndjson") and not is_compressed(place))


def _has_members(place: Place) -> bool:
    """Whether an archive is plain, or made of small members or frames, so that one can begin in its midst."""
    with open_raw(place) as stream:
        raw = Raw(stream, 0)
        dictionary = read_dictionary(raw)
        if not (raw.peek(3) == GZIP or is_frame(raw.peek(6))):
            return True
        packed = Member(raw) if raw.peek(3) == GZIP else Frame(raw, dictionary)
        packed.ahead(FIRST_MEMBER)
        return packed.done and bool(raw.ahead(1))


def read_file(place: Place, *, name: str = "", largest_body: int = LARGEST_BODY) -> Iterator[Read]:
    """Read a file of any kind that `files.find_places` finds: pages of an archive, documents of the others."""
    return read_piece(place, 0, size_of(place), name=name, largest_body=largest_body)


def read_piece(
    place: Place, start: int, end: int, *, name: str = "", largest_body: int = LARGEST_BODY, rows: Rows | None = None
) -> Iterator[Read]:
    """Read what begins in a range of a file's bytes.

    `name` is how the file is called in messages and as the source of documents that name none. Rows are counted from 1
    in each piece; `rows` says how many there were, once all have been read.
    """
    name, rows, kind = name or name_of(place), rows or Rows(), kind_of(place)
    if kind in ARCHIVES:
        yield from read_archive(place, name=name, largest_body=largest_body, start=start, end=end, rows=rows)
    elif kind == ".parquet":
        yield from _read_parquet(place, start, end, name, rows)
    elif kind in (".jsonl", ".ndjson") and not is_compressed(place):
        yield from _read_lines(place, start, end, name, rows)
    elif start == 0 < end:
        yield from _read_undivided(place, kind, name, largest_body, rows)


def read_rows(place: Place, *, name: str = "") -> Iterator[Document | Malformed]:
    """Read documents from .jsonl, .json, .parquet, .txt or .md, also .gz and .zst.

    A row is an object with a string `text`; `id`, `url`, `source`, `created` and `metadata` are taken where they are
    there, and every other field becomes metadata. A row that is not so is yielded as Malformed, and reading goes on.
    `name` is how the file is called in messages and as the source of documents that name none.
    """
    for thing in read_file(place, name=name):
        if not isinstance(thing, Page):
            yield thing


def _read_whole(place: Place, largest: int) -> bytes | str:
    """A file's bytes, or why they cannot be had."""
    try:
        with open_bytes(place) as stream:
            raw = stream.read(largest + 1)
    except (OSError, EOFError, zlib.error) as error:
        return f"unreadable: {one_line(error)}"
    return raw if len(raw) <= largest else f"longer than {largest:,} bytes"


def _read_undivided(place: Place, kind: str, name: str, largest_body: int, rows: Rows) -> Iterator[Read]:
    if kind in (".html", ".htm"):
        yield from _read_html(place, name, largest_body, rows)
    elif kind in (".txt", ".md"):
        yield from _read_text(place, name, rows)
    else:
        yield from _read_lines(place, 0, None, name, rows)


def _read_html(place: Place, name: str, largest: int, rows: Rows) -> Iterator[Page | Malformed]:
    """A page of an HTML file. Nothing says where it is from: it has no URL, and its record is its name."""
    rows.count += 1
    raw = _read_whole(place, largest)
    if isinstance(raw, str):
        yield Malformed(name, 1, f"body: {raw}")
    else:
        yield Page("", name, "", 200, {"content-type": "text/html"}, raw, "resource")


def _read_text(place: Place, name: str, rows: Rows) -> Iterator[Document | Malformed]:
    rows.count += 1
    raw = _read_whole(place, LONGEST_ROW)
    if isinstance(raw, str):
        yield Malformed(name, 1, raw)
        return
    text = raw.decode("utf-16" if raw[:2] in UTF_16 else "utf-8", errors="replace").removeprefix("\ufeff")
    for part in _parts(text.replace("\r\n", "\n")):
        yield Document(document_id("", part.encode()), part, stem(name))


def _parts(text: str) -> Iterator[str]:
    """The text, cut at empty lines into parts of `PART` characters or little more: a book must not be one document."""
    start = 0
    while len(text) - start > 2 * PART:
        end = text.find("\n\n", start + PART)
        if end < 0:
            break
        yield text[start:end]
        start = end + 2
    yield text[start:]


def _read_lines(place: Place, start: int, end: int | None, name: str, rows: Rows) -> Iterator[Document | Malformed]:
    try:
        with open_bytes(place) as stream:
            is_array = kind_of(place) == ".json" and stream.peek(99)[:99].removeprefix(BOM).lstrip()[:1] == b"["
            yield from read_array(stream, name, rows) if is_array else read_lines(stream, start, end, name, rows)
    except (OSError, EOFError, zlib.error) as error:
        rows.count += 1
        yield Malformed(name, rows.count, f"unreadable from here on: {one_line(error)}")


# -- Parquet --------------------------------------------------------------------------------------------------------


def _read_parquet(place: Place, start: int, end: int, name: str, rows: Rows) -> Iterator[Document | Malformed]:
    problem, at = "", 0
    try:
        with open_raw(place) as stream, pq.ParquetFile(stream, pre_buffer=False) as file:
            if "text" not in file.schema_arrow.names:
                problem = f"no column `text`: there is {', '.join(file.schema_arrow.names)}"
            for group in _groups(file.metadata, start, end) if not problem else ():
                at = 1 + _begin(file.metadata.row_group(group))
                for batch in file.iter_batches(ROWS_A_BATCH, row_groups=[group], use_threads=False):
                    yield from _documents(batch, name, rows)
    except (pa.ArrowException, OSError) as error:
        problem = f"unreadable from here on: {one_line(error)}"
    if problem and (at or not start):  # what is wrong with all of a file is said in its first piece
        rows.count += 1
        yield Malformed(name, rows.count, problem)


def _groups(metadata: pq.FileMetaData, start: int, end: int) -> list[int]:
    """The row groups that begin in a range of bytes."""
    return [group for group in range(metadata.num_row_groups) if start <= _begin(metadata.row_group(group)) < end]


def _begin(group: pq.RowGroupMetaData) -> int:
    columns = [group.column(at) for at in range(group.num_columns)]
    return min(int(min(c.data_page_offset, c.dictionary_page_offset or c.data_page_offset)) for c in columns)


def _documents(batch: pa.RecordBatch, name: str, rows: Rows) -> Iterator[Document | Malformed]:
    names = batch.schema.names
    for values in zip(*(_values(column) for column in batch.columns), strict=True):
        rows.count += 1
        yield to_document(dict(zip(names, values, strict=True)), name, rows.count)


def _values(column: pa.Array) -> list[object]:
    """The values of a column; of a string that is not UTF-8, its bytes."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_decoded(value) for value in column.cast(pa.large_binary()).to_pylist()]


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return value
