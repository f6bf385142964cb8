"""Web archives: reading WARC and WET, damaged ones too, and writing WARC/1.1.

Records are found by FastWARC. Where it stops short, because a length is wrong or garbage follows, reading goes on at
the next record that can be found, and what was skipped is yielded as Malformed.
"""

from __future__ import annotations

import base64
import hashlib
import io
import mmap
import os
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from fastwarc import stream_io
from fastwarc.warc import ArchiveIterator, WarcRecordType

from hornbook.text.document import Malformed

LARGEST_BODY = 10 * 2**20
LARGEST_RATIO = 200
"""How many times larger than its compressed form a body may be: deflate reaches 1028, pages stay below 50."""

VOLATILE = ("age", "date", "expires", "set-cookie")
"""Response headers that differ between two visits of an unchanged page."""

RESPONSE = b"WARC/1.1\r\nWARC-Type: response"
GZIP = b"\x1f\x8b\x08"
NAMESPACE = uuid.UUID("b6a1d27c-6c0c-5b0e-9a55-9f3d5c1f7b60")
KINDS = (
    (WarcRecordType.response, "response"),
    (WarcRecordType.conversion, "conversion"),
    (WarcRecordType.resource, "resource"),
)

Headers = list[tuple[str, str]]


class Undecodable(ValueError):
    """A body is not what its headers say, or larger than allowed."""


@dataclass(frozen=True, slots=True)
class Page:
    """One captured page; `headers` have lower-case names, `body` has its transfer and content codings taken off."""

    url: str
    record_id: str
    date: str
    status: int
    headers: dict[str, str]
    body: bytes
    kind: str


# -- reading --------------------------------------------------------------------------------------------------------


def read_archive(path: Path, *, name: str = "", largest_body: int = LARGEST_BODY) -> Iterator[Page | Malformed]:
    """Yield the pages of a WARC or WET file (.gz, .zst or plain) in file order: responses, conversions, resources.

    What cannot be read is yielded as Malformed with the number of its record, and reading goes on behind it.
    """
    name = name or path.name
    row, start, end = 0, 0, path.stat().st_size
    while 0 <= start < end:
        last, problem = start, ""
        with path.open("rb") as stream:
            stream.seek(start)
            for record in _records(stream):
                row += 1
                if isinstance(record, OSError):
                    problem = str(record)
                    break
                last = max(last, start + record.stream_pos)
                yield from _pages(record, name, row, largest_body)
        following = _next_record(path, last + 1)
        if problem or following >= 0 or not row:
            row += not problem
            resumed = f", resumed at byte {following:,}" if following >= 0 else ""
            yield Malformed(name, row, f"{problem or 'no WARC record'} after byte {last:,}{resumed}")
        start = following


def _records(stream: IO[bytes]) -> Iterator[Any]:
    records = ArchiveIterator(stream, parse_http=False, quirks_mode=True, fsspec_args=False)
    while True:
        try:
            record = next(records, None)
        except OSError as error:
            yield error
            return
        if record is None:
            return
        yield record


