"""Words, and runs of words, as 64-bit hashes: kernels over UTF-8 bytes, and tables that say what a character counts as.

The tables come from the Unicode 3.2 data that every Python carries, so that hashes are the same with all of them;
characters that are younger count as letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from unicodedata import ucd_3_2_0 as unicode

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]
Offsets = NDArray[np.uint32]
Table = NDArray[np.uint32]

BREAK, NOTHING, NUMBER = 0, 1, 2
"""What a character counts as, instead of a letter: the end of a word, nothing at all, a digit of any number."""
ALONE = np.uint32(1 << 31)
"""Added to characters that are words by themselves."""

UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF))
"""Thai and Lao, Burmese, Khmer, kana, Han: scripts that put no spaces between words."""
SOFT_HYPHEN = "\u00ad"
"""Counted among the dashes by Unicode 3.2."""
PRIVATE, EMOJI = (0xE000, 0xF8FF), (0x1F000, 0x1FAFF)
CODES = 0x20000
"""Characters that a table has an entry for; one more entry is for those beyond, Han all of them."""
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
ZERO, ONE = np.uint64(0), np.uint64(1)
LOWER, SIX = np.uint32(0x3F), np.uint32(6)
"""The bits that a following byte of UTF-8 adds, and how many they are."""
NOWHERE = np.empty(0, np.uint32)


@cache
def folding(*, numbers: bool) -> Table:
    """What characters count as where case, accents, punctuation and, by option, numbers do not matter.

    With `numbers` every run of digits is the same number, which is how datatrove's MinHash reads text, too.
    """
    table = _letters()
    for code in (*range(0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x10000)):
        table[code] = _folded(chr(code), numbers)
    table[PRIVATE[0] : PRIVATE[1] + 1] = BREAK
    table[EMOJI[0] : EMOJI[1] + 1] = BREAK
    table[CODES] = ALONE
    for first, last in UNSPACED:
        letters = table[first : last + 1]
        letters[letters > NUMBER] |= ALONE
    table.setflags(write=False)
    return table


def _folded(character: str, numbers: bool) -> int:
    """A character in lower case, without its accents."""
    kind = unicode.category(character)
    if kind in ("Mn", "Me", "Cf") or character == SOFT_HYPHEN:
        return NOTHING
    if kind == "Nd":
        return NUMBER if numbers else ord("0") + unicode.digit(character)
    if kind[0] not in "LMN" and kind != "Cn":
        return BREAK
    plain = unicode.normalize("NFD", character.lower())
    letters = [letter for letter in plain if unicode.category(letter) not in ("Mn", "Me")]
    return ord(letters[0]) if len(letters) == 1 else ord(character)


def _letters() -> Table:
    """Every character is a letter, and none is taken for what is none."""
    table = np.append(np.arange(CODES, dtype=np.uint32), np.uint32(0))
    table[: NUMBER + 1] = 0xFFFF
    return table


@cache
def spacing() -> Table:
    """What characters count as where only white space does not matter."""
    table = _letters()
    table[[code for code in range(0x3001) if chr(code).isspace()]] = BREAK
    table.setflags(write=False)
    return table


def encoded(text: str) -> Bytes:
    """A text as UTF-8; lone surrogates become question marks."""
    return np.frombuffer(text.encode("utf-8", "replace"), np.uint8)


def encoded_all(texts: Sequence[str]) -> tuple[Bytes, Places]:
    """Texts as UTF-8, one after another, and where each begins, and the last ends."""
    parts = [text.encode("utf-8", "replace") for text in texts]
    return np.frombuffer(b"".join(parts), np.uint8), np.cumsum([0, *map(len, parts)], dtype=np.int64)


def hash_words(text: Bytes, table: Table) -> Hashes:
    """The hash of each word of a text in UTF-8."""
    hashes = np.empty(len(text) // 2 + 2, np.uint64)
    return hashes[: find_words(text, table, hashes, NOWHERE, NOWHERE)]


def place_words(text: Bytes, table: Table) -> tuple[Hashes, Offsets, Offsets]:
    """The hash of each word of a text in UTF-8, and the bytes at which it starts and ends."""
    most = len(text) // 2 + 2
    hashes, starts, ends = np.empty(most, np.uint64), np.empty(most, np.uint32), np.empty(most, np.uint32)
    count = find_words(text, table, hashes, starts, ends)
    return hashes[:count], starts[:count], ends[:count]


@njit(cache=True, nogil=True)
def mixed(value: np.uint64) -> np.uint64:
    """A 64-bit value of which every bit depends on every bit of another (the finalizer of MurmurHash3)."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@njit(cache=True, nogil=True)
