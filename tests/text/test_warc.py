from __future__ import annotations

import gzip
import os
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.text.document import Malformed
from hornbook.text.warc import (
    ArchiveWriter,
    Exchange,
    Page,
    Undecodable,
    parse_response,
    read_archive,
    read_exchanges,
    record_id,
    whole_exchanges,
)

DATA = Path(os.environ.get("HORNBOOK_DATA", Path(__file__).parents[3] / "shared" / "data"))
DATE = "2024-05-06T07:08:09Z"


def exchange(url: str, body: bytes, *headers: tuple[str, str]) -> Exchange:
    kind = ("Content-Type", "text/html")
    return Exchange(url, DATE, "GET / HTTP/1.1", [("Host", "x")], "HTTP/1.1 200 OK", [kind, *headers], body, "10.0.0.1")


def archive(path: Path, *exchanges: Exchange) -> Path:
    with ArchiveWriter(path, software="test") as writer:
        for one in exchanges:
            writer.append(one)
    return path


def pages(path: Path) -> list[Page]:
    return [page for page in read_archive(path) if isinstance(page, Page)]


def damage(path: Path) -> list[str]:
    return [page.reason for page in read_archive(path) if isinstance(page, Malformed)]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.warc.gz", exchange("http://x/1", b"<p>one"), exchange("http://x/2", b"<p>two"))
    first, second = pages(path)
    assert (first.url, first.date, first.status, first.body, first.kind) == (
        "http://x/1",
        DATE,
        200,
        b"<p>one",
        "response",
    )
    assert first.headers["content-type"] == "text/html"
    assert second.record_id != first.record_id


def test_fastwarc_agrees_with_our_digests_and_record_types(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.warc.gz", exchange("http://x/1", b"<p>one"), exchange("http://x/2", b"<p>two"))
    records = list(ArchiveIterator(str(path), fsspec_args=False, parse_http=False))
    assert [r.headers["WARC-Type"] for r in records] == ["warcinfo", "request", "response", "request", "response"]
    checked = ArchiveIterator(str(path), fsspec_args=False, verify_digests=True)
    assert sum(1 for _ in checked) == 4  # the warcinfo record has no digest


def test_the_same_exchanges_give_the_same_bytes(tmp_path: Path) -> None:
    one = archive(tmp_path / "a.gz", exchange("http://x/1", b"<p>one")).read_bytes()
    assert one == archive(tmp_path / "b.gz", exchange("http://x/1", b"<p>one")).read_bytes()


def test_appending_goes_on_after_the_last_whole_exchange_wherever_the_file_was_cut(tmp_path: Path) -> None:
    exchanges = [exchange(f"http://x/{n}", b"<p>" + bytes([65 + n]) * 40) for n in range(3)]
    whole = archive(tmp_path / "whole.gz", *exchanges).read_bytes()
    path = tmp_path / "cut.gz"
    for cut in range(0, len(whole) + 1, 31):
        path.write_bytes(whole[:cut])
        kept = len(list(read_exchanges(path)))
        archive(path, *exchanges[kept:])
        assert path.read_bytes() == whole
    assert whole_exchanges(path) == len(whole)


@pytest.mark.parametrize("junk", [b"garbage " * 40, b"\x1f\x8b\x08 not gzip", b"WARC/1.1\r\nContent-Length: x\r\n\r\n"])
@pytest.mark.parametrize("packed", [True, False])
def test_reading_goes_on_behind_garbage(junk: bytes, packed: bool, tmp_path: Path) -> None:
    parts = [archive(tmp_path / f"{n}.gz", exchange(f"http://x/{n}", b"<p>%d" % n)).read_bytes() for n in range(2)]
    if not packed:
        parts = [gzip.decompress(part) for part in parts]
    path = tmp_path / "a.warc"
    path.write_bytes(parts[0] + junk + b"\r\n" + parts[1])
    assert [page.url for page in pages(path)] == ["http://x/0", "http://x/1"]


def test_a_cut_off_record_is_malformed(tmp_path: Path) -> None:
    whole = gzip.decompress(archive(tmp_path / "a.gz", exchange("http://x/1", b"<p>" + b"x" * 500)).read_bytes())
    path = tmp_path / "a.warc"
    path.write_bytes(whole[:-300])
    (reason,) = damage(path)
    assert reason.startswith("http://x/1: cut off: ")


@pytest.mark.parametrize(
    ("headers", "body", "decoded"),
    [
        ("", b"plain", b"plain"),
        ("Content-Encoding: gzip", gzip.compress(b"packed", mtime=0), b"packed"),
        ("Content-Encoding: gzip", b"already unpacked", b"already unpacked"),
        ("Content-Encoding: deflate", zlib.compress(b"zlib"), b"zlib"),
        ("Content-Encoding: deflate", zlib.compress(b"raw")[2:-4], b"raw"),
        ("Transfer-Encoding: chunked", b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde"),
        ("Transfer-Encoding: chunked", b"not chunks", b"not chunks"),
        ("Transfer-Encoding: chunked", b"3\nabc\n0\n\n", b"abc"),
        ("Content-Encoding: identity", b"plain", b"plain"),
    ],
)
def test_bodies_are_decoded(headers: str, body: bytes, decoded: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\n{headers}\r\n".replace("\r\n\r\n", "\r\n").encode()
    assert parse_response(head + b"\r\n" + body)[2] == decoded


def test_a_header_value_ends_with_its_line() -> None:
    raw = b"HTTP/1.1 200 OK\nX-Title: Sch\xc3\x85n: a\x0bb\r\nContent-Type: text/html\r\n\r\n"
    assert parse_response(raw)[1] == {"x-title": "Sch\xc3\x85n: a\x0bb", "content-type": "text/html"}


def test_the_id_of_a_record_is_of_what_lasts() -> None:
    def named(date: str, body: str) -> str:
        return record_id("response", "http://x/", f"HTTP/1.1 200 OK\r\nDate: {date}\r\n\r\n{body}".encode())

    assert named("Monday", "a") == named("Tuesday", "a")
    assert named("Monday", "a") != named("Monday", "b")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no HTTP status line"),
        (b"hello there\r\n\r\n", "no HTTP status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: lzma\r\n\r\nx", "unknown Content-Encoding 'lzma'"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08xxxxxxxxxxxx", "body does not unpack"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n\xff\xff\xff\xff\xff", "body does not unpack"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(10**8)), "when unpacked"),
    ],
)
def test_undecodable_bodies_say_why(raw: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        parse_response(raw)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_crash_the_parser(raw: bytes) -> None:
    for text in (raw, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n" + raw):
        with suppress(Undecodable):
            parse_response(text)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 400), st.integers(0, 255))
