"""The records of a web archive, damaged or not: where each begins, and where it really ends.

A record says how long it is. That is believed if another record, a new gzip member or the end follows; otherwise the
record ends where the next begins. What belongs to no record is a Gap: nothing is passed over without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from hornbook.text.archives.frames import LZ4, ZSTD, Frame, first_unpacked_frame, is_frame, skipped
from hornbook.text.archives.members import CHUNK, EMPTY, GZIP, LOOK_BACK, Member, Packed, Raw, Window, first_unpacked

LONGEST_HEAD = 2**16
OVERLAP = 2**12
"""Bytes that are looked at again when a search goes on, since the sign may have been cut in two."""

LARGEST_BLOCK = 2**18
"""Bytes from which the first of what is packed can be unpacked."""

LONGEST_SIGN = 8
"""Bytes by which a record is recognized."""

RUN_UP = 2**20
"""Bytes before a piece at which its reading begins, so that what looks like a record within one misleads no one."""


@dataclass(slots=True)
class Record:
    """A record: `fields` have lower-case names, `start` is its byte in the file, or that of its member."""

    start: int
    kind: str
    fields: dict[str, str]
    block: bytes = b""
    problem: str = ""
    """What is wrong with it; the block is what there is."""
    oversize: int = 0
    """Its length, if that is more than allowed; the block is empty then."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that belong to no record, from `start` on."""

    start: int
    problem: str
    resumed: int
    """Where the next record was found, or -1."""


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before a record's block: `size` bytes. `length` is that of the block, None if it is not said."""

    kind: str
    fields: dict[str, str]
    size: int
    length: int | None
    whole: bool = True
    """Whether it ends as it should, and not with the bytes that there are."""


class Syntax(Protocol):
    """How the records of a kind of archive begin: WARC or ARC."""

    separator: bytes
    """What stands between two records, without carriage returns."""

    dictionary: bytes
    """What Zstandard frames need, beside themselves, to be unpacked."""

    def begins(self, data: bytes, at: int) -> bool:
        """Whether a record begins at a byte."""
        ...

    def find(self, data: bytes, start: int, end: int) -> int:
        """The first byte in a range where a line begins a record beyond doubt, or -1."""
        ...

    def head(self, window: Window) -> Head | None:
        """The head of the record at which a window is, or None if it is none after all."""
        ...


def read_records(stream: IO[bytes], syntax: Syntax, *, start: int, end: int, largest: int) -> Iterator[Record | Gap]:
    """The records and gaps that begin in a part of a file, in order; the last is read to its own end."""
    raw = Raw(stream, max(0, start - RUN_UP))
    if raw.offset and not resume(raw, syntax):
        return
    for thing in _read(raw, syntax, end, largest):
        if thing.start >= start:
            yield thing


def _read(raw: Raw, syntax: Syntax, end: int, largest: int) -> Iterator[Record | Gap]:
    while True:
        raw.skip_empty()
        start = raw.offset
        if start >= end or not raw.ahead(1):
            return
        if raw.peek(3) == GZIP:
            yield from _read_packed(Member(raw), syntax, largest)
        elif is_frame(raw.peek(6)):
            yield from _read_packed(Frame(raw, syntax.dictionary), syntax, largest)
        elif size := skipped(raw.peek(8)):
            raw.seek(start + size)
        elif record := _record(raw, syntax, start, largest):
            yield record
        else:
            raw.at += 1
            yield Gap(start, "no record", raw.offset if resume(raw, syntax) else -1)


def _read_packed(member: Packed, syntax: Syntax, largest: int) -> Iterator[Record | Gap]:
    raw, told = member.raw, False
    while True:
        member.skip_empty()
        left = member.ahead(LONGEST_SIGN)
        if not left:
            break
        if left < LONGEST_SIGN:
            _joins(member, syntax)
        member.mark()
        if record := _record(member, syntax, member.start, largest):
            told = told or bool(member.problem)
            record.problem = ", ".join(filter(None, (member.problem, record.problem)))
            if member.too_large:
                record.block = b""
            yield record
        else:
            member.at += 1
            resume(member, syntax)
            told = told or bool(member.problem)
            yield Gap(member.start, member.problem or "no record in what is packed", -1)
    if member.problem:
        raw.seek(max(member.start + 1, raw.offset - LOOK_BACK))
        found = resume(raw, syntax)
        if not told:
            yield Gap(member.start, member.problem, raw.offset if found else -1)


def resume(window: Window, syntax: Syntax) -> bool:
    """Go to the first record, or member that holds one, that begins here or later; whether there is one."""
    while window.ahead(CHUNK + LARGEST_BLOCK):
        end = min(len(window.data), window.at + CHUNK)
        found = _find(window, syntax, window.at, end)
        window.at = found if found >= 0 else end
        if found >= 0:
            return True
    return False


def _find(window: Window, syntax: Syntax, start: int, end: int) -> int:
    """Where, in a range of what has been read, a record or a member that holds one begins, or -1."""
    found = syntax.find(window.data, start, end)
    if isinstance(window, Packed):
        return found
    for magic in (GZIP, ZSTD, LZ4):
        last = found if found >= 0 else end + len(magic) - 1
        at = window.data.find(magic, start, last)
        while at >= 0 and not _holds_record(window.data, at, syntax):
            at = window.data.find(magic, at + 1, last)
        found = at if at >= 0 else found
    return found


def _holds_record(data: bytes, at: int, syntax: Syntax) -> bool:
    """Whether a gzip member or a frame that holds a record begins at a byte."""
    if data.startswith(GZIP, at):
        start = first_unpacked(data[at : at + OVERLAP], 512)
    else:
        may_be = is_frame(data[at : at + 6])
        start = first_unpacked_frame(data[at : at + LARGEST_BLOCK], syntax.dictionary, 512) if may_be else b""
    return syntax.begins(start.lstrip(EMPTY), 0)