def decoded(text: Bytes, at: np.uint64) -> tuple[np.uint32, np.uint64]:
    """The code point of the character that starts at a byte above 127 of valid UTF-8, and its length."""
    first, second = np.uint32(text[at]), np.uint32(text[at + ONE]) & LOWER
    if first < 0xE0:
        return (first & np.uint32(0x1F)) << SIX | second, np.uint64(2)
    third = np.uint32(text[at + np.uint64(2)]) & LOWER
    if first < 0xF0:
        return ((first & np.uint32(0x0F)) << SIX | second) << SIX | third, np.uint64(3)
    upper = (first & np.uint32(0x07)) << SIX | second
    return (upper << SIX | third) << SIX | np.uint32(text[at + np.uint64(3)]) & LOWER, np.uint64(4)


@njit(cache=True, nogil=True)
def meaning(code: np.uint32, table: Table) -> np.uint32:
    """What a code point counts as."""
    letter: np.uint32 = table[code] if code < CODES else table[CODES] | code
    return letter


@njit(cache=True, nogil=True)
def find_words(text: Bytes, table: Table, hashes: Hashes, starts: Offsets, ends: Offsets) -> np.int64:
    """Fill in the hash of each word and, unless they are empty, where it starts and ends; returns how many words.

    A word's hash is a polynomial of its letters, mixed. Where a branch would be mispredicted at the end of every word,
    both ways are computed and one is taken. Places are unsigned, since a signed index costs a check.
    """
    count, at, placed = ZERO, ZERO, len(starts) > 0
    value, before, start = ZERO, np.uint32(BREAK), ZERO
    while at < np.uint64(len(text)):
        letter, width = table[text[at]], ONE
        if text[at] > 127:
            code, width = decoded(text, at)
            letter = meaning(code, table)
            if letter == NOTHING:
                at += width
                continue
        start = at if before == BREAK else start
        hashes[count] = value
        if placed:
            starts[count], ends[count] = start, at
        if letter & ALONE:
            count += np.uint64(before != BREAK)
            hashes[count] = np.uint64(letter)
            if placed:
                starts[count], ends[count] = at, at + width
            count += ONE
            value, before, at = ZERO, np.uint32(BREAK), at + width
            continue
        again = (letter == NUMBER) & (before == NUMBER)
        count += np.uint64((letter == BREAK) & (before != BREAK))
        factor = MULTIPLIER if letter != BREAK else ZERO
        value = value * (ONE if again else factor) + (ZERO if again else np.uint64(letter))
        before, at = letter, at + width
    if before != BREAK:
        hashes[count] = value
        if placed:
            starts[count], ends[count] = start, len(text)
        count += ONE
    for place in range(count):
        hashes[place] = mixed(hashes[place])
    return np.int64(count)


@njit(cache=True, nogil=True)
def hash_runs(words: Hashes, count: int | np.int64, length: int, runs: NDArray[np.generic]) -> int:
    """Fill in the hash of each run of `length` of `count` words, its upper half where `runs` has 32 bits.

    Returns how many there are: one of all words, where they are fewer; none without words.
    """
    shift = np.uint64(64 - 8 * runs.itemsize)
    rolled, last = np.uint64(0), np.uint64(1)
    for at in range(min(length, count)):
        rolled, last = rolled * MULTIPLIER + words[at], last * MULTIPLIER
    if count:
        runs[0] = mixed(rolled) >> shift
    for at in range(length, count):
        rolled = rolled * MULTIPLIER + words[at] - words[at - length] * last
        runs[at - length + 1] = mixed(rolled) >> shift
    return int(max(1, count - length + 1)) if count else 0
