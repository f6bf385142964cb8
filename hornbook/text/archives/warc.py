"""Web archives: the pages of WARC, WET and ARC files, damaged ones too.

The reasons of what cannot be read begin with a word that says what kind of thing was lost, and a colon:
`record` (a part of the file that is no record, or one whose length is wrong or that is cut off), `body` (a page whose
body does not unpack or is too large), `revisit` (a page that was as before, and is not stored again), `segment` (a
later part of a record that was cut in parts), `not_http` (a response of another protocol, such as DNS).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from hornbook.text.archives.arc import Arc
from hornbook.text.archives.bodies import LARGEST_BODY, Undecodable, read_response
from hornbook.text.archives.frames import read_dictionary
from hornbook.text.archives.members import GZIP, Raw, Window, first_unpacked
from hornbook.text.archives.records import LONGEST_HEAD, Gap, Head, Record, Syntax, read_records
from hornbook.text.document import Malformed, Rows
from hornbook.text.files import Place, name_of, open_raw

BLANK = re.compile(rb"\n\r?\n")
SIGN = b"WARC/"
VERSION = re.compile(rb"WARC/\d\.\d+[ \t]*\r?\n[A-Za-z][\w-]*[ \t]*:")
USUAL_HEAD = 2**11
HEAD_ROOM = 2**16
"""Bytes of HTTP headers that do not count as body."""


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


class Warc:
    """How WARC records begin."""

    separator = b"\n\n"

    def __init__(self, dictionary: bytes = b"") -> None:
        self.dictionary = dictionary

    def begins(self, data: bytes, at: int) -> bool:
        """See Syntax."""
        return data.startswith(SIGN, at) and data[at + 5 : at + 6].isdigit()

    def find(self, data: bytes, start: int, end: int) -> int:
        """See Syntax. Not only at the start of a line: a record may follow one that was cut off."""
        last = end + len(SIGN) - 1
        at = data.find(SIGN, start, last)
        while at >= 0 and not VERSION.match(data, at):
            at = data.find(SIGN, at + len(SIGN), last)
        return at

    def head(self, window: Window) -> Head | None:
        """See Syntax."""
        start, end, whole = self._head_end(window)
        if end - window.at > LONGEST_HEAD:
            return None
        fields = _fields(window.data[window.at : start])
        length = fields.get("content-length", "")
        known = int(length) if length.isdecimal() and len(length) < 19 else None
        return Head(fields.get("warc-type", "").lower(), fields, end - window.at, known, whole)

    def _head_end(self, window: Window) -> tuple[int, int, bool]:
        """Where the fields and the empty line behind them end, and whether that is so: at another record, or at all."""
        for size in (USUAL_HEAD, LONGEST_HEAD):
            window.ahead(size)
            last = min(window.at + size, len(window.data))
            following = self.find(window.data, window.at + len(SIGN), last)
            blank = BLANK.search(window.data, window.at, following if following >= 0 else last)
            if blank:
                return blank.start(), blank.end(), True
            if following >= 0:
                return following, following, True
        return len(window.data), len(window.data), False


def _fields(head: bytes) -> dict[str, str]:
    """The named fields of a record by their lower-case names; of what is there twice, the first."""
    fields, last = dict[str, list[str]](), ""
    for line in head.decode("utf-8", "replace").split("\n")[1:]:
        if line[:1] in " \t" and last:
            fields[last].append(line)
            continue
        key, colon, value = line.partition(":")
        last = key.strip().lower() if colon else ""
        if last in fields:
            last = ""
        elif last:
            fields[last] = [value]
    return {key: " ".join(map(str.strip, parts)).strip() for key, parts in fields.items()}


def syntax_of(stream: IO[bytes]) -> Syntax:
    """WARC or ARC, by how the file begins."""
    raw = Raw(stream, 0)
    dictionary = read_dictionary(raw)
    start = raw.peek(2**14)
    if start.startswith(GZIP):
        start = first_unpacked(start, 2**14)
    return Arc() if Arc().begins(start, 0) else Warc(dictionary)


def read_archive(
    place: Place,
    *,
    name: str = "",
    largest_body: int = LARGEST_BODY,
    start: int = 0,
    end: int | None = None,
    rows: Rows | None = None,
) -> Iterator[Page | Malformed]:
    """Yield the pages of a WARC, WET or ARC file (.gz, .zst or plain) in file order: responses, conversions, resources.

    What cannot be read is yielded as Malformed with the number of its record, and reading goes on behind it. Of a
    damaged page, what there is is yielded, and then what is wrong with it.

    Args:
        start, end: read what begins in these bytes of the file only.
        rows: counts the records.
    """
    name, rows = name or name_of(place), rows or Rows()
    with open_raw(place) as stream:
        syntax = syntax_of(stream)
        last = end if end is not None else stream.seek(0, 2)
        for thing in read_records(stream, syntax, start=start, end=last, largest=largest_body + HEAD_ROOM):
            rows.count += 1
            if isinstance(thing, Gap):
                yield Malformed(name, rows.count, _told(thing))
            else:
                yield from _pages(thing, name, rows.count, largest_body)


def _told(gap: Gap) -> str:
    resumed = f", resumed at byte {gap.resumed:,}" if gap.resumed >= 0 else ""
    return f"record: {gap.problem} after byte {gap.start:,}{resumed}"


def _pages(record: Record, name: str, row: int, largest_body: int) -> Iterator[Page | Malformed]:
    url = record.fields.get("warc-target-uri", "").strip("<>")
    about = f"{url or record.kind or 'a record without a type'}: "
    try:
        page, problem = _page(record, url, largest_body)
    except Undecodable as error:
        page, problem = None, f"body: {about}{error}"
    if page:
        yield page
    if record.problem and not record.oversize:
        yield Malformed(name, row, f"record: {about}{record.problem}")
    if problem:
        yield Malformed(name, row, problem)


def _page(record: Record, url: str, largest_body: int) -> tuple[Page | None, str]:
    """The page of a record, and what is wrong with it or why there is none."""
    kind, about = record.kind, f"{url or record.kind}: "
    if kind == "revisit":
        return None, f"revisit: {about}as it was at {record.fields.get('warc-refers-to-date') or 'an earlier visit'}"
    if kind == "continuation":
        return None, f"segment: {about}segment {record.fields.get('warc-segment-number', '')}"
    if kind not in ("response", "conversion", "resource", "arc"):
        return None, ""
    if record.problem and not record.block and not record.oversize:
        return None, ""
    if record.oversize:
        raise Undecodable(f"{record.oversize:,} bytes, more than {largest_body:,}")
    declared = record.fields.get("content-type", "")
    is_http = record.block.startswith(b"HTTP/") or declared.startswith("application/http")
    if is_http and kind in ("response", "arc"):
        return _response(record, url, largest_body)
    if kind == "response" or url.startswith("dns:"):
        return None, f"not_http: {about}{declared or 'no type'}"
    if len(record.block) > largest_body:
        raise Undecodable(f"{len(record.block):,} bytes, more than {largest_body:,}")
    headers = {"content-type": declared}
    headers |= {"content-language": record.fields.get("warc-identified-content-language", "")}
    return _made(record, url, 200, headers, record.block, ""), ""


def _response(record: Record, url: str, largest_body: int) -> tuple[Page | None, str]:
    response = read_response(record.block, largest_body)
    page = _made(record, url, response.status, response.headers, response.body, response.problem)
    return page, f"body: {url}: {response.problem}" if response.problem else ""


def _made(record: Record, url: str, status: int, headers: dict[str, str], body: bytes, problem: str) -> Page:
    why = record.fields.get("warc-truncated") or ("damaged" if record.problem or problem else "")
    if why:
        headers["warc-truncated"] = why
    fields, kind = record.fields, "response" if record.kind == "arc" else record.kind
    return Page(url, fields.get("warc-record-id", ""), fields.get("warc-date", ""), status, headers, body, kind)