def test_no_flipped_byte_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, at: int, value: int) -> None:
    folder = tmp_path_factory.mktemp("w")
    raw = bytearray(archive(folder / "a.gz", exchange("http://x/1", b"<p>one")).read_bytes())
    raw[at % len(raw)] = value
    (folder / "a.warc.gz").write_bytes(raw)
    list(read_archive(folder / "a.warc.gz"))


@pytest.mark.skipif(not (DATA / "crawl_nasty").is_dir(), reason=f"no data in {DATA}")
def test_damaged_archives_from_the_wild() -> None:
    found = {path.name: list(read_archive(path)) for path in sorted((DATA / "crawl_nasty").iterdir())}
    assert len(found) > 100
    bodies = {name: [len(p.body) for p in rows if isinstance(p, Page)] for name, rows in found.items()}
    assert bodies["ipwb__baconIpsum_chunked_httpTrailors.warc"][0] > 39_000
    assert bodies["solrwayback__transfer_compression_gzip_chunked.warc.gz"] == [72442]
    assert bodies["warcio__example-wrong-chunks.warc.gz"] == [1270]
    assert bodies["warcio__example-bad-non-chunked.warc.gz"] == [1270]
    assert len(bodies["ipwb__5mementosAndFroggie.warc"]) == 8
    assert len(bodies["jhove__invalid-warcrecord-3.warc"]) == 4
    clipped = found["chatnoir-resiliparse__clipped.warc.gz"]
    assert [type(row) for row in clipped] == [Malformed]
    assert (
        "cut off" in found["warcio__example.arc"][0].reason
        or "no WARC record" in found["warcio__example.arc"][0].reason
    )
