"""Input: archives with their HTTP bodies decoded, JSON lines, Parquet; what comes out is what a pipeline works on."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from inputs import pages, texts
from measure import Measured, Peer, Row, Stopwatch, main, resident_mb

DAMAGE = ("garbage", "hole", "zeros", "end", "length", "newlines")
RECORD = "WARC/1.0\r\nWARC-Type: {}\r\nWARC-Record-ID: <urn:{}>\r\nWARC-Date: 2020-01-01T00:00:00Z\r\n"
RECORD += "WARC-Target-URI: https://example.org/{}\r\nContent-Type: application/http; msgtype={}\r\n"


def archive(*, megabytes: float, folder: Path, packed: bool) -> None:
    """A WARC file of requests and responses, plain or of gzip members."""
    with (folder / ("pages.warc.gz" if packed else "pages.warc")).open("wb") as stream:
        for record in _records(megabytes):
            stream.write(gzip.compress(record, 6) if packed else record)


def _records(megabytes: float) -> Iterator[bytes]:
    for at, page in enumerate(pages(megabytes)):
        body = page["html"].encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
        for kind, block in (("request", b"GET / HTTP/1.1\r\n\r\n"), ("response", head.encode() + body)):
            lines = RECORD.format(kind, f"{kind}-{at}", at, kind) + f"Content-Length: {len(block)}\r\n\r\n"
            yield lines.encode() + block + b"\r\n\r\n"


def damaged(*, archives: int, folder: Path) -> None:
    """Archives of 2 MB of pages, plain, of a member a record or of one member, each damaged once somewhere."""
    records, draw = list(_records(2)), random.Random(0)
    for at in range(archives):
        whole = list(records)
        hurt = draw.choice(DAMAGE)
        if hurt in ("length", "newlines"):
            place = draw.randrange(len(whole))
            whole[place] = _misstate(whole[place], hurt, draw)
        form = draw.choice(("plain", "members", "member"))
        parts = [b"".join(whole)] if form == "member" else whole
        raw = b"".join(parts if form == "plain" else (gzip.compress(part, 6, mtime=0) for part in parts))
        (folder / f"{at:03}.warc{'' if form == 'plain' else '.gz'}").write_bytes(_damage(raw, hurt, draw))


def _misstate(record: bytes, how: str, draw: random.Random) -> bytes:
    if how == "newlines":
        return record.replace(b"\r\n", b"\n")
    head, name, rest = record.partition(b"Content-Length: ")
    length, _, rest = rest.partition(b"\r\n")
    wrong = max(0, int(length) + draw.choice((-100, -1, 1, 100, 10**6)))
    return head + name + b"%d\r\n" % wrong + rest


def _damage(raw: bytes, how: str, draw: random.Random) -> bytes:
    at, size = draw.randrange(len(raw)), draw.randint(1, 3000)
    behind = raw[at + size :]
    after = {"garbage": draw.randbytes(size) + raw[at:], "hole": behind, "zeros": bytes(size) + behind, "end": b""}
    return raw[:at] + after[how] if how in after else raw


def recover_pages(*, archives: int, folder: Path) -> Measured:
    """Our pages of damaged archives."""
    from hornbook.text.archives.warc import Page
    from hornbook.text.read import read_file

    def found(path: Path) -> Iterator[bytes]:
        yield from (thing.body for thing in read_file(path) if isinstance(thing, Page))

    return _recovered(folder, found)


def recover_warcio(*, archives: int, folder: Path) -> Measured:
    """warcio's responses until it ends or fails."""
    from warcio.archiveiterator import ArchiveIterator

    def found(path: Path) -> Iterator[bytes]:
        with path.open("rb") as stream:
            records = (record for record in ArchiveIterator(stream) if record.rec_type == "response")
            yield from (record.content_stream().read() for record in records)

    return _recovered(folder, found)


