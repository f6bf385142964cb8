from __future__ import annotations

import gzip
from pathlib import Path

from fastwarc.warc import ArchiveIterator

from hornbook.text.archives.warc import Page, read_archive
from hornbook.text.archives.writer import ArchiveWriter, Exchange, read_exchanges, record_id, whole_exchanges

DATE = "2024-05-06T07:08:09Z"


def exchange(url: str, body: bytes, *headers: tuple[str, str]) -> Exchange:
    kind = ("Content-Type", "text/html")
    return Exchange(url, DATE, "GET / HTTP/1.1", [("Host", "x")], "HTTP/1.1 200 OK", [kind, *headers], body, "10.0.0.1")


def archive(path: Path, *exchanges: Exchange) -> Path:
    with ArchiveWriter(path, software="test") as writer:
        for one in exchanges:
            writer.append(one)
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.warc.gz", exchange("http://x/1", b"<p>one"), exchange("http://x/2", b"<p>two"))
    first, second = (page for page in read_archive(path) if isinstance(page, Page))
    assert (first.url, first.date, first.status, first.body) == ("http://x/1", DATE, 200, b"<p>one")
    assert (first.kind, first.headers["content-type"]) == ("response", "text/html")
    assert second.record_id != first.record_id


def test_fastwarc_agrees_with_our_digests_and_record_types(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.warc.gz", exchange("http://x/1", b"<p>one"), exchange("http://x/2", b"<p>two"))
    records = list(ArchiveIterator(str(path), fsspec_args=False, parse_http=False))
    assert [r.headers["WARC-Type"] for r in records] == ["warcinfo", "request", "response", "request", "response"]
    checked = ArchiveIterator(str(path), fsspec_args=False, verify_digests=True)
    assert sum(1 for _ in checked) == 4  # the warcinfo record has no digest


def test_a_record_says_what_its_payload_is_by_its_own_bytes(tmp_path: Path) -> None:
    packed = gzip.compress(b"<html><p>two", mtime=0)
    exchanges = [
        exchange("http://x/1", b"<p>one"),
        exchange("http://x/2", packed, ("Content-Encoding", "gzip")),
        exchange("http://x/3", packed[:5], ("Content-Encoding", "gzip")),
        exchange("http://x/4", b"no markup"),
    ]
    records = ArchiveIterator(str(archive(tmp_path / "a.warc.gz", *exchanges)), fsspec_args=False, parse_http=False)
    said = [r.headers.get("WARC-Identified-Payload-Type") for r in records if r.headers["WARC-Type"] == "response"]
    assert said == ["text/html", "text/html", None, None]


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


def test_the_id_of_a_record_is_of_what_lasts() -> None:
    def named(date: str, body: str) -> str:
        return record_id("response", "http://x/", f"HTTP/1.1 200 OK\r\nDate: {date}\r\n\r\n{body}".encode())

    assert named("Monday", "a") == named("Tuesday", "a")
    assert named("Monday", "a") != named("Monday", "b")
