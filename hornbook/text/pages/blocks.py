"""A page as blocks: its serialized tree walked once, with what tells main text from boilerplate counted on the way.

A parser has made the tree and written it out again, so every attribute is quoted, every element is closed, and `<`
stands nowhere but at the start of markup (and in scripts and comments, which are leapt over).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from hornbook.text.pages.vocabulary import (
    ABOVE_BITS,
    ASIDES,
    BLANK,
    BLOCK,
    COMMENT,
    CUE_KEYS,
    CUE_LENGTH,
    CUE_VALUES,
    DEEPEST,
    ELEMENT,
    EXACT,
    GAPS,
    HIDDEN,
    HINT_BITS,
    HINT_KEYS,
    HINT_VALUES,
    LEAST_MASS,
    NESTS,
    RAWS,
    RELATION,
    SAYS,
    STATE,
    TAG_A,
    TAG_ARTICLE,
    TAG_ASIDE,
    TAG_B,
    TAG_BITS,
    TAG_BODY,
    TAG_BR,
    TAG_HTML,
    TAG_KEYS,
    TAG_MAIN,
    TAG_NAV,
    TAG_PRE,
    TAG_STRONG,
    TAG_VALUES,
    VOIDS,
    Bytes,
    Code,
    Codes,
    Numbers,
    Places,
    Record,
    Records,
)


@njit(cache=True, nogil=True)
def find(keys: Codes, values: Numbers, bits: int, code: Code) -> Code:
    """The value of a code in a table of `vocabulary`, or -1."""
    size = len(keys)
    at = np.int64((np.uint64(code) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))
    while keys[at] != 0:
        if keys[at] == code:
            return values[at]
        at = (at + 1) % size
    return np.int64(-1)


@njit(cache=True, nogil=True)
def _name(html: Bytes, at: int) -> tuple[Code, int]:
    """The number of a tag's name and where it ends."""
    code, taken = np.uint64(0), 0
    while at < len(html):
        byte = html[at]
        if byte == 62 or byte == 32 or byte == 47:
            break
        if taken < 8:
            code = code << np.uint64(8) | np.uint64(byte)
            taken += 1
        at += 1
    return code, at


@njit(cache=True, nogil=True)
def _hints(html: Bytes, at: int, end: int, keys: Codes, values: Numbers) -> Code:
    """The groups of HINTS whose words an attribute's value holds."""
    found = np.uint64(0)
    code, taken, last, hit = np.uint64(0), 0, np.uint8(0), np.int64(-1)
    for place in range(at, end + 1):
        byte = html[place] if place < end else np.uint8(32)
        upper = 65 <= byte <= 90
        letter = upper or 97 <= byte <= 122
        if not letter or (upper and 97 <= last <= 122):
            if hit >= 0:
                found |= np.uint64(1) << np.uint64(hit & 63)
            code, taken, hit = np.uint64(0), 0, np.int64(-1)
        last = byte
        if letter and taken < 8:
            code = code << np.uint64(8) | np.uint64(byte | 32)
            taken += 1
            if taken > 1:
                value = find(keys, values, HINT_BITS, code)
                if value >= 0:
                    hit = value
                elif hit & EXACT and hit >= 0:
                    hit = np.int64(-1)
        elif letter and hit >= 0 and hit & EXACT:
            hit = np.int64(-1)
    return found


@njit(cache=True, nogil=True)
def _attributes(html: Bytes, at: int) -> tuple[int, Code, Code]:
    """Where a tag ends, the hints of its class, id, role and itemprop and whether it is hidden, a hash of its class."""
    hints, classes = np.uint64(0), np.uint64(0)
    n = len(html)
    while at < n and html[at] != 62:
        if html[at] == 32 or html[at] == 47:
            at += 1
            continue
        start = at
        at += 1
        while at < n and html[at] != 61:
            at += 1
        name, length = html[start], at - start
        at += 2
        value = at
        while at < n and html[at] != 34:
            at += 1
        if name == 99 and length == 5 and html[start + 1] == 108:  # class
            hints |= _hints(html, value, at, HINT_KEYS, HINT_VALUES)
            for place in range(value, at):
                classes = (classes ^ np.uint64(html[place])) * np.uint64(0x100000001B3)
        elif (name == 105 and length == 2) or (name == 114 and length == 4) or (name == 105 and length == 8):
            hints |= _hints(html, value, at, HINT_KEYS, HINT_VALUES)  # id, role, itemprop
        elif name == 114 and length == 3 and html[start + 1] == 101 and html[start + 2] == 108:  # rel
            hints |= np.uint64(RELATION)
        elif name == 104 and length == 6 and html[start + 1] == 105:  # hidden
            hints |= np.uint64(HIDDEN)
        elif name == 115 and length == 5 and html[start + 1] == 116:  # style
            hints |= np.uint64(HIDDEN) if _hides(html, value, at) else np.uint64(0)
        elif name == 97 and length == 11 and html[start + 5] == 104 and at - value == 4:  # aria-hidden="true"
            hints |= np.uint64(HIDDEN)
        at += 1
    return at + 1, hints, classes