def _next_record(path: Path, start: int) -> int:
    """The offset of the first record at or after `start`, or -1."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as bytes_:
        packed = bytes_.find(GZIP, start)
        while packed >= 0 and _inflate(bytes_[packed : packed + 4096], 5) != b"WARC/":
            packed = bytes_.find(GZIP, packed + 1)
        plain = bytes_.find(b"\nWARC/", start - 1) + 1
    return min((at for at in (packed, plain) if at >= start), default=-1)


def _inflate(packed: bytes, length: int) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(packed, length)
    except zlib.error:
        return b""


def _pages(record: Any, name: str, row: int, largest_body: int) -> Iterator[Page | Malformed]:
    kind = next((kind for type, kind in KINDS if record.record_type == type), "")
    if not kind:
        return
    length = record.content_length
    url = (record.headers.get("WARC-Target-URI") or "").strip("<>")
    try:
        raw = record.reader.read(largest_body + 65536)
        if length > largest_body + 65536:
            raise Undecodable(f"{length:,} bytes, more than {largest_body:,}")
        if len(raw) < length:
            raise Undecodable(f"cut off: {len(raw):,} of {length:,} bytes")
        http = kind == "response" and _is_http(record.headers.get("Content-Type"), raw)
        status, headers, body = parse_response(raw, largest_body) if http else (200, {}, raw)
    except (OSError, Undecodable) as error:
        yield Malformed(name, row, f"{url or kind}: {error}")
        return
    if kind == "response" and not http:
        return  # a DNS answer or the like
    if not http:
        headers = {"content-type": record.headers.get("Content-Type") or ""}
        headers |= {"content-language": record.headers.get("WARC-Identified-Content-Language") or ""}
    if why := record.headers.get("WARC-Truncated"):
        headers["warc-truncated"] = why
    yield Page(url, record.record_id or "", record.headers.get("WARC-Date") or "", status, headers, body, kind)


def _is_http(content_type: str | None, raw: bytes) -> bool:
    return raw.startswith(b"HTTP/") or (content_type or "").startswith("application/http")


def parse_response(raw: bytes, largest_body: int = LARGEST_BODY) -> tuple[int, dict[str, str], bytes]:
    """Split a raw HTTP response into status, headers (lower-case names) and decoded body.

    Raises:
        Undecodable: no status line, a coding that is unknown or damaged, or a body larger than `largest_body`.
    """
    head, separator, body = raw.partition(b"\r\n\r\n")
    if not separator or b"\n\n" in head:
        head, _, body = raw.partition(b"\n\n")
    lines = _lines(head)
    words = lines[0].split()
    if len(words) < 2 or not words[1].isdecimal():
        raise Undecodable("no HTTP status line")
    headers = _headers(lines[1:])
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _unchunk(body)
    return int(words[1]), headers, _decode(body, headers.get("content-encoding", ""), largest_body)


def _lines(head: bytes) -> list[str]:
    # Not splitlines, to which byte 0x85 ends a line too.
    return [line.removesuffix("\r") for line in head.decode("latin-1").split("\n")]


def _headers(lines: Iterable[str]) -> dict[str, str]:
    headers, last = dict[str, str](), ""
    for line in lines:
        if line.startswith((" ", "\t")) and last:
            headers[last] += " " + line.strip()
            continue
        key, colon, value = line.partition(":")
        if colon:
            last = key.strip().lower()
            headers[last] = f"{headers[last]}, {value.strip()}" if last in headers else value.strip()
    return headers


def _unchunk(body: bytes) -> bytes:
    """Join HTTP chunks; what does not look like chunks is the body itself (crawlers often store it joined)."""
    parts, at = list[bytes](), 0
    while at < len(body):
        line, newline, _ = body[at : at + 256].partition(b"\n")
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            return b"".join(parts) if parts else body
        if not newline or size < 0:
            return b"".join(parts) if parts else body
        if size == 0:
            break
        at += len(line) + 1
        parts.append(body[at : at + size])
        at += size
        at += 2 if body[at : at + 2] == b"\r\n" else body[at : at + 1] == b"\n"
    return b"".join(parts)


def _decode(body: bytes, coding: str, largest: int) -> bytes:
    limit = min(largest, max(LARGEST_RATIO * len(body), 65536))
    for name in reversed([part.strip().lower() for part in coding.split(",") if part.strip()]):
        if name == "identity":
            continue
        if name not in DECODERS:
            raise Undecodable(f"unknown Content-Encoding {name!r}")
        body = DECODERS[name](body, limit)
    if len(body) > limit:
        raise Undecodable(f"more than {limit:,} bytes when unpacked")
    return body


def _gunzip(body: bytes, limit: int) -> bytes:
    if not body.startswith(b"\x1f\x8b"):
        return body  # already unpacked by the crawler that wrote it
    return _unzip(body, limit, 31)


def _undeflate(body: bytes, limit: int) -> bytes:
    return _unzip(body, limit, 15 if body[:1] == b"\x78" else -15)


def _unzip(body: bytes, limit: int, wbits: int) -> bytes:
    try:
        return zlib.decompressobj(wbits).decompress(body, limit + 1)
    except zlib.error as error:
        raise Undecodable(f"body does not unpack: {error}") from error


def _reader(open_reader: Callable[[IO[bytes]], Any]) -> Callable[[bytes, int], bytes]:
    def decode(body: bytes, limit: int) -> bytes:
        try:
            return bytes(open_reader(io.BytesIO(body)).read(limit + 1))
        except OSError as error:
            raise Undecodable(f"body does not unpack: {error}") from error

    return decode


DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _undeflate,
    "br": _reader(stream_io.BrotliReader),
    "zstd": _reader(stream_io.ZstdReader),
}


# -- writing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its response as they went over the wire; `body` is still content-encoded."""

    url: str
    date: str
    request_line: str
    request_headers: Headers
    status_line: str
    response_headers: Headers
    body: bytes
    address: str = ""
    truncated: str = ""
    """Why the body is not whole: `length` or `time`."""


