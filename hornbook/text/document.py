"""The document: one record for every kind of input, its id, its order, and how it is read and written.

The fields are those of Dolma and datatrove: id, text, source, url, created, metadata.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hornbook.errors import InputError, UsageError

SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "text", "source", "url", "created", "metadata")])
"""One row a document. `metadata` is a JSON object with sorted keys: its keys differ from source to source."""

ROWS_A_GROUP = 1024
LONGEST_ROW = 64 * 2**20
PART = 50_000
"""Characters of a part of a long text file."""
READABLE = (".warc", ".wet", ".jsonl", ".json", ".ndjson", ".parquet", ".txt", ".md")
COMPRESSED = ("", ".gz", ".zst")


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


def document_id(url: str, payload: bytes) -> str:
    """32 hex digits that depend on where a document is from and on its bytes, and on nothing else."""
    return hashlib.blake2b(url.encode() + b"\0" + payload, digest_size=16).hexdigest()


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
    return write_rows(path, map(_row, documents), SCHEMA)


def write_rows(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> int:
    """Write any rows as Parquet (zstd), a group at a time, so that memory does not grow with the file."""
    count, group = 0, list[dict[str, Any]]()
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for row in rows:
            group.append(row)
            count += 1
            if len(group) == ROWS_A_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group = []
        writer.write_table(pa.Table.from_pylist(group, schema))
    return count


def hash_documents(documents: Iterable[Document]) -> str:
    """SHA-256, in hex, of all that documents are, in their order, but not of when and in which record they came."""
    total = hashlib.sha256()
    for document in documents:
        lasting = {key: value for key, value in document.metadata.items() if key != "record"}
        row = [document.id, document.text, document.source, document.url, lasting]
        total.update(orjson.dumps(row, option=orjson.OPT_SORT_KEYS) + b"\n")
    return total.hexdigest()


def _row(document: Document) -> dict[str, str]:
    return {
        "id": document.id,
        "text": document.text,
        "source": document.source,
        "url": document.url,
        "created": document.created,
        "metadata": orjson.dumps(document.metadata, option=orjson.OPT_SORT_KEYS).decode(),
    }


def read_documents(path: Path) -> Iterator[Document]:
    """Read what `write_documents` wrote.

    Raises:
        InputError: not Parquet, or a column is missing.
    """
    for row in _parquet_rows(path, tuple(SCHEMA.names)):
        metadata = orjson.loads(row["metadata"]) if row["metadata"] else {}
        yield Document(row["id"], row["text"], row["source"], row["url"] or "", row["created"] or "", metadata)


def _parquet_rows(path: Path, required: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            if missing := set(required) - set(file.schema_arrow.names):
                have = ", ".join(file.schema_arrow.names)
                raise InputError(f"{path}: no column {', '.join(sorted(missing))}", hint=f"its columns are: {have}")
            for batch in file.iter_batches(batch_size=ROWS_A_GROUP):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {_one_line(error)}") from error


# -- rows of any kind -----------------------------------------------------------------------------------------------


def kind_of(path: Path) -> str:
    """`.jsonl` for `a/b.jsonl.gz`; the suffix that says how a file is read, or "" for one that is not readable."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in READABLE else ""


def read_rows(path: Path, *, name: str = "") -> Iterator[Document | Malformed]:
    """Read documents from .jsonl, .json, .parquet, .txt or .md, also .gz and .zst.

    A row is an object with a string `text`; `id`, `url`, `source`, `created` and `metadata` are taken where they are
    there, and every other field becomes metadata. A row that is not so is yielded as Malformed, and reading goes on.
    `name` is how the file is called in messages and as the source of documents that name none.
    """
    name = name or path.name
    kind = kind_of(path)
    if kind in (".txt", ".md"):
        yield from _read_text(path, name)
        return
    rows = _parquet_rows(path, ("text",)) if kind == ".parquet" else _json_rows(path, name)
    for number, row in enumerate(rows, 1):
        yield row if isinstance(row, Malformed) else _document(row, name, number)


