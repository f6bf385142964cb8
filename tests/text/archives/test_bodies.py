from __future__ import annotations

import gzip
import zlib
from contextlib import suppress

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.text.archives.bodies import Undecodable, parse_response, read_response, unchunk

HTML = b"<p>A paragraph of some length.</p>" * 40
LONG = HTML + b" ".join(b"%d" % (n * n) for n in range(60_000))
GZIP = gzip.compress(HTML, mtime=0)
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(GZIP), GZIP)


def pack(codec: str) -> bytes:
    return bytes(pa.compress(HTML, codec, asbytes=True))


def raw(headers: str, body: bytes) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers.split("; ") if line)
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + body


@pytest.mark.parametrize(
    ("headers", "body", "decoded"),
    [
        ("", b"plain", b"plain"),
        ("Content-Encoding: gzip", GZIP, HTML),
        ("Content-Encoding: x-gzip", GZIP + GZIP, HTML + HTML),
        ("Content-Encoding: gzip", HTML, HTML),
        ("Content-Encoding: gzip, gzip", gzip.compress(GZIP, mtime=0), HTML),
        ("Content-Encoding: deflate", zlib.compress(HTML), HTML),
        ("Content-Encoding: deflate", zlib.compress(HTML)[2:-4], HTML),
        ("Content-Encoding: deflate", HTML, HTML),
        ("Content-Encoding: br", pack("brotli"), HTML),
        ("Content-Encoding: br", HTML, HTML),
        ("Content-Encoding: zstd", pack("zstd"), HTML),
        ("Content-Encoding: zstd", HTML, HTML),
        ("Content-Encoding: identity", b"plain", b"plain"),
        ("Content-Encoding: windows-1251", HTML, HTML),
        ("Transfer-Encoding: chunked", b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde"),
        ("Transfer-Encoding: gzip, chunked", CHUNKED, HTML),
        ("Transfer-Encoding: gzip", GZIP, HTML),
        ("Transfer-Encoding: chunked; Content-Encoding: gzip", CHUNKED, HTML),
        ("Transfer-Encoding: chunked; Content-Encoding: gzip", HTML, HTML),
    ],
)
def test_bodies_are_decoded(headers: str, body: bytes, decoded: bytes) -> None:
    assert parse_response(raw(headers, body))[2] == decoded


@pytest.mark.parametrize(
    ("chunks", "body", "problem"),
    [
        (b"not chunks", b"not chunks", ""),
        (b"2024 was a year.\r\nSo was 2023.", b"2024 was a year.\r\nSo was 2023.", ""),
        (b"2\r\nis all that this line has.", b"2\r\nis all that this line has.", ""),
        (b"", b"", ""),
        (b"3\nabc\n0\n\n", b"abc", ""),
        (b"3\r\nabc\r\n0\r\nExpires: never\r\n\r\n", b"abc", ""),
        (b"003  \r\nabc\r\n0\r\n\r\n", b"abc", ""),
        (b"5\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", b"abcdef", "a chunk has the wrong size"),
        (b"2\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", b"abcdef", "a chunk has the wrong size"),
        (b"ff\r\nabc", b"abc", "the last chunk is cut off"),
        (b"3\r\nabc\r\nff\r\ndef", b"abcdef", "the last chunk is cut off"),
        (b"3\r\nabc\r\n", b"abc", "the last chunk is missing"),
    ],
)
def test_chunks_are_joined(chunks: bytes, body: bytes, problem: str) -> None:
    assert unchunk(chunks) == (body, problem)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
def test_whole_chunks_are_joined(parts: list[bytes]) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert unchunk(chunks) == (b"".join(parts), "")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ("Content-Encoding: gzip", GZIP[:-20]),
        ("Content-Encoding: gzip", GZIP[:-8] + bytes(8)),
        ("Content-Encoding: deflate", zlib.compress(HTML)[:-20]),
        ("Content-Encoding: br", bytes(pa.compress(LONG, "brotli", asbytes=True))[:60_000]),
        ("Content-Encoding: zstd", bytes(pa.compress(LONG, "zstd", asbytes=True))[:60_000]),
        ("Transfer-Encoding: chunked", b"fff\r\n" + HTML),
    ],
)
def test_what_can_be_had_of_a_damaged_body_is_taken(headers: str, body: bytes) -> None:
    response = read_response(raw(headers, body))
    assert response.problem
    assert response.body.startswith(HTML[:20])
    with pytest.raises(Undecodable, match=response.problem):
        parse_response(raw(headers, body))


def test_a_body_without_a_head_is_taken_for_what_it_is() -> None:
    response = read_response(HTML)
    assert (response.status, response.body, response.problem) == (200, HTML, "no HTTP status line")


def test_a_header_value_ends_with_its_line() -> None:
    head = b"HTTP/1.1 200 OK\nX-Title: Sch\xc3\x85n: a\x0bb\r\nContent-Type: text/html\r\n\r\n"
    assert parse_response(head)[1] == {"x-title": "Sch\xc3\x85n: a\x0bb", "content-type": "text/html"}


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"", "no HTTP status line"),
        (b"hello there\r\n\r\n", "no HTTP status line"),
        (raw("Content-Encoding: lzma", b"x"), "unknown Content-Encoding 'lzma'"),
        (raw("Content-Encoding: gzip", b"\x1f\x8b\x08xxxxxxxxxxxx"), "body does not unpack"),
        (raw("Content-Encoding: br", b"\xff\xff\xff\xff\xff"), "body does not unpack"),
        (raw("Content-Encoding: gzip", gzip.compress(bytes(10**8), mtime=0)), "when unpacked"),
        (raw("Content-Encoding: br", pa.compress(bytes(10**8), "brotli", asbytes=True)), "when unpacked"),
        (raw("Content-Encoding: zstd", pa.compress(bytes(10**8), "zstd", asbytes=True)), "when unpacked"),
    ],
)
def test_undecodable_bodies_say_why(response: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        parse_response(response)


@settings(max_examples=200)
@given(st.binary(max_size=400), st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, br"]))
def test_no_bytes_crash_the_parser(body: bytes, coding: str) -> None:
    for text in (body, raw(f"Transfer-Encoding: chunked; Content-Encoding: {coding}", body)):
        with suppress(Undecodable):
            parse_response(text)