@dataclass
class ArchiveWriter:
    """Append exchanges to a WARC/1.1 file, each record a gzip member; whole exchanges survive a kill.

    Opening an existing file cuts it after its last whole exchange.
    """

    path: Path
    software: str
    robots: str = "obey"
    _stream: IO[bytes] = field(init=False, repr=False)

    def __enter__(self) -> Self:
        keep = whole_exchanges(self.path) if self.path.exists() else 0
        self._stream = self.path.open("r+b" if self.path.exists() else "w+b")
        self._stream.truncate(keep)
        self._stream.seek(keep)
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def append(self, exchange: Exchange) -> None:
        """Write the request and the response record of an exchange, the response last."""
        if self._stream.tell() == 0:
            self._stream.write(_warcinfo(exchange.date, self.software, self.robots))
        response = response_block(exchange)
        identifier = record_id("response", exchange.url, response)
        extra = {"WARC-Payload-Digest": _digest(exchange.body)}
        optional = {"WARC-IP-Address": exchange.address, "WARC-Truncated": exchange.truncated}
        extra |= {key: value for key, value in optional.items() if value}
        self._stream.write(
            _record("request", exchange, _block(exchange.request_line, exchange.request_headers), identifier)
            + _record("response", exchange, response, "", extra)
        )
        self._stream.flush()


def response_block(exchange: Exchange) -> bytes:
    """The HTTP response of an exchange, as its record holds it."""
    return _block(exchange.status_line, exchange.response_headers) + exchange.body


def whole_exchanges(path: Path) -> int:
    """The length of the part of an archive of ours that ends with a whole response record."""
    return max((end for end, record in _members(path) if record.startswith(RESPONSE)), default=0)


def read_exchanges(path: Path) -> Iterator[tuple[str, bytes]]:
    """The URL and the raw HTTP response of every whole exchange in an archive of ours."""
    for _, record in _members(path):
        if record.startswith(RESPONSE):
            head, _, block = record.partition(b"\r\n\r\n")
            yield _headers(_lines(head))["warc-target-uri"], block.removesuffix(b"\r\n\r\n")


def _members(path: Path) -> Iterator[tuple[int, bytes]]:
    """Where each gzip member ends, and what it holds, up to the first that is damaged or cut off."""
    with path.open("rb") as stream:
        end, rest = 0, b""
        while True:
            member, record, used = zlib.decompressobj(wbits=31), bytearray(), 0
            while not member.eof:
                chunk, rest = rest or stream.read(65536), b""
                if not chunk:
                    return
                try:
                    record += member.decompress(chunk)
                except zlib.error:
                    return
                used += len(chunk)
            rest = member.unused_data
            end += used - len(rest)
            yield end, bytes(record)


def record_id(kind: str, url: str, block: bytes) -> str:
    """A record id that depends on nothing but what lasts of what the record holds."""
    return f"<urn:uuid:{uuid.uuid5(NAMESPACE, f'{kind} {url} {lasting(block)}')}>"


def lasting(block: bytes) -> str:
    """SHA-256, in hex, of a raw HTTP message but for the headers in VOLATILE: equal for visits of an unchanged page."""
    head, _, body = block.partition(b"\r\n\r\n")
    kept = [line for line in _lines(head) if line.partition(":")[0].strip().lower() not in VOLATILE]
    return hashlib.sha256("\n".join(kept).encode() + b"\n\n" + body).hexdigest()


def _record(kind: str, exchange: Exchange, block: bytes, partner: str, extra: dict[str, str] | None = None) -> bytes:
    headers = {"WARC-Type": kind, "WARC-Record-ID": record_id(kind, exchange.url, block)}
    headers |= {"WARC-Date": exchange.date, "WARC-Target-URI": exchange.url}
    headers |= {"WARC-Concurrent-To": partner} if partner else {}
    headers |= {"WARC-Block-Digest": _digest(block), **(extra or {})}
    return _member(headers | {"Content-Type": f"application/http; msgtype={kind}"}, block)


def _warcinfo(date: str, software: str, robots: str) -> bytes:
    fields = {"software": software, "format": "WARC File Format 1.1", "robots": robots}
    block = "".join(f"{key}: {value}\r\n" for key, value in fields.items()).encode()
    headers = {"WARC-Type": "warcinfo", "WARC-Record-ID": record_id("warcinfo", software, block), "WARC-Date": date}
    return _member(headers | {"Content-Type": "application/warc-fields"}, block)


def _member(headers: dict[str, str], block: bytes) -> bytes:
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    head = f"WARC/1.1\r\n{lines}Content-Length: {len(block)}\r\n\r\n".encode()
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # unlike gzip.compress, it writes no time
    return packer.compress(head + block + b"\r\n\r\n") + packer.flush()


def _block(first: str, headers: Headers) -> bytes:
    return "".join([f"{first}\r\n", *(f"{key}: {value}\r\n" for key, value in headers), "\r\n"]).encode("latin-1")


def _digest(block: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(block, usedforsecurity=False).digest()).decode()
