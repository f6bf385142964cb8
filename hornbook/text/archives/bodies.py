"""HTTP responses as archives hold them: status, headers, and the body with its codings taken off.

Crawlers store bodies cut off, wrongly chunked, or already unpacked under the headers of the packed one; what can be
had of such a body is taken, and what is wrong with it is said.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any

from fastwarc import stream_io

from hornbook.text.archives.members import LARGEST_RATIO, salvage

LARGEST_BODY = 10 * 2**20
SMALLEST_LIMIT = 2**16
"""Bytes to which any body may expand, however small it is when packed."""

NO_STATUS = "no HTTP status line"
BLANK = re.compile(rb"\n\r?\n")
SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]{0,4000})?\r?\n")
NEXT_SIZE = re.compile(rb"\r?\n([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]{0,4000})?\r?\n")
LONGEST_TRAILERS = 4096
PIECE = 2**12
"""Bytes that are unpacked at a time: what is behind damage within them is lost."""


class Undecodable(ValueError):
    """A body is not what its headers say, or larger than allowed."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response; `headers` have lower-case names. `problem` says why the body is not whole, if it is not."""

    status: int
    headers: dict[str, str]
    body: bytes
    problem: str = ""


def parse_response(raw: bytes, largest_body: int = LARGEST_BODY) -> tuple[int, dict[str, str], bytes]:
    """Split a raw HTTP response into status, headers (lower-case names) and decoded body.

    Raises:
        Undecodable: no status line, a coding that is unknown or damaged, or a body larger than `largest_body`.
    """
    response = read_response(raw, largest_body)
    if response.problem:
        raise Undecodable(response.problem)
    return response.status, response.headers, response.body


def read_response(raw: bytes, largest_body: int = LARGEST_BODY) -> Response:
    """Like `parse_response`, but takes what can be had of a damaged body.

    Raises:
        Undecodable: no status line, a body of which nothing can be had, or one larger than `largest_body`.
    """
    raw = raw.lstrip(b"\r\n")
    if not raw.startswith(b"HTTP/") and _is_text(raw):
        return Response(200, {}, raw[:largest_body], NO_STATUS)  # as HTTP/0.9 was
    blank = BLANK.search(raw)
    head, body = (raw[: blank.start()], raw[blank.end() :]) if blank else (raw, b"")
    lines = head_lines(head)
    words = lines[0].split(None, 2)
    if len(words) < 2 or not words[1][:3].isdecimal() or not words[1].isascii():
        raise Undecodable(NO_STATUS)
    headers = parse_headers(lines[1:])
    decoded = _Decoded(body, largest_body)
    decoded.transfer(headers.get("transfer-encoding", ""))
    decoded.content(headers.get("content-encoding", ""))
    return Response(int(words[1][:3]), headers, decoded.body, decoded.problem)


def head_lines(head: bytes) -> list[str]:
    """The lines of an HTTP or WARC head."""
    # Not splitlines, to which byte 0x85 ends a line too.
    return [line.removesuffix("\r") for line in head.decode("latin-1").split("\n")]


def parse_headers(lines: Iterable[str]) -> dict[str, str]:
    """Header fields by their lower-case names; what is there twice is joined by a comma."""
    values, last = dict[str, list[str]](), ""
    for line in lines:
        if line.startswith((" ", "\t")) and last:
            values[last].append(f" {line.strip()}")
            continue
        key, colon, value = line.partition(":")
        if colon:
            last = key.strip().lower()
            parts = values.setdefault(last, [])
            parts.append(f", {value.strip()}" if parts else value.strip())
    return {key: "".join(parts) for key, parts in values.items()}


# -- codings --------------------------------------------------------------------------------------------------------


@dataclass
class _Decoded:
    """A body from which one coding after the other is taken."""

    body: bytes
    largest: int
    problem: str = ""

    def __post_init__(self) -> None:
        self.limit = min(self.largest, max(LARGEST_RATIO * len(self.body), SMALLEST_LIMIT))

    def transfer(self, codings: str) -> None:
        for name in _names(codings):
            if name == "chunked":
                self.body, self.problem = unchunk(self.body)
            elif name in DECODERS:
                self._unpack(name)

    def content(self, codings: str) -> None:
        for name in _names(codings):
            if name in DECODERS:
                self._unpack(name)
            elif not _is_text(self.body):
                raise Undecodable(f"unknown Content-Encoding {name!r}")
        if len(self.body) > self.limit:
            raise Undecodable(f"more than {self.limit:,} bytes when unpacked")

    def _unpack(self, name: str) -> None:
        packed = self.body
        self.body, problem = DECODERS[name](packed, self.limit)
        if problem and not self.body:
            raise Undecodable(f"body does not unpack: {problem}")
        self.problem = self.problem or problem


