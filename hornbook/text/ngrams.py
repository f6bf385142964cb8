"""Words of a text and their hashes, for the kernels that count or weigh runs of words.

A word is a run of ASCII letters, digits and two-byte characters from U+00C0 on (Latin, Greek, Cyrillic, Hebrew,
Arabic). Every other character but white space and controls is a word by itself: punctuation, and each character of
scripts that put no spaces between words (Chinese, Japanese, Thai). As a regular expression:

    [A-Za-z0-9\\u00C0-\\u07FF]+|[^\\x00-\\x20]

ASCII letters count as their small ones. The hash is FNV-1a over the bytes of the word, mixed at its end, and never 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Hashes = NDArray[np.uint64]

BASIS = np.uint64(0xCBF29CE484222325)
PRIME = np.uint64(0x100000001B3)
SPREAD = np.uint64(0xFF51AFD7ED558CCD)
HALF = np.uint64(32)
ONE = np.uint64(1)


def packed(texts: Sequence[str]) -> tuple[Bytes, Places]:
    """Texts as one array of UTF-8 and the places where each starts, with the end of the last behind them."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    starts = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=starts[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), starts


@njit(cache=True, nogil=True)
def next_word(text: Bytes, at: int, end: int) -> tuple[np.uint64, int]:
    """The hash of the first word that begins at `at` or after it, and the place behind it; hash 0: there is none."""
    while at < end and text[at] <= 32:
        at += 1
    if at >= end:
        return np.uint64(0), end
    alone = not _in_word(text[at])
    value = (BASIS ^ np.uint64(_small(text[at]))) * PRIME
    at += 1
    while at < end and (text[at] & 0xC0 == 0x80 or (not alone and _in_word(text[at]))):
        value = (value ^ np.uint64(_small(text[at]))) * PRIME
        at += 1
    return _mixed(value), at


@njit(cache=True, nogil=True)
def joined(before: np.uint64, word: np.uint64) -> np.uint64:
    """The hash of a run of words, from the hash of all but its last and that of its last."""
    return _mixed((before * PRIME) ^ word)


@njit(cache=True, nogil=True)
def _in_word(byte: np.uint8) -> bool | np.bool:
    return (97 <= byte <= 122) or (65 <= byte <= 90) or (48 <= byte <= 57) or (0xC3 <= byte <= 0xDF)


@njit(cache=True, nogil=True)
def _small(byte: np.uint8) -> np.uint8:
    return byte + np.uint8(32) if 65 <= byte <= 90 else byte


@njit(cache=True, nogil=True)
def _mixed(value: np.uint64) -> np.uint64:
    value = (value ^ (value >> HALF)) * SPREAD
    return (value ^ (value >> HALF)) | ONE


@njit(cache=True, nogil=True)
def extend(runs: Hashes, known: int, word: np.uint64) -> int:
    """Make the hashes of the runs of 1, 2, ... words that end at the word before those that end at this word.

    `known` is how many of them there were; returns how many there are now: the words of the text so far, at most the
    runs' number.
    """
    known = min(known + 1, len(runs))
    for length in range(known - 1, 0, -1):
        runs[length] = joined(runs[length - 1], word)
    runs[0] = word
    return known
