from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from fastwarc.stream_io import ZstdWriter, zstd_train_dictionary_from_samples
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.text.archives.bodies import Undecodable, read_response
from hornbook.text.archives.records import Gap, read_records
from hornbook.text.archives.warc import Page, read_archive, syntax_of
from hornbook.text.document import Malformed
from tests.text.archives.made import ARC_HEAD, arc_page, packed, page, read, record, response

DATA = Path(os.environ.get("HORNBOOK_DATA", Path(__file__).parents[4] / "shared" / "data"))
ONE, TWO, THREE = (page(number, 4000 * number) for number in (1, 2, 3))
CRLF = response(b"<p>\r\n" * 30)
HEAD = len(ONE) - len(ONE.split(b"\r\n\r\n", 1)[1])
URLS = ["http://x/1", "http://x/2", "http://x/3"]


def lying(difference: int) -> bytes:
    """The second page, whose record is said to be longer than it is."""
    block = TWO.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n\r\n")
    return record("http://x/2", block, length=len(block) + difference)


def chunks(raw: bytes, size: int) -> list[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at:][1:]


DAMAGE: dict[str, tuple[bytes, list[str], list[str]]] = {
    "nothing": (ONE + TWO + THREE, URLS, []),
    "packed": (packed([ONE, TWO, THREE]), URLS, []),
    "one member": (packed([ONE + TWO + THREE]), URLS, []),
    "members that end anywhere": (packed(chunks(ONE + TWO + THREE, 3001)), URLS, []),
    "members of few bytes": (packed(chunks(ONE + TWO + THREE, 5)), URLS, []),
    "plain among packed": (packed([ONE]) + TWO + packed([THREE]), URLS, []),
    "empty members and padding": (packed([ONE, b"", TWO]) + bytes(600) + packed([THREE]), URLS, []),
    "bare LF": ((ONE + TWO + THREE).replace(b"\r\n", b"\n"), URLS, ["it ends before", "it ends before", "cut off"]),
    "LF made CRLF": (record("http://x/1", CRLF, length=len(CRLF) - 30) + TWO, URLS[:2], ["it goes on after"]),
    "no newlines between": (ONE.removesuffix(b"\r\n\r\n") + TWO + THREE, URLS, []),
    "garbage between": (ONE + b"garbage\0\xff" * 99 + TWO + b"\r\n\r\nmore" + THREE, URLS, ["no record", "no record"]),
    "garbage between packed": (packed([ONE]) + b"garbage" * 99 + packed([TWO, THREE]), URLS, ["no record"]),
    "garbage packed": (packed([ONE, b"garbage" * 99, TWO, THREE]), URLS, ["no record in what is packed"]),
    "garbage first": (b"\xffgarbage" + ONE + TWO, URLS[:2], ["no record"]),
    "garbage last": (ONE + b"garbage", URLS[:1], ["no record"]),
    "garbage alone": (b"garbage" * 99, [], ["no record"]),
    "no gzip member": (packed([ONE]) + b"\x1f\x8b\x08 not gzip" + packed([TWO]), URLS[:2], ["gzip: "]),
    "too long": (ONE + lying(500) + THREE, URLS, ["it ends before its 8,"]),
    "too long by far": (ONE + lying(10**7) + THREE, URLS, ["it ends before its"]),
    "too long for any file": (ONE + lying(10**15) + THREE, URLS, ["it ends before its 1,000,000,000,"]),
    "too long for any file, packed": (packed([ONE, lying(10**15), THREE]), URLS, ["it ends before its"]),
    "too long, packed": (packed([ONE, lying(500), THREE]), URLS, ["cut off"]),
    "too long, one member": (packed([ONE + lying(500) + THREE]), URLS, ["it ends before its"]),
    "too short": (ONE + lying(-500) + THREE, URLS, ["it goes on after its 7,"]),
    "too short, packed": (packed([ONE, lying(-500), THREE]), URLS, ["it goes on after its"]),
    "no length": (ONE + TWO.replace(b"Content-Length", b"X-Length", 1) + THREE, URLS, ["it does not say how long"]),
    "length not a number": (ONE.replace(b"Length: ", b"Length: x", 1) + TWO, URLS[:2], ["it does not say how long"]),
    "cut off": (ONE + TWO[:-900], URLS[:2], ["cut off: 7,"]),
    "cut off, then another": (ONE[:-900] + TWO + THREE, URLS, ["it ends before its 4,"]),
    "cut off in the head": (ONE + TWO[:90], URLS[:1], ["it does not say how long"]),
    "cut off, packed": (packed([ONE]) + packed([TWO])[:-30], URLS[:2], ["gzip: cut off, cut off"]),
    "cut off, packed, then another": (packed([ONE])[:-30] + packed([TWO, THREE]), URLS, ["gzip: "]),
    "a wrong checksum": (flipped(packed([ONE]), -6) + packed([TWO]), URLS[:2], ["gzip: "]),
    "a folded field": (ONE.replace(b"Content-Length: ", b"Content-Length:\r\n ", 1) + TWO, URLS[:2], []),
    "two lengths": (ONE.replace(b"\r\n\r\n", b"\r\nContent-Length: 7\r\n\r\n", 1) + TWO, URLS[:2], []),
    "a record in a page": (record("http://x/0", response(ONE)) + TWO, ["http://x/0", "http://x/2"], []),
    "revisit": (ONE + record("http://x/1", b"", kind="revisit"), URLS[:1], ["revisit: "]),
    "segment": (ONE + record("http://x/1", b"more", kind="continuation"), URLS[:1], ["segment: "]),
    "dns": (record("dns:x", b"x. A 10.0.0.1", Content_Type="text/dns") + ONE, URLS[:1], ["not_http: "]),
    "not pages": (record("http://x/1", b"GET / HTTP/1.1\r\n\r\n", kind="request") + ONE, URLS[:1], []),
    "zstd": (b"".join(pa.compress(part, "zstd", asbytes=True) for part in (ONE, TWO, THREE)), URLS, []),
    "lz4": (b"".join(pa.compress(part, "lz4", asbytes=True) for part in (ONE, TWO, THREE)), URLS, []),
    "one zstd frame": (pa.compress(ONE + TWO + THREE, "zstd", asbytes=True), URLS, []),
    "arc": (ARC_HEAD + arc_page(1) + arc_page(2), URLS[:2], []),
    "arc, packed": (packed([ARC_HEAD, arc_page(1), arc_page(2)]), URLS[:2], []),
    "arc, garbage": (ARC_HEAD + arc_page(1) + b"garbage\n" + arc_page(2), URLS[:2], ["no record"]),
    "arc, cut off": (ARC_HEAD + arc_page(1, 900)[:-500] + b"\n" + arc_page(2), URLS[:2], ["it ends before"]),
    "arc, bad length": (ARC_HEAD + arc_page(1).replace(b"html ", b"html -", 1) + arc_page(2), URLS[:2], ["not say"]),
    "empty": (b"", [], []),
    "only newlines": (b"\r\n" * 99, [], []),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_archives_are_read_as_far_as_they_go(name: str, tmp_path: Path) -> None:
    raw, urls, reasons = DAMAGE[name]
    found, told = read(tmp_path / "a.warc", raw)
    assert found == urls
    assert len(told) == len(reasons), told
    assert all(part in reason for part, reason in zip(reasons, told, strict=True)), told
    assert {reason.partition(":")[0] for reason in told} <= {"record", "body", "revisit", "segment", "not_http"}


def test_a_damaged_page_has_what_there_is_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(ONE[:-900] + TWO)
    first, malformed, second = read_archive(tmp_path / "a.warc")
    assert isinstance(first, Page)
    assert isinstance(second, Page)
    assert isinstance(malformed, Malformed)
    assert (first.body, first.headers["warc-truncated"]) == (ONE[HEAD:-900].partition(b"\r\n\r\n")[2], "damaged")
    assert "warc-truncated" not in second.headers
    assert malformed.row == 1


def test_a_dictionary_of_zstandard_is_used(tmp_path: Path) -> None:
    parts = [page(number, 900) for number in range(64)]
    dictionary = zstd_train_dictionary_from_samples(parts, 2**14)
    head = b"\x5d\x2a\x4d\x18" + len(dictionary).to_bytes(4, "little") + dictionary
    frames = b"".join(zstd_frame(part, dictionary).removeprefix(head) for part in parts)
    assert read(tmp_path / "a.warc.zst", head + frames) == ([f"http://x/{number}" for number in range(64)], [])
    assert len(frames) < sum(map(len, parts)) / 4


def zstd_frame(raw: bytes, dictionary: bytes) -> bytes:
    class Kept(io.BytesIO):
        def close(self) -> None: ...

    kept = Kept()
    writer = ZstdWriter(kept, dictionary=dictionary)
    writer.write(raw)
    writer.close()
    return kept.getvalue()


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_reading_goes_on_behind_a_damaged_frame(codec: str, tmp_path: Path) -> None:
    one, two, three = (pa.compress(part, codec, asbytes=True) for part in (ONE, TWO, THREE))
    urls, reasons = read(tmp_path / "a.warc", one + two[: len(two) // 2] + b"garbage" * 9 + three)
    assert (urls[0], urls[-1]) == ("http://x/1", "http://x/3")
    assert any("frame: " in reason for reason in reasons)


@settings(max_examples=200)
@given(st.data())
def test_no_damage_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from([whole for whole, _, _ in DAMAGE.values() if whole])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path = tmp_path_factory.getbasetemp() / "a.warc"
    path.write_bytes(raw)
    list(read_archive(path))


# -- the wild -------------------------------------------------------------------------------------------------------

GARBAGE = {
    "ipwb__broken.warc": "warcio counts what is behind a wrong length as records",
    "jhove__invalid-warcheaderversion-20.warc": "an empty line is no record",
    "jhove__invalid-warcreader-diagnosis-1.warc": "lines of prose are no record",
    "jhove__invalid-warcrecord-1.warc": "warcio takes the whole file for one record, and we find six",
    "jwat__invalid-warcfile-contenttype-recommended.warc": "FastWARC counts the head of a request as payload",
    "jwat__invalid-warcfile-fields-invalidformat.warc": "warcio counts a block without a length as a record",
    "jwat__invalid-warcfile-lonely-warcinfo-metadata.warc": "warcio takes the second record for the first's payload",
    "jwat__invalid-warcfile-record-then-garbage.warc": "warcio counts the garbage",
    "dolma_sample_0000.warc.gz": "FastWARC counts the sizes of chunks as payload",
    "dolma_sample_0001.warc.gz": "FastWARC counts the sizes of chunks as payload",
    "salam_arabic.warc": "FastWARC counts the sizes of chunks as payload",
    "ipwb__salam-home.warc": "FastWARC counts the sizes of chunks as payload",
    "ipwb__baconIpsum.warc.gz": "FastWARC counts the sizes of chunks as payload",
    "ipwb__baconIpsum_chunked.warc": "FastWARC counts the sizes of chunks as payload",
    "warcio__example-iana.org-chunked.warc": "FastWARC counts the sizes of chunks as payload",
}
"""Files of which a peer reports more than is there, and what it counts."""


def payload(kind: str, block: bytes) -> int:
    """The bytes of a record that the peers call its payload."""
    if kind == "request":
        return len(block.partition(b"\r\n\r\n")[2])
    if kind not in ("response", "revisit", "arc") or not block.startswith(b"HTTP/"):
        return len(block)
    try:
        return len(read_response(block, 2**27).body)
    except Undecodable:
        return 0


@pytest.mark.skipif(not (DATA / "crawl_peers.jsonl").exists(), reason=f"no data in {DATA}")
def test_archives_from_the_wild_are_read_as_far_as_by_warcio_or_fastwarc() -> None:
    worse = set()
    rows = [json.loads(line) for line in (DATA / "crawl_peers.jsonl").read_text().splitlines()]
    for row in rows:
        path = DATA / row["file"]
        with path.open("rb") as stream:
            things = read_records(stream, syntax_of(stream), start=0, end=path.stat().st_size, largest=2**27)
            records = [thing for thing in things if not isinstance(thing, Gap)]
        size = sum(payload(record.kind, record.block) for record in records)
        peers = [row["warcio"], row["fastwarc"]]
        if len(records) < max(peer["records"] for peer in peers) or size < max(peer["payload_bytes"] for peer in peers):
            worse.add(path.name)
    assert worse == set(GARBAGE)
    assert len(rows) > 100


@pytest.mark.skipif(not (DATA / "crawl_nasty").is_dir(), reason=f"no data in {DATA}")
def test_bodies_from_the_wild() -> None:
    found = {path.name: list(read_archive(path)) for path in sorted((DATA / "crawl_nasty").iterdir())}
    bodies = {name: [len(p.body) for p in rows if isinstance(p, Page)] for name, rows in found.items()}
    assert bodies["ipwb__baconIpsum_chunked_httpTrailors.warc"][0] > 39_000
    assert bodies["solrwayback__transfer_compression_gzip_chunked.warc.gz"] == [72442]
    assert bodies["warcio__example-wrong-chunks.warc.gz"] == [1270]
    assert bodies["warcio__example-bad-non-chunked.warc.gz"] == [1270]
    assert bodies["warcio__example.arc.gz"] == [1270]
    assert len(bodies["ipwb__5mementosAndFroggie.warc"]) == 8
    assert len(bodies["jhove__invalid-warcrecord-3.warc"]) == 6
    page, cut = found["chatnoir-resiliparse__clipped.warc.gz"]
    assert isinstance(page, Page)
    assert isinstance(cut, Malformed)
    assert len(page.body) > 74_000
