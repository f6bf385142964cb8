"""Exact duplicates: keys of ids, URLs, texts, and of the lines and paragraphs that many documents share.

Boilerplate (navigation, inherited methods, licence headers) is what pages share line by line; CCNet (Wenzek et al.
2020, arXiv 1911.00359) drops it so.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Iterator
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hornbook.text.duplicates.urls import normal_form
from hornbook.text.duplicates.word_hashes import (
    BREAK,
    CODES,
    MULTIPLIER,
    ONE,
    ZERO,
    Bytes,
    Hashes,
    Offsets,
    Table,
    decoded,
    encoded,
    meaning,
    mixed,
    spacing,
)

OTHER = np.uint64(0xC2B2AE3D27D4EB4F)
"""The multiplier of the second half of a key, xxHash's; an odd number is all that it has to be."""


def digest(text: str) -> bytes:
    """16 bytes that are equal for equal texts."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def url_key(url: str) -> bytes:
    """16 bytes that are equal for URLs of one normal form."""
    return digest(normal_form(url))


# -- whole texts ----------------------------------------------------------------------------------------------------


def fingerprint(text: str) -> bytes:
    """16 bytes that are equal for texts that differ in nothing but case, white space and Unicode form."""
    data = encoded(text)
    plain = np.empty(len(data), np.uint8)
    size = _plain(data, _lasting(), spacing(), plain)
    if size >= 0:
        return hashlib.blake2b(plain[:size].data, digest_size=16).digest()
    return digest(" ".join(unicodedata.normalize("NFC", text).casefold().split()))


@cache
def _lasting() -> NDArray[np.bool_]:
    """Whether a character stays as it is, whatever its neighbours are, when case and Unicode form are made plain.

    A to Z are taken for such, since the kernel looks after them. Characters above U+10000 all count as others.
    """
    table = np.zeros(CODES + 1, np.bool_)
    decompositions = (unicodedata.decomposition(chr(code)) for code in range(0xC0, 0x10000))
    seconds = {parts.partition(" ")[2] for parts in decompositions if not parts.startswith("<")}
    for code in (*range(0x1100), *range(0x1200, 0xAC00)):  # without Hangul, which is composed by a rule
        character = chr(code)
        stays = character == unicodedata.normalize("NFC", character).casefold()
        composed = unicodedata.combining(character) or f"{code:04X}" in seconds
        table[code] = code < 128 or (stays and not composed)
    table.setflags(write=False)
    return table


@njit(cache=True, nogil=True)
def _plain(text: Bytes, lasting: NDArray[np.bool_], spaces: Table, plain: Bytes) -> np.int64:
    """Fill in the text with a to z for A to Z and single spaces; returns its size, -1 for one of other characters."""
    size, at, spaced = ZERO, ZERO, True
    while at < np.uint64(len(text)):
        byte, width = text[at], ONE
        space = spaces[byte] == BREAK
        if byte > 127:
            code, width = decoded(text, at)
            space = meaning(code, spaces) == BREAK
            if not (space or lasting[min(code, np.uint32(CODES))]):
                return np.int64(-1)
            for more in range(np.uint64(0 if space else width - ONE)):
                plain[size] = text[at + np.uint64(more)]
                size += ONE
            byte = text[at + width - ONE]
        small = byte | np.uint8(32) if 65 <= byte <= 90 else byte
        plain[size] = np.uint8(32) if space else small
        size += np.uint64(not (space and spaced))
        at, spaced = at + width, space
    return np.int64(size - np.uint64(spaced and size > ZERO))


# -- lines and paragraphs -------------------------------------------------------------------------------------------


def piece_keys(text: str, min_characters: int, paragraphs: bool = False) -> Hashes:
    """A key [pieces, 2] of each line of a text, or of each paragraph; 0 for one shorter than `min_characters`.

    White space around a piece makes no difference. Lines of white space divide paragraphs, and have no key themselves.
    """
    data, lines = encoded(text), text.count("\n") + 1
    starts, ends = np.empty(lines, np.uint32), np.empty(lines, np.uint32)
    before, after = np.empty(lines, np.uint32), np.empty(lines, np.uint32)
    _find_lines(data, spacing(), starts, ends, before, after)
    if paragraphs:
        filled = np.concatenate([[False], ends > starts, [False]])
        first, last = filled[1:-1] & ~filled[:-2], filled[1:-1] & ~filled[2:]
        starts, ends, before, after = starts[first], ends[last], before[first], after[last]
    keys = np.zeros((len(starts), 2), np.uint64)
    long = (after - before >= min_characters) & (ends > starts)
    _hash_spans(data, starts, ends, long, keys)
    return keys


def drop_pieces(text: str, units: Collection[int], paragraphs: bool = False) -> tuple[str, list[str]]:
    """A text without some of its lines or paragraphs, by their places in `piece_keys`, and what was dropped.

    Lines of white space that then follow each other become one.
    """
    going, dropped, kept = set(map(int, units)), dict[int, list[str]](), list[str]()
    for unit, line in _numbered(text, paragraphs):
        if unit in going:
            dropped.setdefault(unit, []).append(line)
        elif line.strip() or (kept and kept[-1].strip()):
            kept.append(line)
    return "\n".join(kept).strip("\n"), ["\n".join(lines).strip() for lines in dropped.values()]


def _numbered(text: str, paragraphs: bool) -> Iterator[tuple[int, str]]:
    """Each line with the number of its piece, -1 for a line between paragraphs."""
    number, inside = -1, False
    for line in text.split("\n"):
        filled = bool(line.strip()) or not paragraphs
        number += filled and not (paragraphs and inside)
        inside = filled
        yield number if filled else -1, line


@njit(cache=True, nogil=True)
def _find_lines(text: Bytes, spaces: Table, starts: Offsets, ends: Offsets, before: Offsets, after: Offsets) -> None:
    """Fill in of each line where it starts and ends without white space around it, in bytes and in characters."""
    line, at, characters = ZERO, ZERO, ZERO
    start, end, first, last, blank = ZERO, ZERO, ZERO, ZERO, True
    while at < np.uint64(len(text)):
        letter, width = spaces[text[at]], ONE
        if text[at] > 127:
            code, width = decoded(text, at)
            letter = meaning(code, spaces)
        if text[at] == 10:
            starts[line], ends[line], before[line], after[line] = start, end, first, last
            line, start, end, first, last, blank = line + ONE, at, at, characters, characters, True
        filled = letter != BREAK
        start, first = (at, characters) if filled & blank else (start, first)
        end, last = (at + width, characters + ONE) if filled else (end, last)
        at, characters, blank = at + width, characters + ONE, blank & (not filled)
    starts[line], ends[line], before[line], after[line] = start, end, first, last


@njit(cache=True, nogil=True)
def _hash_spans(text: Bytes, starts: Offsets, ends: Offsets, wanted: NDArray[np.bool_], keys: Hashes) -> None:
    """Fill in a key of 128 bits, never 0, of each span of bytes that is wanted; eight bytes are one step."""
    for span in range(len(starts)):
        if not wanted[span]:
            continue
        at, end = np.uint64(starts[span]), np.uint64(ends[span])
        high, low = end - at, end - at
        while at < end:
            step = ZERO
            for place in range(min(np.uint64(8), end - at)):
                step |= np.uint64(text[at + np.uint64(place)]) << np.uint64(8 * place)
            high, low = (high ^ step) * MULTIPLIER, (low + step) * OTHER
            high, low, at = high ^ high >> np.uint64(29), low ^ low >> np.uint64(31), at + np.uint64(8)
        keys[span, 0], keys[span, 1] = mixed(high), mixed(low) | ONE