def _read_text(path: Path, name: str) -> Iterator[Document | Malformed]:
    try:
        with open_bytes(path) as stream:
            raw = stream.read(LONGEST_ROW + 1)
    except (OSError, EOFError, zlib.error) as error:
        yield Malformed(name, 1, f"unreadable: {_one_line(error)}")
        return
    if len(raw) > LONGEST_ROW:
        yield Malformed(name, 1, f"longer than {LONGEST_ROW:,} bytes")
        return
    text = raw.decode("utf-8", errors="replace").removeprefix("\ufeff").replace("\r\n", "\n")
    for part in _parts(text):
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


def _json_rows(path: Path, name: str) -> Iterator[Any]:
    number = 0
    try:
        with open_bytes(path) as stream:
            if kind_of(path) == ".json" and _first_byte(stream) == b"[":
                yield from _json_array(stream, name)
                return
            while line := stream.readline(LONGEST_ROW):
                number += 1
                if line.strip():
                    yield _json(line, name, number)
    except (OSError, EOFError, zlib.error) as error:
        yield Malformed(name, number + 1, f"unreadable from here on: {_one_line(error)}")


def _json_array(stream: IO[bytes], name: str) -> Iterator[Any]:
    rows = _json(stream.read(LONGEST_ROW), name, 1)
    yield from rows if isinstance(rows, list) else [rows]


def _json(line: bytes, name: str, number: int) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Malformed(name, number, f"not JSON: {_one_line(error)}", _excerpt(line))


def _document(row: Any, name: str, number: int) -> Document | Malformed:
    if not isinstance(row, dict):
        return Malformed(name, number, f"not an object but {_type(row)}", _excerpt(orjson.dumps(row)))
    row = dict(row)
    text = row.pop("text", None)
    if not isinstance(text, str):
        what = f"`text` is {_type(text)}, not a string" if text is not None else "no `text`"
        return Malformed(name, number, what, _excerpt(orjson.dumps(row, default=str)))
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
    return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def _type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


# -- files ----------------------------------------------------------------------------------------------------------


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, through gzip or Zstandard where its name says so."""
    if path.suffix.lower() == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.suffix.lower() == ".zst":
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def _first_byte(stream: IO[bytes]) -> bytes:
    start = cast(io.BufferedReader, stream).peek(4096)
    return start.lstrip()[:1]


def find_files(source: str) -> list[tuple[str, Path]]:
    """The readable files that a file name, a folder or a glob stands for: (name, path), sorted by name.

    Raises:
        UsageError: nothing is there.
        InputError: nothing that is there can be read.
    """
    path, found = Path(source), list_files(source)
    if path.is_file():
        return [(path.name, path)]
    files = [(_name(file, path), file) for file in found if kind_of(file)]
    if not files:
        hint = f"readable: {', '.join(READABLE)} (.gz, .zst)"
        if not found and not path.is_dir():
            raise UsageError(f"there is no file or folder {source}", hint=hint)
        raise InputError(f"{source} holds no readable file", hint=hint)
    return sorted(files)


def list_files(source: str) -> list[Path]:
    """All files that a file name, a folder or a glob stands for, readable or not, sorted."""
    path = Path(source)
    if path.is_file():
        return [path]
    return sorted(file for file in (path.rglob("*") if path.is_dir() else _glob(path)) if file.is_file())


def _glob(path: Path) -> list[Path]:
    fixed = next((parent for parent in path.parents if not set("*?[") & set(str(parent))), Path())
    pattern = str(path.relative_to(fixed))
    return list(fixed.glob(pattern)) if set("*?[") & set(pattern) else []


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if root.is_dir() else file.name


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stem(name: str) -> str:
    """`books` for `shelf/books.jsonl.gz`."""
    return Path(name).name.split(".")[0] or name


def _excerpt(raw: bytes) -> str:
    return raw[:200].decode("utf-8", errors="replace")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
