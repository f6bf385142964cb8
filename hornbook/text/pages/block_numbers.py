"""The numbers that describe a block: its own text, the elements that it is in, where it stands, its neighbours."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hornbook.text.pages.masses import mass
from hornbook.text.pages.vocabulary import (
    ABOVE,
    CUES,
    HIDDEN,
    HINTS,
    TAG_ID,
    TAGS,
    Flags,
    Numbers,
    Record,
    Records,
)

KINDS = (
    "p",
    "h1",
    "h2",
    "h3",
    "h4 h5 h6",
    "li",
    "td th",
    "div",
    "figcaption caption",
    "blockquote",
    "pre",
    "dt dd",
    "section article main",
    "button label option select legend",
    "header footer aside nav",
    "form fieldset",
)
SHARES = (0.5, 0.8, 0.3)
Row = NDArray[np.float32]
Rows = NDArray[np.float32]
AROUND = ["dens", "length", "mass", "share", "blocks", "kind", "perblock"]
LEVELS, NEAREST = 4, (-3, -2, -1, 1, 2, 3)
NAMES = (
    ["length", "dens", "stops", "commas", "digits", "capitals", "endstop", "endcolon", "wordlen"]
    + ["gap", "lines", "bold", "links", "first", "kind", "dup"]
    + [f"P{at}_{name}" for at in range(LEVELS) for name in AROUND]
    + [f"R{100 * share:.0f}_{name}" for share in SHARES for name in ["off", "up", "dep"]]
    + ["cummass", "cumlen", "idx", "h1where", "h1dist", "lastmass", "nextmass"]
    + [f"n{step}_{name}" for step in NEAREST for name in ["length", "dens", "stops", "kind", "same"]]
    + [f"{where}_{words.split()[0]}" for words in HINTS for where in ("near", "any")]
    + ["hidden"]
    + [f"in_{name}" for name in ABOVE]
    + [f"cue_{words.split()[0]}" for words in CUES]
    + ["rep0", "repN", "rep_blocks", "rep_mass", "classed", "linklen"]
)
"""What the numbers of a block are called; the trees name them."""
_KIND = np.zeros(len(TAGS) + 1, np.int32)
for _at, _names in enumerate(KINDS, 1):
    _KIND[[TAG_ID[name] for name in _names.split()]] = _at
_H1, _BODY, _HTML = (TAG_ID[name] for name in ["h1", "body", "html"])
_N_HINTS, _N_ABOVE, _N_CUES = len(HINTS), len(ABOVE), len(CUES)


@njit(cache=True, nogil=True)
def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


@njit(cache=True, nogil=True)
def _root(elements: Records, share: float, on: Flags) -> int:
    """The deepest element with a share of the page's running text; marks it and those around it in `on`."""
    best = 0
    for e in range(len(elements)):
        if elements[e].mass >= share * elements[0].mass and elements[e].depth > elements[best].depth:
            best = e
    e = best
    while e >= 0:
        on[e] = True
        e = elements[e].parent
    return best


@njit(cache=True, nogil=True)
def _repeated(elements: Records) -> Numbers:
    """For each element, how many siblings with text have its tag and class, itself among them."""
    n = len(elements)
    keys = np.empty(n, np.uint64)
    for e in range(n):
        own = elements[e].classes * np.uint64(31) ^ np.uint64(elements[e].tag * 7919)
        keys[e] = np.uint64(elements[e].parent + 1) * np.uint64(0x9E3779B97F4A7C15) ^ own
    order = np.argsort(keys)
    found = np.zeros(n, np.int64)
    start = 0
    while start < n:
        end, count = start, 0
        while end < n and keys[order[end]] == keys[order[start]]:
            count += elements[order[end]].blocks > 0
            end += 1
        for at in range(start, end):
            found[order[at]] = count
        start = end
    return found


@njit(cache=True, nogil=True)
def _outer(elements: Records, e: int) -> int:
    """The nearest element around one that holds more blocks."""
    held = elements[e].blocks
    while elements[e].parent >= 0 and elements[e].blocks == held:
        e = elements[e].parent
    return e


@njit(cache=True, nogil=True)
def _own(block: Record, frame: Record, copies: int, x: Row) -> int:
    last, first, length = block.last, block.first, block.length
    x[0], x[1], x[2] = length, _share(block.linked, length), block.stops
    x[3], x[4], x[5] = block.commas / length, block.digits / length, block.capitals / length
    # . ! ? " ) and the last bytes of ” and 。
    x[6] = last == 46 or last == 33 or last == 63 or last == 34 or last == 41 or last == 0x9D or last == 0x82
    x[7], x[8], x[9], x[10] = last == 58, length / max(block.words, 1), block.gap, block.lines
    x[11], x[12] = block.bold / length, block.links
    x[13] = 1 if 97 <= first <= 122 else 2 if 65 <= first <= 90 else 3 if 48 <= first <= 57 else 4 if first > 127 else 0
    x[14], x[15] = _KIND[frame.tag], copies
    return 16


@njit(cache=True, nogil=True)
def _around(elements: Records, e: int, total: int, x: Row, j: int) -> int:
    for _ in range(LEVELS):
        q = elements[e]
        x[j], x[j + 1], x[j + 2] = _share(q.linked, q.length), q.length, q.mass
        x[j + 3], x[j + 4], x[j + 5] = _share(q.mass, total), q.blocks, _KIND[q.tag]
        x[j + 6] = _share(q.length, q.blocks)
        j += 7
        e = _outer(elements, e)
    return j