# -- one record -----------------------------------------------------------------------------------------------------


def _record(window: Window, syntax: Syntax, start: int, largest: int) -> Record | None:
    """The record at which a window is, whose end the window is at afterwards; None if it is at none."""
    head = _head(window, syntax)
    if head is None:
        return None
    window.at += head.size
    record = Record(start, head.kind, head.fields)
    if head.length is not None and head.length > largest:
        _read_oversize(record, window, syntax, head.length, largest)
    elif head.length is None:
        record.block, record.problem = _extend(window, syntax, 0, "it does not say how long it is", largest)
    else:
        record.block, record.problem = _block(window, syntax, head.length, largest)
    return record


def _head(window: Window, syntax: Syntax) -> Head | None:
    window.ahead(OVERLAP)
    if not syntax.begins(window.data, window.at):
        return None
    head = syntax.head(window)
    while head and not head.whole and _joins(window, syntax):
        head = syntax.head(window)
    return head


def _block(window: Window, syntax: Syntax, length: int, largest: int) -> tuple[bytes, str]:
    """The block of a record, and what is wrong with its length."""
    have = window.ahead(length + 4)
    while have < length and _joins(window, syntax):
        have = window.ahead(length + 4)
    if have >= length and (_ends(window, syntax, length) or window.data.startswith(b"\r\n\r\n", window.at + length)):
        return _take(window, length), ""
    found = _find(window, syntax, window.at, window.at + min(have, length) + 1)
    if found >= 0:
        return _cut(window, syntax, found - window.at), f"it ends before its {length:,} bytes do"
    if have < length:
        return _take(window, have), f"cut off: {have:,} of {length:,} bytes"
    if _separated(window, syntax, length):
        return _take(window, length), ""
    return _extend(window, syntax, length, f"it goes on after its {length:,} bytes", largest)


def _ends(window: Window, syntax: Syntax, length: int) -> bool:
    """Whether a block may end after `length` bytes: before another record, or at the end."""
    end = _behind_newlines(window.data, window.at + length)
    if syntax.begins(window.data, end):
        return True
    if end + OVERLAP > len(window.data):
        window.ahead(end - window.at + OVERLAP)
        end = _behind_newlines(window.data, window.at + length)
    rest = window.data[end : end + OVERLAP].lstrip(EMPTY)
    return not rest or rest.startswith((GZIP, ZSTD, LZ4)) or syntax.begins(rest, 0)


def _behind_newlines(data: bytes, at: int) -> int:
    while data[at : at + 1] in (b"\r", b"\n"):
        at += 1
    return at


def _extend(window: Window, syntax: Syntax, length: int, problem: str, largest: int) -> tuple[bytes, str]:
    """The block up to the next record, or to the end, where its length is too short or not there."""
    size = length
    while size <= largest:
        have = window.ahead(size + CHUNK + OVERLAP)
        found = _find(window, syntax, window.at + size, window.at + min(have, size + CHUNK))
        if found >= 0 or have <= size + CHUNK:
            return _cut(window, syntax, found - window.at if found >= 0 else have), problem
        size += CHUNK
    return _take(window, length), problem


def _joins(window: Window, syntax: Syntax) -> bool:
    """Go on with the next gzip member, unless a record begins with it; whether there is one."""
    if not isinstance(window, Member) or not window.done:
        return False
    window.raw.ahead(OVERLAP)
    return not _holds_record(window.raw.data, window.raw.at, syntax) and window.join()


def _separated(window: Window, syntax: Syntax, length: int) -> bool:
    after = window.data[window.at + length : window.at + length + 4]
    return after.replace(b"\r", b"").startswith(syntax.separator)


def _take(window: Window, size: int) -> bytes:
    block = window.data[window.at : window.at + size]
    window.at += len(block)
    return block


def _cut(window: Window, syntax: Syntax, size: int) -> bytes:
    """The next bytes without the separator at their end."""
    block = _take(window, size)
    for _ in syntax.separator:
        block = block.removesuffix(b"\n").removesuffix(b"\r")
    return block


def _read_oversize(record: Record, window: Window, syntax: Syntax, length: int, largest: int) -> None:
    """Pass over a block that is larger than allowed, unless it only says so."""
    record.oversize = length
    if isinstance(window, Raw) and _jump(window, syntax, length):
        return
    have = window.ahead(largest)
    found = _find(window, syntax, window.at, window.at + have)
    if found < 0 and have == largest:
        record.problem = _skip(window, syntax, length)
        return
    record.oversize = 0
    record.problem = f"it ends before its {length:,} bytes do"
    record.block = _cut(window, syntax, found - window.at) if found >= 0 else _take(window, have)


def _skip(window: Window, syntax: Syntax, length: int) -> str:
    """Go behind a block that is not read. Returns what is wrong with it."""
    left = length
    while left and (have := window.ahead(min(left, CHUNK) + OVERLAP)):
        found = _find(window, syntax, window.at, window.at + min(have, left))
        if found >= 0:
            window.at = found
            return "its length is wrong"
        step = min(left, CHUNK, have)
        window.at += step
        left -= step
    return f"cut off: {length - left:,} of {length:,} bytes" if left else ""


def _jump(raw: Raw, syntax: Syntax, length: int) -> bool:
    """Go behind a block without reading it, if what is behind it is what should be."""
    here = raw.offset
    if here + length > raw.size:
        return False
    raw.seek(here + length)
    rest = raw.peek(OVERLAP).lstrip(EMPTY)
    if (not rest or rest.startswith((GZIP, ZSTD, LZ4)) or syntax.begins(rest, 0)):
        return True
    raw.seek(here)
    return False
