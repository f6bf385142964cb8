"""Pages that would take more time than pages do, found before they are parsed."""

from __future__ import annotations

import numpy as np

from hornbook.text.kernel import kernel
from hornbook.text.pages.markup import find
from hornbook.text.pages.vocabulary import (
    DEEPEST,
    FORMAT_BITS,
    FORMAT_KEYS,
    FORMAT_VALUES,
    RAWS,
    TAG_BITS,
    TAG_KEYS,
    TAG_VALUES,
    Bytes,
    Code,
)

MOST_ATTRIBUTES = 1000
TOO_DEEP = f"html_depth: more than {DEEPEST:,} elements within each other"
TOO_MANY = f"html_attributes: more than {MOST_ATTRIBUTES:,} in one element"


def bomb(html: bytes) -> str | None:
    """Why a page would take a parser more time than pages do, if it would."""
    most, level = attributes_and_level(np.frombuffer(html, np.uint8))
    if most > MOST_ATTRIBUTES:
        return TOO_MANY
    return TOO_DEEP if level > DEEPEST else None


@kernel
def attributes_and_level(html: Bytes) -> tuple[int, int]:
    """The most attributes in one tag of raw HTML, and how many formatting elements at most are open at once.

    Parsers take time that grows with the square of both: they look for an attribute's double among those before it,
    and open again in each paragraph the formatting elements that the last one left open.
    """
    most, level, deepest, at, n = 0, 0, 0, 0, len(html) - 3
    while at < n:
        if html[at] != 60:
            at += 1
            continue
        if html[at + 1] == 33 and html[at + 2] == 45:
            at = _after_comment(html, at + 2)
            continue
        closing = html[at + 1] == 47
        code, end = _lower_name(html, at + 1 + closing)
        if code == 0:
            at += 1
            continue
        if find(FORMAT_KEYS, FORMAT_VALUES, FORMAT_BITS, code) >= 0:
            level = max(level - 1, 0) if closing else level + 1
            deepest = max(deepest, level)
        words, at = _words(html, end)
        most = max(most, words)
        tag = find(TAG_KEYS, TAG_VALUES, TAG_BITS, code)
        if not closing and tag > 0 and RAWS[tag]:
            at = _after_raw_text(html, at, code)
    return most, deepest


@kernel
def _after_comment(html: Bytes, at: int) -> int:
    n = len(html)
    while at < n - 2 and not (html[at] == 45 and html[at + 1] == 45 and html[at + 2] == 62):
        at += 1
    return at + 3


@kernel
def _closing(html: Bytes, at: int, quote: int) -> int:
    """Where a quoted value ends."""
    while at < len(html) and html[at] != quote:
        at += 1
    return at


@kernel
def _words(html: Bytes, at: int) -> tuple[int, int]:
    """How many attributes a tag has, and where it ends."""
    words, last, space = 0, np.uint8(0), True
    while at < len(html):
        byte = html[at]
        if byte == 62:
            return words, at + 1
        if byte <= 32 or byte == 47:
            space = True
        else:
            words += space and last != 61 and byte != 61
            space = (byte == 34 or byte == 39) and last == 61
            at = _closing(html, at + 1, byte) if space else at
            last = byte
        at += 1
    return words, at


@kernel
def _after_raw_text(html: Bytes, at: int, code: Code) -> int:
    """Behind the text of a script or the like; where it never ends, behind its start, as if it were none."""
    for place in range(at, len(html) - 2):
        if html[place] == 60 and html[place + 1] == 47 and _lower_name(html, place + 2)[0] == code:
            return place
    return at


@kernel
def _lower_name(html: Bytes, at: int) -> tuple[Code, int]:
    code, taken = np.uint64(0), 0
    while at < len(html):
        byte = html[at] | 32
        if not (97 <= byte <= 122 or (taken > 0 and 48 <= byte <= 57)):
            break
        if taken < 8:
            code = code << np.uint64(8) | np.uint64(byte)
            taken += 1
        at += 1
    return code, at
