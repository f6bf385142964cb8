"""Zstandard and LZ4 frames of an archive: each is what a gzip member is in others, and is found by its length.

Zstandard frames may need a dictionary, which the file then has in a frame of its own at its beginning (the WARC
format's "Zstandard Compression" profile). The layouts are those of RFC 8878 and of the LZ4 frame format.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from fastwarc.stream_io import Lz4Reader, ZstdReader

from hornbook.text.archives.members import CHUNK, Packed, Raw

ZSTD = b"\x28\xb5\x2f\xfd"
LZ4 = b"\x04\x22\x4d\x18"
SKIPPED = b"\x2a\x4d\x18"
"""What follows the first byte (0x50 to 0x5F) of a frame that is not data."""

DICTIONARY = b"\x5d" + SKIPPED
LARGEST_DICTIONARY = 2**24
PIECE = 2**12
"""Bytes that are unpacked at a time: what is behind damage within them is lost."""


class Frame(Packed):
    """What a frame holds; `raw` is behind it once all of it has been read."""

    def __init__(self, raw: Raw, dictionary: bytes) -> None:
        super().__init__(raw)
        zstd = raw.peek(4) == ZSTD
        self.parts = _Parts(raw, zstd_parts(raw) if zstd else lz4_parts(raw))
        self.reader: Any = ZstdReader(self.parts, dictionary=dictionary or None) if zstd else Lz4Reader(self.parts)

    def _unpack(self) -> bytes:
        out = bytearray()
        try:
            while len(out) < CHUNK and (piece := self.reader.read(PIECE)):
                out += piece
        except OSError as error:
            self.problem, self.done = f"frame: {error}", True
        self.read = self.parts.at
        if not self.problem and len(out) < CHUNK:
            self.problem = "frame: cut off" if self.parts.cut else ""
            self.done = True
        return bytes(out)


class _Parts(io.RawIOBase):
    """The bytes of one frame as a stream."""

    def __init__(self, raw: Raw, sizes: Iterator[int]) -> None:
        self.raw, self.sizes = raw, sizes
        self.left, self.at, self.cut = 0, 0, False

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def read(self, count: int = -1) -> bytes:
        if not self.left:
            self.left = next(self.sizes, 0)
        some = self.raw.peek(min(self.left, count if count >= 0 else CHUNK))
        self.cut = self.cut or (not some and self.left > 0)
        self.raw.at += len(some)
        self.left -= len(some)
        self.at += len(some)
        return some


def is_frame(start: bytes) -> bool:
    """Whether six bytes begin a frame that holds data: by its magic number, version and reserved bits."""
    if len(start) < 6:
        return False
    zstd = start.startswith(ZSTD) and not start[4] & 8
    return zstd or (start.startswith(LZ4) and start[4] >> 6 == 1 and not start[5] & 0x8F)


def skipped(start: bytes) -> int:
    """The length of a frame that holds no data, if bytes begin one, else 0."""
    is_skipped = len(start) >= 8 and start[0] >> 4 == 5 and start[1:4] == SKIPPED
    return 8 + int.from_bytes(start[4:8], "little") if is_skipped else 0


def zstd_parts(raw: Raw) -> Iterator[int]:
    """The sizes of the parts of the Zstandard frame at which `raw` is: its header, its blocks, its checksum."""
    flags = raw.peek(5)[4:5] or b"\0"
    single, dictionary, content = flags[0] >> 5 & 1, flags[0] & 3, flags[0] >> 6
    yield 5 + (not single) + (0, 1, 2, 4)[dictionary] + (single, 2, 4, 8)[content]
    last = False
    while not last and len(head := raw.peek(3)) == 3:
        block = int.from_bytes(head, "little")
        last = bool(block & 1)
        yield 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
    if last and flags[0] & 4:
        yield 4


def lz4_parts(raw: Raw) -> Iterator[int]:
    """The sizes of the parts of the LZ4 frame at which `raw` is: its header, its blocks, its checksum."""
    flags = raw.peek(5)[4:5] or b"\0"
    yield 7 + 8 * (flags[0] >> 3 & 1) + 4 * (flags[0] & 1)
    while len(head := raw.peek(4)) == 4 and (size := int.from_bytes(head, "little") & 0x7FFFFFFF):
        yield 4 + size + 4 * (flags[0] >> 4 & 1)
    yield 4 + 4 * (flags[0] >> 2 & 1)


def read_dictionary(raw: Raw) -> bytes:
    """The dictionary with which a file begins, if it begins with one."""
    start = raw.peek(8)
    size = skipped(start)
    if not start.startswith(DICTIONARY) or size > LARGEST_DICTIONARY:
        return b""
    dictionary = raw.peek(size)[8:]
    if not dictionary.startswith(ZSTD):
        return dictionary
    return bytes(ZstdReader(io.BytesIO(dictionary)).read(LARGEST_DICTIONARY))


def first_unpacked_frame(data: bytes, dictionary: bytes, count: int) -> bytes:
    """The first bytes that a frame holds, of which the first bytes are given; none if it is no frame."""
    try:
        frame = Frame(Raw(io.BytesIO(data), 0), dictionary)
        frame.ahead(1)
        return frame.data[:count]
    except (OSError, ValueError):
        return b""