@njit(cache=True, nogil=True)
def _hides(html: Bytes, at: int, end: int) -> bool:
    """Whether a style says `display: none` or `visibility: hidden`."""
    for place in range(at, end - 3):
        if html[place] == 110 and html[place + 1] == 111 and html[place + 2] == 110 and html[place + 3] == 101:
            back = place - 1
            while back > at and (html[back] == 32 or html[back] == 58):
                back -= 1
            if html[back] == 121 and back - at >= 6 and html[back - 6] == 100:
                return True
    return False


@njit(cache=True, nogil=True)
def _after_raw(html: Bytes, at: int, code: Code, nests: bool) -> int:
    """Behind the end tag of an element, past others of its name within it."""
    n, depth = len(html), 1
    while at < n - 2:
        if html[at] == 60:
            closing = html[at + 1] == 47
            found, end = _name(html, at + 1 + closing)
            if found == code and (closing or nests):
                depth += -1 if closing else 1
                if depth == 0:
                    return min(end + 1, n)
        at += 1
    return n


@njit(cache=True, nogil=True)
def after_comment(html: Bytes, at: int) -> int:
    """The place behind a comment that goes on at `at`."""
    n = len(html)
    while at < n - 2:
        if html[at] == 45 and html[at + 1] == 45 and html[at + 2] == 62:
            return at + 3
        at += 1
    return n


@njit(cache=True, nogil=True)
def _close_block(text: Bytes, blocks: Records, elements: Records, stack: Places, s: Record) -> None:
    """End the block that is being written, if it has text."""
    block = blocks[s.block]
    end = s.written
    while end > block.start and text[end - 1] <= 32:
        end -= 1
    s.written = end
    if end == block.start:
        return
    block.end = end
    block.cues = _hints(text, block.start, min(end, block.start + CUE_LENGTH), CUE_KEYS, CUE_VALUES)
    block.element = stack[s.low]
    block.frame = stack[_frame(elements, stack, s.depth)]
    block.last = text[end - 1]
    block.gap = s.gap
    s.gap = 0
    s.block += 1
    following = blocks[s.block]
    following.start = end
    _clear(following)


@njit(cache=True, nogil=True)
def _clear(block: Record) -> None:
    block.length = 0
    block.linked = 0
    block.links = 0
    block.commas = 0
    block.stops = 0
    block.digits = 0
    block.capitals = 0
    block.words = 0
    block.bold = 0
    block.first = 0
    block.code = 0
    block.lines = 0


@njit(cache=True, nogil=True)
def _frame(elements: Records, stack: Places, depth: int) -> int:
    """The depth of the nearest element that is no inline one."""
    while depth > 0 and GAPS[elements[stack[depth]].tag] == 0:
        depth -= 1
    return depth


