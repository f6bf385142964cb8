"""Writing WARC/1.1, and reading back what was written: the journal of a crawl.

Every record is a gzip member of its own and has the same bytes for the same exchange.
"""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from hornbook.text.archives.bodies import Undecodable, head_lines, parse_headers, parse_response
from hornbook.text.archives.payload import payload_type

VOLATILE = ("age", "date", "expires", "set-cookie")
"""Response headers that differ between two visits of an unchanged page."""

RESPONSE = b"WARC/1.1\r\nWARC-Type: response"
NAMESPACE = uuid.UUID("b6a1d27c-6c0c-5b0e-9a55-9f3d5c1f7b60")

Headers = list[tuple[str, str]]


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
        optional = {
            "WARC-IP-Address": exchange.address,
            "WARC-Truncated": exchange.truncated,
            "WARC-Identified-Payload-Type": _identified(response),
        }
        extra |= {key: value for key, value in optional.items() if value}
        self._stream.write(
            _record("request", exchange, _block(exchange.request_line, exchange.request_headers), identifier)
            + _record("response", exchange, response, "", extra)
        )
        self._stream.flush()


def response_block(exchange: Exchange) -> bytes:
    """The HTTP response of an exchange, as its record holds it."""
    return _block(exchange.status_line, exchange.response_headers) + exchange.body


def _identified(response: bytes) -> str:
    """What the payload is by its own bytes: readers such as datatrove guess where it is not said, and lose pages."""
    try:
        return payload_type(parse_response(response)[2])
    except Undecodable:
        return ""


def whole_exchanges(path: Path) -> int:
    """The length of the part of an archive of ours that ends with a whole response record."""
    return max((end for end, record in _members(path) if record.startswith(RESPONSE)), default=0)


def read_exchanges(path: Path) -> Iterator[tuple[str, bytes]]:
    """The URL and the raw HTTP response of every whole exchange in an archive of ours."""
    for _, record in _members(path):
        if record.startswith(RESPONSE):
            head, _, block = record.partition(b"\r\n\r\n")
            yield parse_headers(head_lines(head))["warc-target-uri"], block.removesuffix(b"\r\n\r\n")


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
    kept = [line for line in head_lines(head) if line.partition(":")[0].strip().lower() not in VOLATILE]
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
