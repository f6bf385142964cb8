"""ARC, the format of web archives before WARC: versions 1 and 2 of the Internet Archive's ARC file format.

A record is a line `URL address date type [more fields] length` and a block of that length, then an empty line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hornbook.text.archives.members import Window
from hornbook.text.archives.records import Head

SCHEME = re.compile(rb"[A-Za-z][\w+.-]{1,30}:")
DATE = re.compile(rb"\d{12,18}")
LENGTH = re.compile(rb"-?\d{1,18}")
LONGEST_LINE = 2**14


class Arc:
    """How ARC records begin."""

    separator = b"\n"
    dictionary = b""

    def begins(self, data: bytes, at: int) -> bool:
        """See Syntax."""
        return data.startswith(b"filedesc:", at) or _parse(data, at) is not None

    def find(self, data: bytes, start: int, end: int) -> int:
        """See Syntax."""
        at = start if start == 0 or data[start - 1 : start] == b"\n" else data.find(b"\n", start, end) + 1
        while start <= at < end:
            if _parse(data, at):
                return at
            at = data.find(b"\n", at, end) + 1 or end
        return -1

    def head(self, window: Window) -> Head | None:
        """See Syntax."""
        window.ahead(LONGEST_LINE)
        end = window.data.find(b"\n", window.at, window.at + LONGEST_LINE) + 1
        whole, end = end > 0, end or len(window.data)
        line = _parse(window.data, window.at)
        if line is None and not window.data.startswith(b"filedesc:", window.at):
            return None
        if line is None or line.url.startswith("filedesc:"):
            last = window.data[window.at : end].split()[-1]
            return Head("warcinfo", {}, end - window.at, int(last) if last.isdigit() else None, whole)
        fields = {"warc-target-uri": line.url, "warc-ip-address": line.address}
        fields |= {"warc-date": _date(line.date), "content-type": line.type}
        return Head("arc", fields, end - window.at, line.length if line.length >= 0 else None, whole)


@dataclass(frozen=True, slots=True)
class Line:
    """The line before a record's block. A URL may hold spaces, though it should not."""

    url: str
    address: str
    date: str
    type: str
    length: int


def _parse(data: bytes, at: int) -> Line | None:
    """The line of a record, if one begins at a byte: URL, address, date, type, up to five fields more, and length."""
    end = data.find(b"\n", at, at + LONGEST_LINE) if SCHEME.match(data, at) else -1
    words = data[at:end].split() if end >= 0 else []
    date = next((place for place in range(2, len(words) - 2) if DATE.fullmatch(words[place])), 0)
    if not date or not LENGTH.fullmatch(words[-1]):
        return None
    url, address, when, kind = (
        part.decode("latin-1") for part in (b" ".join(words[: date - 1]), *words[date - 1 : date + 2])
    )
    return Line(url, address, when, kind, int(words[-1]))


def _date(digits: str) -> str:
    """`2008-04-30T20:48:25Z` for `20080430204825`; none for what has other digits."""
    if len(digits) != 14:
        return ""
    year, month, day, hour, minute, second = digits[:4], *(digits[at : at + 2] for at in range(4, 14, 2))
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}Z"