@njit(cache=True, nogil=True)
def _write_text(html: Bytes, at: int, text: Bytes, blocks: Records, s: Record) -> int:
    """Copy text up to the next markup, with entities resolved and white space collapsed, and count what it is."""
    n = len(html)
    block = blocks[s.block]
    w = s.written
    began = block.length == 0
    # Sums in variables of their own, which the compiler keeps in registers.
    length = words = commas = stops = digits = capitals = 0
    code, pre = block.code, s.pre > 0
    last = text[w - 1] if w > block.start else np.uint8(32)
    while at < n and html[at] != 60:
        byte = html[at]
        if byte == 38:  # &amp; &lt; &gt; &nbsp; &quot;
            second = html[at + 1]
            if second == 110:
                byte = np.uint8(32)
            elif second == 108:
                byte = np.uint8(60)
            elif second == 103:
                byte = np.uint8(62)
            elif second == 113:
                byte = np.uint8(34)
            end = at
            while end < min(at + 6, n) and html[end] != 59:
                end += 1
            at = end if end < n and html[end] == 59 else at
        at += 1
        if byte <= 32:
            if pre:
                if byte == 13 or byte == 0:
                    continue
                text[w] = byte
                w += 1
                last = byte
            elif last > 32:
                text[w] = 32
                w += 1
                last = np.uint8(32)
            continue
        if last <= 32:
            words += 1
        text[w] = byte
        w += 1
        weight = 1
        if byte >= 128:
            weight = 0 if byte < 192 else 1 if byte < 0xE2 else 1 if byte == 0xE2 else 3
            if byte < 192 and w >= 3 and text[w - 3] == 0xE3 and text[w - 2] == 0x80 and byte == 0x82:
                stops += 1
        elif byte <= 57 and byte >= 48:
            digits += 1
        elif 65 <= byte <= 90:
            capitals += 1
        elif byte == 44:
            commas += 1
        elif byte == 46 or byte == 33 or byte == 63:
            stops += at >= n or html[at] <= 34 or html[at] == 60 or html[at] >= 128 or html[at] == 38
        if length == 0 and began:
            block.first = byte
        length += weight
        code = (code ^ np.uint64(byte)) * np.uint64(0x100000001B3)
        last = byte
    s.written = w
    block.code = code
    block.length += length
    block.linked += length if s.links else 0
    block.bold += length if s.bold else 0
    block.words += words
    block.commas += commas
    block.stops += stops
    block.digits += digits
    block.capitals += capitals
    if block.length > 0 and (began or s.depth < s.low):
        s.low = s.depth
    return at


@njit(cache=True, nogil=True)
def _break_line(text: Bytes, blocks: Records, s: Record) -> None:
    """`<br>`: a line's end; two of them end the block."""
    block = blocks[s.block]
    while s.written > block.start and text[s.written - 1] == 32:
        s.written -= 1
    if block.length > 0:
        text[s.written] = 10
        s.written += 1
        block.lines += 1


@njit(cache=True, nogil=True)
def _stands_beside(tag: int, hints: Code) -> bool:
    """Whether an element says that it is no main text: a comment, an aside, navigation."""
    if tag in (TAG_ASIDE, TAG_NAV):
        return True
    return (hints & np.uint64(COMMENT)) != 0 and tag not in (TAG_HTML, TAG_BODY, TAG_ARTICLE, TAG_MAIN)


@njit(cache=True, nogil=True)
def _open(elements: Records, stack: Places, s: Record, tag: int, hints: Code, classes: Code) -> None:
    e = s.elements
    s.elements += 1
    element = elements[e]
    above = elements[stack[s.depth]] if s.depth >= 0 else elements[0]
    element.parent = stack[s.depth] if s.depth >= 0 else -1
    s.depth += 1
    stack[s.depth] = e
    element.depth = s.depth
    element.tag = tag
    element.hints = hints
    element.classes = classes
    element.length = 0
    element.linked = 0
    element.mass = 0
    element.blocks = 0
    element.beside = element.parent >= 0 and (above.beside or _stands_beside(tag, hints))
    element.hints_above = (above.hints_above if s.depth > 0 else np.uint64(0)) | hints
    element.tags_above = (above.tags_above if s.depth > 0 else np.uint64(0)) | ABOVE_BITS[tag]


