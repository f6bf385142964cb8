"""The bytes of an archive, read ahead: those of the file itself, and those that a gzip member of it holds.

An archive is a file of records, or of gzip members that hold one record each; but there are files that are one member,
files whose members end in the middle of a record, and files of which a part was packed and a part was not.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from os import SEEK_END
from typing import IO

from isal import isal_zlib

CHUNK = 2**20
PACKED = 2**16
GZIP = b"\x1f\x8b\x08"
LARGEST_RATIO = 200
"""How many times larger than its compressed form a record or body may be: deflate reaches 1028, pages stay below 50."""

ZLIB = type(zlib.decompressobj())
IGZIP_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment]

EMPTY = b"\r\n \t\0"
"""What may stand between two records and is no damage."""

LOOK_BACK = 2 * PACKED
"""Bytes before the place where a member was found to be damaged in which the next may already have begun."""


class Window(ABC):
    """Bytes ahead of a place: `data[at:]` is what has been read of them."""

    def __init__(self, offset: int) -> None:
        self.data, self.at, self.base = b"", 0, offset

    @property
    def offset(self) -> int:
        """The place, counted in the window's own bytes."""
        return self.base + self.at

    def ahead(self, count: int) -> int:
        """Read until `count` bytes are ahead, or all that there are. Returns how many, at most `count`."""
        have = len(self.data) - self.at
        if have >= count:
            return count
        parts = list[bytes]()
        while have < count and (chunk := self._read(count - have)):
            parts.append(chunk)
            have += len(chunk)
        if parts:
            self.base, self.at, self.data = self.offset, 0, b"".join([self.data[self.at :], *parts])
        return min(have, count)

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, or as many as there are."""
        self.ahead(count)
        return self.data[self.at : self.at + count]

    def skip_empty(self) -> None:
        """Go to the next byte that is not in EMPTY."""
        few = 16
        while some := self.peek(few):
            rest = some.lstrip(EMPTY)
            self.at += len(some) - len(rest)
            if rest:
                return
            few = CHUNK

    @abstractmethod
    def _read(self, count: int) -> bytes:
        """More bytes; none only at the end."""


class Raw(Window):
    """The file itself."""

    def __init__(self, stream: IO[bytes], offset: int) -> None:
        super().__init__(offset)
        self.stream, self.size = stream, stream.seek(0, SEEK_END)
        stream.seek(offset)

    def seek(self, offset: int) -> None:
        """Go to a byte of the file."""
        if self.base <= offset <= self.base + len(self.data):
            self.at = offset - self.base
            return
        self.data, self.at, self.base = b"", 0, offset
        self.stream.seek(offset)

    def _read(self, count: int) -> bytes:
        return self.stream.read(max(count, CHUNK))


class Packed(Window):
    """What a packed part of the file holds; `raw` is behind it once all of it has been read.

    `problem` says why it ended early: cut off, damaged, or larger than LARGEST_RATIO allows.
    """

    def __init__(self, raw: Raw, *, capped: bool = True) -> None:
        super().__init__(0)
        self.raw, self.start, self.capped = raw, raw.offset, capped
        self.problem, self.done = "", False
        self.read = self.unpacked = 0
        self.mark()

    def mark(self) -> None:
        """Begin to measure the expansion: a record starts here."""
        self._marked = (self.read, self.unpacked)

    def _read(self, count: int) -> bytes:
        while not self.done:
            out = self._unpack()
            self.unpacked += len(out)
            if self.too_large:
                self.problem, self.done = f"it expands more than {LARGEST_RATIO} times", True
            elif out:
                return out
        return b""

    @abstractmethod
    def _unpack(self) -> bytes:
        """More of what is held; sets `read`, and `done` with the last."""

    @property
    def too_large(self) -> bool:
        """Whether, since the mark, more was unpacked than is reasonable."""
        read, unpacked = self._marked
        return self.capped and self.unpacked - unpacked > CHUNK + LARGEST_RATIO * (self.read - read)


class Member(Packed):
    """What a gzip member holds.

    It is unpacked by Intel's igzip, three times as fast as zlib. Only zlib can copy its state, which takes what there
    is before damage: a member that igzip finds damaged is read again from its beginning.
    """

    def __init__(self, raw: Raw, *, capped: bool = True) -> None:
        super().__init__(raw, capped=capped)
        self._begin()

    def _begin(self) -> None:
        self.begun, self.read_before, self.given, self.done = self.raw.offset, self.read, 0, False
        self.unpacker: isal_zlib.Decompress | zlib._Decompress = isal_zlib.decompressobj(wbits=31)

    def join(self) -> bool:
        """Go on with the next member, if there is one at once."""
        if self.problem or not self.done or self.raw.peek(3) != GZIP:
            return False
        self._begin()
        return True

    def _unpack(self) -> bytes:
        packed = self.unpacker.unconsumed_tail or self._packed()
        before = self.unpacker.copy() if isinstance(self.unpacker, ZLIB) else None
        try:
            out = self.unpacker.decompress(packed, CHUNK) if packed else self.unpacker.flush()
        except (zlib.error, IGZIP_ERROR) as error:
            if before is None:
                return self._again()
            self.problem, self.done = f"gzip: {error}", True
            return salvage(before, packed)
        self.read += len(packed) - len(self.unpacker.unconsumed_tail)
        if self.unpacker.eof:
            self.raw.seek(self.raw.offset - len(self.unpacker.unused_data))
            self.done = True
        elif not packed:
            self.problem, self.done = "gzip: cut off", True
        self.given += len(out)
        return out

    def _again(self) -> bytes:
        """What follows the bytes that igzip has given, from zlib, which begins anew."""
        left = self.given
        self.raw.seek(self.begun)
        self.read, self.unpacker = self.read_before, zlib.decompressobj(wbits=31)
        while not self.done:
            out = self._unpack()
            if len(out) > left:
                return out[left:]
            left -= len(out)
        return b""

    def _packed(self) -> bytes:
        packed = self.raw.peek(PACKED)
        self.raw.at += len(packed)
        return packed


class Members:
    """A stream of what the gzip members of a file hold, one after the other."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.raw = Raw(stream, 0)
        self.member = Member(self.raw, capped=False)

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; none at the end.

        Raises:
            OSError: what comes next is damaged, cut off, or no gzip member.
        """
        while not self.member.ahead(1):
            if self.member.problem:
                raise OSError(self.member.problem)
            self.raw.skip_empty()
            if not self.raw.ahead(1):
                return b""
            if self.raw.peek(3) != GZIP:
                raise OSError(f"no gzip member at byte {self.raw.offset:,}")
            self.member = Member(self.raw, capped=False)
        data, at = self.member.data, self.member.at
        self.member.at = min(len(data), at + count)
        return data[at : self.member.at]


def salvage(unpacker: zlib._Decompress, packed: bytes, limit: int = CHUNK) -> bytes:
    """What can be unpacked before the damage, about `limit` bytes at most."""
    out = bytearray()
    try:
        for at in range(len(packed)):
            out += unpacker.decompress(packed[at : at + 1])
            if len(out) > limit:
                break
    except zlib.error:
        pass
    return bytes(out)


def first_unpacked(packed: bytes, count: int) -> bytes:
    """The first bytes that a gzip member holds; none if it is no member."""
    try:
        return zlib.decompressobj(wbits=31).decompress(packed, count)
    except zlib.error:
        return b""
