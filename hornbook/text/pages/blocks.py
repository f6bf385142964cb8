"""A page as blocks of text, with what tells main text from boilerplate counted as they are written."""

from __future__ import annotations

from typing import Any

import numpy as np

from hornbook.text.kernel import inlined, kernel
from hornbook.text.pages.markup import PADDING, hints_of, is_letter
from hornbook.text.pages.open_elements import Making
from hornbook.text.pages.references import resolve
from hornbook.text.pages.vocabulary import (
    BLANK,
    CUE_KEYS,
    CUE_LENGTH,
    CUE_VALUES,
    GAPS,
    Bytes,
    Record,
    Records,
)

PRIME = 0x100000001B3


@kernel
def close_block(m: Making, s: Record, gap: int) -> None:
    """End the block that is being written, if it has text; `gap` stands between it and the next."""
    text, block = m.text, m.blocks[s.block]
    end = s.written
    while end > block.start and text[end - 1] <= 32:
        end -= 1
    s.written = end
    if end > block.start:
        block.end = end
        block.cues = hints_of(text, block.start, min(end, block.start + CUE_LENGTH), CUE_KEYS, CUE_VALUES)
        block.element = m.stack[s.low].element
        block.frame = _frame(m.elements, m.stack[s.depth].element)
        block.last = text[end - 1]
        block.gap = s.gap
        s.gap = 0
        s.block += 1
        following = m.blocks[s.block]
        following.start = end
        clear(following)
    s.gap = max(s.gap, gap)


@kernel
def clear(block: Record) -> None:
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


@kernel
def _frame(elements: Records, e: int) -> int:
    """The nearest element that is no inline one."""
    while e > 0 and GAPS[elements[e].tag] == 0:
        e = elements[e].parent
    return e


@kernel
def text_end(html: Bytes, at: int) -> tuple[int, bool, bool]:
    """Where text ends because markup begins; whether it has references, and whether it is more than white space."""
    n, references, shown = len(html) - PADDING, False, False
    while at < n:
        byte = html[at]
        if byte == 60:
            following = html[at + 1]
            if is_letter(following) or following == 47 or following == 33 or following == 63:
                break
        references |= byte == 38
        shown |= byte > 32
        at += 1
    return at, references, shown


@kernel
def write_text(m: Making, s: Record, html: Bytes, at: int, end: int, references: bool) -> None:
    """Add text to the block that is being written."""
    if references:
        _write(m, s, m.scratch, 0, resolve(html, at, end, m.scratch))
    else:
        _write(m, s, html, at, end)


@inlined
def _ends_sentence(source: Bytes, at: int, end: int) -> Any:
    """Whether what follows a full stop lets it end a sentence."""
    if at >= end:
        return True
    byte = source[at]
    return byte <= 34 or byte == 38 or byte == 60 or byte == 62 or byte >= 128


@inlined
def _weight(byte: int) -> int:
    """How many letters of other scripts a character is worth, by its first byte."""
    return 1 if byte < 128 else 0 if byte < 192 else 1 if byte <= 0xE2 else 3


@kernel
def _write(m: Making, s: Record, source: Bytes, at: int, end: int) -> None:
    """Copy text with its white space collapsed, and count what it is."""
    text, block, pre = m.text, m.blocks[s.block], s.pre > 0
    w = s.written
    began = block.length == 0
    # Sums in variables of their own, which the compiler keeps in registers.
    length = words = commas = stops = digits = capitals = 0
    code = block.code
    last: Any = text[w - 1] if w > block.start else np.uint8(32)
    while at < end:
        byte = source[at]
        at += 1
        if byte == 0xC2 and at < end and source[at] == 0xA0:  # U+00A0
            byte = np.uint8(32)
            at += 1
        if byte <= 32:
            if pre and byte != 0 and not (byte == 13 and at < end and source[at] == 10):
                last = np.uint8(10) if byte == 13 else byte
                text[w] = last
                w += 1
            elif not pre and last > 32 and byte != 0:
                last = np.uint8(32)
                text[w] = last
                w += 1
            continue
        words += last <= 32
        text[w] = byte
        w += 1
        if byte >= 128:
            stops += byte == 0x82 and w >= 3 and text[w - 3] == 0xE3 and text[w - 2] == 0x80
        elif byte <= 57 and byte >= 48:
            digits += 1
        elif 65 <= byte <= 90:
            capitals += 1
        elif byte == 44:
            commas += 1
        elif byte == 46 or byte == 33 or byte == 63:
            stops += _ends_sentence(source, at, end)
        if length == 0 and began:
            block.first = byte
        length += _weight(byte)
        code = (code ^ np.uint64(byte)) * np.uint64(PRIME)
        last = byte
    s.written = w
    block.code = code
    _add(block, s, length, began)
    block.words += words
    block.commas += commas
    block.stops += stops
    block.digits += digits
    block.capitals += capitals


@inlined
def _add(block: Record, s: Record, length: int, began: bool) -> None:
    block.length += length
    block.linked += length if s.links else 0
    block.bold += length if s.bold else 0
    if block.length > 0 and (began or s.depth < s.low):
        s.low = s.depth


@kernel
def break_line(m: Making, s: Record) -> None:
    """`<br>`: a line's end; two of them end the block."""
    block, text = m.blocks[s.block], m.text
    before, lines = s.written, block.lines
    doubled = lines > 0 and before > 1 and text[before - 1] == 10 and s.pre == 0
    while s.written > block.start and text[s.written - 1] == 32:
        s.written -= 1
    if block.length > 0:
        text[s.written] = 10
        s.written += 1
        block.lines += 1
    if doubled:
        close_block(m, s, BLANK)