def _names(codings: str) -> list[str]:
    """Codings in the order in which they are taken off."""
    names = [part.strip().lower() for part in reversed(codings.split(","))] if codings else []
    return [name for name in names if name not in ("", "identity", "none", "binary", "utf-8", "utf8")]


def unchunk(body: bytes) -> tuple[bytes, str]:
    """Join HTTP chunks, and say what is wrong with them.

    What does not look like chunks is the body itself: crawlers often store it joined. A chunk of the wrong size ends
    where the next begins.
    """
    parts, problem, at = list[bytes](), "", 0
    while at < len(body):
        line = SIZE.match(body, at)
        if line and _is_chunk(body, line):
            if int(line[1], 16) == 0:
                return b"".join(parts), problem
            at = line.end() + int(line[1], 16)
            parts.append(body[line.end() : at])
            at += 2 if body.startswith(b"\r\n", at) else 1
            continue
        start = line.end() if line else at
        following = next((found for found in NEXT_SIZE.finditer(body, start) if _is_chunk(body, found)), None)
        if not (at or following or (line and int(line[1], 16) > len(body))):
            return body, ""
        problem = "a chunk has the wrong size" if following else "the last chunk is cut off"
        parts.append(body[start : following.start() if following else len(body)])
        at = following.start(1) if following else len(body)
    return b"".join(parts), problem or ("the last chunk is missing" if body else "")


def _is_chunk(body: bytes, line: re.Match[bytes]) -> bool:
    """Whether what looks like the size of a chunk is followed by as many bytes and a line end; 0, by little."""
    size = int(line[1], 16)
    end = line.end() + size
    if size == 0:
        return len(body) - end <= LONGEST_TRAILERS
    return end == len(body) or body.startswith((b"\r\n", b"\n"), end)


def _gunzip(body: bytes, limit: int) -> tuple[bytes, str]:
    if not body.startswith(b"\x1f\x8b"):
        return body, ""  # already unpacked by the crawler that wrote it
    out = b""
    while body.startswith(b"\x1f\x8b") and len(out) <= limit:
        more, problem, body = _unzip(body, limit - len(out), 31)
        out += more
        if problem:
            return out, problem
    return out, ""


def _undeflate(body: bytes, limit: int) -> tuple[bytes, str]:
    out, problem, _ = _unzip(body, limit, 15)
    if not out:
        out, raw_problem, _ = _unzip(body, limit, -15)
        problem = raw_problem
    return (body, "") if problem and not out and _is_text(body) else (out, problem)


def _unzip(body: bytes, limit: int, wbits: int) -> tuple[bytes, str, bytes]:
    """What a stream holds, what is wrong with it, and what follows it."""
    unpacker = zlib.decompressobj(wbits)
    try:
        out = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        return salvage(zlib.decompressobj(wbits), body, limit), str(error), b""
    cut = not unpacker.eof and len(out) <= limit and bool(body)
    return out, "cut off" if cut else "", unpacker.unused_data


def _reader(open_reader: Callable[[IO[bytes]], Any], magic: bytes = b"") -> Callable[[bytes, int], tuple[bytes, str]]:
    def decode(body: bytes, limit: int) -> tuple[bytes, str]:
        if not body.startswith(magic):
            return body, ""
        stream, out = open_reader(io.BytesIO(body)), bytearray()
        try:
            while len(out) <= limit and (more := stream.read(min(PIECE, limit + 1 - len(out)))):
                out += more
        except OSError as error:
            return (body, "") if not out and _is_text(body) else (bytes(out), str(error))
        return bytes(out), ""

    return decode


def _is_text(body: bytes) -> bool:
    """Whether a body is HTML or JSON that was unpacked by the crawler that wrote it."""
    return body.lstrip()[:1] in (b"<", b"{", b"[")


DECODERS: dict[str, Callable[[bytes, int], tuple[bytes, str]]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _undeflate,
    "br": _reader(stream_io.BrotliReader),
    "zstd": _reader(stream_io.ZstdReader, b"\x28\xb5\x2f\xfd"),
}