def recover_fastwarc(*, archives: int, folder: Path) -> Measured:
    """FastWARC's responses until it ends or fails."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    def found(path: Path) -> Iterator[bytes]:
        kinds = WarcRecordType.response
        yield from (r.reader.read() for r in ArchiveIterator(str(path), record_types=kinds, fsspec_args=False))

    return _recovered(folder, found)


def _recovered(folder: Path, read: Callable[[Path], Iterator[bytes]]) -> Measured:
    """The share of the pages that were written that come out as they were."""
    whole = {hash(page["html"].encode()) for page in pages(2)}
    count = 0
    paths = sorted(folder.iterdir())
    for path in paths:
        found = set[int]()
        with suppress(Exception):  # warcio raises whatever it meets
            for body in read(path):
                found.add(hash(body))
        count += len(found & whole)
    return Measured(count / len(paths) / len(whole), {"pages": count})


def read_pages(*, megabytes: float, folder: Path, packed: bool) -> Measured:
    """Our pages: status, headers, body."""
    from hornbook.text.archives.warc import Page
    from hornbook.text.read import read_file

    (path,) = folder.iterdir()
    return _measured(len(thing.body) for thing in read_file(path) if isinstance(thing, Page))


def read_warcio(*, megabytes: float, folder: Path, packed: bool) -> Measured:
    """warcio's responses."""
    from warcio.archiveiterator import ArchiveIterator

    (path,) = folder.iterdir()
    with path.open("rb") as stream:
        records = (record for record in ArchiveIterator(stream) if record.rec_type == "response")
        return _measured(len(record.content_stream().read()) for record in records)


def read_fastwarc(*, megabytes: float, folder: Path, packed: bool) -> Measured:
    """FastWARC's responses."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    (path,) = folder.iterdir()
    records = ArchiveIterator(str(path), record_types=WarcRecordType.response, fsspec_args=False)
    return _measured(len(record.reader.read()) for record in records)


def read_datatrove(*, megabytes: float, folder: Path, kind: str) -> Measured:
    """datatrove's readers."""
    from datatrove.pipeline import readers

    reader = getattr(readers, kind)(str(folder))
    return _measured(len(document.text.encode()) for document in reader.run(rank=0, world_size=1))


def rows(*, megabytes: float, folder: Path, suffix: str) -> None:
    """Documents as JSON lines or Parquet."""
    import orjson

    from hornbook.text.document import Document, write_documents

    documents = [
        Document(str(at), text, "s", f"https://example.org/{at}", "2020-01-01", {"language": "en", "title": "T"})
        for at, text in enumerate(texts(megabytes))
    ]
    path = folder / f"rows{suffix}"
    if suffix == ".parquet":
        write_documents(path, documents)
        return
    raw = b"".join(orjson.dumps({"id": d.id, "text": d.text, "metadata": d.metadata}) + b"\n" for d in documents)
    path.write_bytes(gzip.compress(raw, 6) if suffix.endswith(".gz") else raw)


def read_rows(*, megabytes: float, folder: Path, suffix: str) -> Measured:
    """Our documents."""
    from hornbook.text.document import Document
    from hornbook.text.read import read_file

    (path,) = folder.iterdir()
    return _measured(len(thing.text.encode()) for thing in read_file(path) if isinstance(thing, Document))


def _measured(sizes: Iterable[int]) -> Measured:
    count = total = 0
    loaded = resident_mb()
    with Stopwatch() as watch:
        for size in sizes:
            count += 1
            total += size
    return Measured(total / 1e6 / watch.cpu, {"documents": count, "_bytes": total, "loaded_mb": loaded})


def _row(name: str, ours: Any, peers: tuple[Peer, ...], prepare: Any, **options: Any) -> Row:
    sizes = {f"{size} MB": {"megabytes": size, **options} for size in (10, 100)}
    return Row(name, "MB/CPU-s", sizes, ours, peers, prepare)


WARCS = (Peer(read_warcio, "warcio"), Peer(read_fastwarc, "fastwarc", label="fastwarc"))


def _datatrove(kind: str) -> Peer:
    def side(*, megabytes: float, folder: Path, **_: Any) -> Measured:
        return read_datatrove(megabytes=megabytes, folder=folder, kind=kind)

    return Peer(side, "datatrove", label="datatrove", config=kind)


ROWS = (
    Row(
        "read-damaged",
        "share of pages",
        {"100 archives": {"archives": 100}},
        recover_pages,
        (Peer(recover_warcio, "warcio"), Peer(recover_fastwarc, "fastwarc", label="fastwarc")),
        damaged,
        repeats=1,
    ),
    _row("read-warc", read_pages, (*WARCS, _datatrove("WarcReader")), archive, packed=False),
    _row("read-warc-gz", read_pages, (*WARCS, _datatrove("WarcReader")), archive, packed=True),
    _row("read-jsonl", read_rows, (_datatrove("JsonlReader"),), rows, suffix=".jsonl"),
    _row("read-jsonl-gz", read_rows, (_datatrove("JsonlReader"),), rows, suffix=".jsonl.gz"),
    _row("read-parquet", read_rows, (_datatrove("ParquetReader"),), rows, suffix=".parquet"),
)

if __name__ == "__main__":
    main(ROWS)
