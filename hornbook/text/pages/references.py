"""Character references such as `&eacute;` or `&#233;`, and the bytes in UTF-8 for which they stand."""

from __future__ import annotations

from html.entities import html5

import numpy as np
from numpy.typing import NDArray

from hornbook.text.kernel import inlined, kernel
from hornbook.text.pages.vocabulary import Bytes, Code

BITS, LONGEST = 13, max(map(len, html5))
PRIME = 0x100000001B3
WINDOWS = np.array(
    [ord(bytes([byte]).decode("cp1252", "ignore") or chr(byte)) for byte in range(128, 160)],
    np.int64,
)
"""What the numbers 128 to 159 stand for: pages that use them mean Windows-1252 (HTML standard, 13.2.5.84)."""


def _hashed(name: str) -> int:
    code = 0
    for byte in name.encode():
        code = (code ^ byte) * PRIME % 2**64
    return code


def _names() -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """An open-addressed table of the names, and for each the one or two code points that it stands for."""
    keys, points = np.zeros(1 << BITS, np.uint64), np.zeros((1 << BITS, 2), np.int64)
    for name, text in html5.items():
        code = _hashed(name)
        at = code >> (64 - BITS)
        while keys[at]:
            at = (at + 1) % len(keys)
        keys[at] = code
        points[at, : len(text)] = [ord(character) for character in text]
    return keys, points


NAMES, POINTS = _names()


@kernel
def resolve(html: Bytes, at: int, end: int, out: Bytes) -> int:
    """Copy a range of bytes with its references resolved; how many bytes that is."""
    w = 0
    while at < end:
        if html[at] != 38:
            out[w] = html[at]
            w += 1
            at += 1
        elif at + 2 < end and html[at + 1] == 35:
            at, w = _numbered(html, at, end, out, w)
        else:
            at, w = _named(html, at, end, out, w)
    return w


@kernel
def _numbered(html: Bytes, at: int, end: int, out: Bytes, w: int) -> tuple[int, int]:
    """A reference by number; the places behind it, and behind what it stands for."""
    start, base = at + 2, 10
    if html[start] | 32 == 120:
        start, base = start + 1, 16
    place, point = start, 0
    while place < end:
        digit = _digit(html[place])
        if digit >= base:
            break
        point = min(point * base + digit, 0x110000)
        place += 1
    if place == start:
        out[w] = 38
        return at + 1, w + 1
    if 128 <= point < 160:
        point = WINDOWS[point - 128]
    elif point == 0 or point > 0x10FFFF or 0xD800 <= point < 0xE000:
        point = 0xFFFD
    return place + (place < end and html[place] == 59), _encode(point, out, w)


@inlined
def _digit(byte: int) -> int:
    if 48 <= byte <= 57:
        return byte - 48
    low = byte | 32
    return low - 87 if 97 <= low <= 102 else 99


@kernel
def _named(html: Bytes, at: int, end: int, out: Bytes, w: int) -> tuple[int, int]:
    """The longest name that begins here, if any."""
    code, place, found, behind = np.uint64(0), at + 1, -1, at + 1
    while place < min(end, at + 1 + LONGEST):
        byte = html[place]
        if not (48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122 or byte == 59):
            break
        code = (code ^ np.uint64(byte)) * np.uint64(PRIME)
        place += 1
        slot = _slot(code)
        if slot >= 0:
            found, behind = slot, place
        if byte == 59:
            break
    if found < 0:
        out[w] = 38
        return at + 1, w + 1
    w = _encode(POINTS[found, 0], out, w)
    return behind, _encode(POINTS[found, 1], out, w) if POINTS[found, 1] else w


@inlined
def _slot(code: Code) -> Code:
    at = np.int64(code >> np.uint64(64 - BITS))
    while NAMES[at] != 0:
        if NAMES[at] == code:
            return at
        at = (at + 1) & ((1 << BITS) - 1)
    return -1


@kernel
def _encode(point: int, out: Bytes, w: int) -> int:
    """Write a code point in UTF-8; where it ends."""
    if point < 0x80:
        out[w] = point
        return w + 1
    if point < 0x800:
        out[w] = 0xC0 | point >> 6
        out[w + 1] = 0x80 | point & 63
        return w + 2
    if point < 0x10000:
        out[w] = 0xE0 | point >> 12
        out[w + 1] = 0x80 | point >> 6 & 63
        out[w + 2] = 0x80 | point & 63
        return w + 3
    out[w] = 0xF0 | point >> 18
    out[w + 1] = 0x80 | point >> 12 & 63
    out[w + 2] = 0x80 | point >> 6 & 63
    out[w + 3] = 0x80 | point & 63
    return w + 4