@njit(cache=True, nogil=True)
def scan(
    html: Bytes, text: Bytes, elements: Records, blocks: Records, stack: Places, said: Places
) -> tuple[int, int, int]:
    """Fill `text`, `elements`, `blocks`, and `said` with where the tags stand in which a page speaks of itself.

    How many elements, blocks and such tags there are; -1 blocks where elements nest deeper than DEEPEST.
    """
    state = np.zeros(1, STATE)
    s = state[0]
    s.depth = -1
    _clear(blocks[0])
    blocks[0].start = 0
    _open(elements, stack, s, 0, np.uint64(0), np.uint64(0))
    at, n = 0, len(html) - 8
    while at < n:
        if html[at] != 60:
            at = _write_text(html[:n], at, text, blocks, s)
            continue
        if html[at + 1] == 33 or html[at + 1] == 63:
            if html[at + 2] == 45:
                at = after_comment(html, at + 4)
            else:
                while at < n and html[at] != 62:
                    at += 1
                at += 1
            continue
        start, closing = at, html[at + 1] == 47
        code, at = _name(html, at + 1 + closing)
        found = find(TAG_KEYS, TAG_VALUES, TAG_BITS, code)
        tag = max(found, 0)
        gap = GAPS[tag]
        if closing:
            at += 1
            if s.depth > 0:
                if gap:
                    _close_block(text, blocks, elements, stack, s)
                    s.gap = max(s.gap, gap)
                s.links -= tag == TAG_A and s.links > 0
                s.bold -= tag in (TAG_B, TAG_STRONG) and s.bold > 0
                s.pre -= tag == TAG_PRE and s.pre > 0
                s.depth -= 1
            continue
        at, hints, classes = _attributes(html, at)
        if SAYS[tag] or (hints & np.uint64(RELATION)) != 0:
            said[s.said, 0] = start
            said[s.said, 1] = at
            s.said += 1
        if tag == TAG_BR:
            before = s.written
            lines = blocks[s.block].lines
            _break_line(text, blocks, s)
            if lines and before > 1 and text[before - 1] == 10 and not s.pre:
                _close_block(text, blocks, elements, stack, s)
                s.gap = max(s.gap, BLANK)
            continue
        if RAWS[tag]:
            at = _after_raw(html, at, code, NESTS[tag])
            continue
        if gap:
            _close_block(text, blocks, elements, stack, s)
            s.gap = max(s.gap, gap)
        if VOIDS[tag]:
            continue
        _open(elements, stack, s, tag, hints, classes)
        s.links += tag == TAG_A
        s.bold += tag in (TAG_B, TAG_STRONG)
        s.pre += tag == TAG_PRE
        if s.depth >= DEEPEST:
            return s.elements, -1, s.said
    _close_block(text, blocks, elements, stack, s)
    return s.elements, s.block, s.said


@njit(cache=True, nogil=True)
def mass(block: Record) -> int:
    """The length of running text, which a block has where it says something by itself."""
    plain = block.length - block.linked
    return plain if plain >= 80 or (plain >= 40 and block.stops > 0) else 0


@njit(cache=True, nogil=True)
def _weigh(elements: Records, blocks: Records, everything: bool) -> None:
    """Sum the mass of each element, of the blocks in it that stand beside nothing, or of all."""
    elements.mass[:] = 0
    for block in blocks:
        frame = elements[block.frame]
        if everything or not frame.beside:
            frame.mass += mass(block)
    for e in range(len(elements) - 1, 0, -1):
        elements[elements[e].parent].mass += elements[e].mass


@njit(cache=True, nogil=True)
def add_up(elements: Records, blocks: Records) -> None:
    """Sum the blocks of each element, within it and the elements in it."""
    for block in blocks:
        frame = elements[block.frame]
        frame.length += block.length
        frame.linked += block.linked
        frame.blocks += 1
    for e in range(len(elements) - 1, 0, -1):
        element, above = elements[e], elements[elements[e].parent]
        above.length += element.length
        above.linked += element.linked
        above.blocks += element.blocks
    _weigh(elements, blocks, True)
    total = elements[0].mass
    for e in range(1, len(elements)):
        element = elements[e]
        aside = (element.hints & np.uint64(ASIDES)) != 0 or (element.hints & np.uint64(HIDDEN)) != 0
        small = element.mass <= 0.4 * total and element.tag != TAG_ARTICLE and element.tag != TAG_MAIN
        element.beside |= elements[element.parent].beside or (aside and small)
    _weigh(elements, blocks, False)
    if elements[0].mass < LEAST_MASS:
        _weigh(elements, blocks, True)


@dataclass(frozen=True, slots=True)
class Walked:
    """A page's text in UTF-8, its elements and blocks, and the tags in which it speaks of itself."""

    text: Bytes
    elements: Records
    blocks: Records
    said: list[str]


def walk(html: str) -> Walked | None:
    """Walk a serialized tree; None where elements nest deeper than DEEPEST."""
    raw = html.encode("utf-8", "replace")
    most = raw.count(b"<") + 8
    text = np.empty(len(raw) + 16, np.uint8)
    elements, blocks = np.empty(most, ELEMENT), np.empty(most, BLOCK)
    # The closing tag at the end ends what a damaged tree would leave open; kernels look ahead by up to eight bytes.
    data = np.frombuffer(raw + b"<//>    ", np.uint8)
    said = np.empty((most, 2), np.int32)
    sizes = scan(data, text, elements, blocks, np.empty(DEEPEST + 2, np.int32), said)
    if sizes[1] < 0:
        return None
    elements, blocks = elements[: sizes[0]], blocks[: sizes[1]]
    add_up(elements, blocks)
    tags = [raw[start:end].decode("utf-8", "replace") for start, end in said[: sizes[2]].tolist()]
    return Walked(text, elements, blocks, tags)
