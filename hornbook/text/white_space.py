"""White space in UTF-8, and the words between it, as `str.split` has them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def count_words(data: bytes) -> int:
    """How many words a text in UTF-8 has: `len(text.split())`, without making them."""
    return int(_count(np.frombuffer(data, np.uint8)))


@njit(cache=True, nogil=True)
def _count(data: Bytes) -> int:
    words, space, at = 0, True, 0
    while at < len(data):
        first = data[at]
        if 0x20 < first < 0xC2 or first > 0xE3:  # nearly all bytes: begin no white space, whatever follows
            words += space
            space = False
            at += 1
        else:
            width = white(data, at)
            words += space and not width
            space = width > 0
            at += max(1, width)
    return words


@njit(cache=True, nogil=True)
def white(data: Bytes, at: int) -> int:
    """Bytes of the white-space character that begins at a place; 0 where none does.

    White space is U+0009 to U+000D, U+001C to U+0020, U+0085, U+00A0, U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F,
    U+205F and U+3000.
    """
    first = data[at]
    if first < 0x80:
        return int(first == 0x20 or 0x09 <= first <= 0x0D or 0x1C <= first <= 0x1F)
    if first == 0xC2 and at + 1 < len(data):
        return 2 * int(data[at + 1] == 0x85 or data[at + 1] == 0xA0)
    if first < 0xE1 or first > 0xE3 or at + 2 >= len(data):
        return 0
    second, third = data[at + 1], data[at + 2]
    if first == 0xE2 and second == 0x80:
        return 3 * int(third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF)
    if first == 0xE2:
        return 3 * int(second == 0x81 and third == 0x9F)
    return 3 * int((second == 0x80 if first == 0xE3 else second == 0x9A) and third == 0x80)