@njit(cache=True, nogil=True)
def _beside_roots(elements: Records, e: int, roots: Numbers, on: Flags, x: Row, j: int) -> int:
    depth = elements[e].depth
    for k in range(len(roots)):
        up, p, root = 0, e, elements[roots[k]].depth
        while not on[k, p]:
            p = elements[p].parent
            up += 1
        x[j], x[j + 1], x[j + 2] = root - elements[p].depth, up, depth - root
        j += 3
    return j


@njit(cache=True, nogil=True)
def _neighbours(elements: Records, blocks: Records, i: int, x: Row, j: int) -> int:
    parent = elements[blocks[i].frame].parent
    for step in NEAREST:
        at = i + step
        if 0 <= at < len(blocks):
            b = blocks[at]
            frame = elements[b.frame]
            x[j], x[j + 1], x[j + 2] = b.length, _share(b.linked, b.length), b.stops
            x[j + 3], x[j + 4] = _KIND[frame.tag], frame.parent == parent
        else:
            x[j : j + 4] = -1
            x[j + 4] = 0
        j += 5
    return j


@njit(cache=True, nogil=True)
def _hinted(elements: Records, block: Record, on: Flags, x: Row, j: int) -> int:
    """What classes and ids say: those of the nearest three elements, and those of all that the root is not in."""
    near, off, up, p = np.uint64(0), np.uint64(0), 0, block.element
    while p >= 0:
        element = elements[p]
        if element.tag != _BODY and element.tag != _HTML:
            if up < 3:
                near |= element.hints
            if not on[p]:
                off |= element.hints
        if p == block.frame or up > 0:
            up += 1
        p = element.parent
    for k in range(_N_HINTS):
        x[j], x[j + 1] = near >> np.uint64(k) & np.uint64(1), off >> np.uint64(k) & np.uint64(1)
        j += 2
    element = elements[block.element]
    x[j] = (element.hints_above & np.uint64(HIDDEN)) != 0
    for k in range(_N_ABOVE):
        x[j + 1 + k] = element.tags_above >> np.uint64(k) & np.uint64(1)
    j += 1 + _N_ABOVE
    for k in range(_N_CUES):
        x[j + k] = block.cues >> np.uint64(k) & np.uint64(1)
    return j + _N_CUES


@njit(cache=True, nogil=True)
def _in_rows(elements: Records, block: Record, repeated: Numbers, x: Row, j: int) -> int:
    frame = elements[block.frame]
    x[j : j + 4] = 0
    x[j] = repeated[block.frame]
    p = frame.parent
    while p >= 0:
        q = elements[p]
        if repeated[p] >= 3 and q.blocks > 1 and q.mass < 0.5 * elements[0].mass:
            x[j + 1], x[j + 2], x[j + 3] = repeated[p], q.blocks, _share(q.mass, elements[0].mass)
            break
        p = q.parent
    x[j + 4], x[j + 5] = frame.classes != 0, block.linked / max(block.links, 1)
    return j + 6


@njit(cache=True, nogil=True)
def _next_mass(blocks: Records) -> Numbers:
    """For each block, the next with running text that is not all links, or -1."""
    found, near = np.empty(len(blocks), np.int64), -1
    for i in range(len(blocks) - 1, -1, -1):
        found[i] = near
        if blocks[i].length - blocks[i].linked >= 80:
            near = i
    return found


@njit(cache=True, nogil=True)
def describe(elements: Records, blocks: Records, described: Rows) -> int:
    """Fill a row of the numbers that NAMES names for each block; how many they are."""
    n, j = len(blocks), 0
    on = np.zeros((len(SHARES), len(elements)), np.bool_)
    roots = np.empty(len(SHARES), np.int64)
    for k in range(len(SHARES)):
        roots[k] = _root(elements, SHARES[k], on[k])
    repeated, following, codes = _repeated(elements), _next_mass(blocks), np.sort(blocks.code)
    total, length = max(elements[0].mass, 1), max(elements[0].length, 1)
    h1 = -1
    for i in range(n):
        if elements[blocks[i].frame].tag == _H1:
            h1 = i
    weight_before, before, last = 0, 0, -1
    for i in range(n):
        block, x = blocks[i], described[i]
        copies = np.searchsorted(codes, block.code, side="right") - np.searchsorted(codes, block.code)
        j = _own(block, elements[block.frame], copies, x)
        j = _around(elements, block.frame, total, x, j)
        j = _beside_roots(elements, block.frame, roots, on, x, j)
        x[j], x[j + 1], x[j + 2] = weight_before / total, before / length, i / n
        x[j + 3], x[j + 4] = 0 if h1 < 0 else 1 if i < h1 else 2, i - h1 if h1 >= 0 else -999
        x[j + 5], x[j + 6] = i - last if last >= 0 else 999, following[i] - i if following[i] >= 0 else 999
        j = _neighbours(elements, blocks, i, x, j + 7)
        j = _hinted(elements, block, on[0], x, j)
        j = _in_rows(elements, block, repeated, x, j)
        before += block.length
        if mass(block):
            weight_before += mass(block)
            last = i
    return j
