"""Small archives for tests, made by hand so that they can be damaged by hand."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path

from hornbook.text.archives.warc import Page, read_archive
from hornbook.text.document import Malformed


def record(url: str, block: bytes, *, kind: str = "response", length: int | None = None, **fields: str) -> bytes:
    """A WARC record; `length` is what it says of its block, if that is not so."""
    lines = {"WARC-Type": kind, "WARC-Target-URI": url, "WARC-Date": "2024-05-06T07:08:09Z"}
    lines |= {"WARC-Record-ID": f"<urn:{url}>", "Content-Type": f"application/http; msgtype={kind}"}
    lines |= {key.replace("_", "-"): value for key, value in fields.items()}
    head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
    size = len(block) if length is None else length
    return f"WARC/1.0\r\n{head}Content-Length: {size}\r\n\r\n".encode() + block + b"\r\n\r\n"


def response(body: bytes, *headers: str) -> bytes:
    """A raw HTTP response."""
    lines = "".join(f"{line}\r\n" for line in ("HTTP/1.1 200 OK", "Content-Type: text/html", *headers))
    return lines.encode() + b"\r\n" + body


def page(number: int, size: int = 40) -> bytes:
    """A record of a page, and a different one for each number."""
    return record(f"http://x/{number}", response(b"<p>Page %d. " % number + b"%d!" % number * (size // 2)))


def arc_page(number: int, size: int = 40) -> bytes:
    """The same as an ARC record."""
    block = response(b"<p>Page %d. " % number + b"%d!" % number * (size // 2))
    return b"http://x/%d 10.0.0.1 20240506070809 text/html %d\n" % (number, len(block)) + block + b"\n"


VERSION = b"1 0 Test\nURL IP-address Archive-date Content-type Archive-length\n"
ARC_HEAD = b"filedesc://a.arc 0.0.0.0 20240506070809 text/plain %d\n%s\n" % (len(VERSION), VERSION)


def packed(parts: Iterable[bytes]) -> bytes:
    """Each part as a gzip member of its own."""
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


def bomb(start: bytes = b"") -> bytes:
    """A gzip member that holds `start` and 400 MiB of zeros, made of one MiB of them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + (packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)) * 400


def read(path: Path, raw: bytes) -> tuple[list[str], list[str]]:
    """The URLs of the pages that an archive of these bytes holds, and the reasons of what cannot be read."""
    path.write_bytes(raw)
    things = list(read_archive(path))
    urls = [thing.url for thing in things if isinstance(thing, Page)]
    return urls, [thing.reason for thing in things if isinstance(thing, Malformed)]
