"""The elements that are open while a page is read: which one follows which, and what each was opened with.

The stack of open elements and the list of active formatting elements are those of the HTML standard, 13.2.4. `stack`
has what is open; `formats` what is opened again in the next paragraph where it is left open (a tag of 0: a marker).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hornbook.text.kernel import kernel
from hornbook.text.pages.vocabulary import (
    ABOVE_BITS,
    COMMENT,
    DEEPEST,
    GAPS,
    MUTES,
    SPEAKS,
    TAG_A,
    TAG_ARTICLE,
    TAG_ASIDE,
    TAG_B,
    TAG_BODY,
    TAG_HTML,
    TAG_MAIN,
    TAG_NAV,
    TAG_P,
    TAG_PRE,
    TAG_STRONG,
    Bytes,
    Code,
    Record,
    Records,
)

OPEN = np.dtype(
    [("element", "i4"), ("name", "u8"), *((name, "i4") for name in ("tag", "mode", "format", "muted", "gap"))],
    align=True,
)
FORMAT = np.dtype([("tag", "i4"), ("at", "i4"), ("name", "u8"), ("hints", "u8"), ("classes", "u8")], align=True)
STATE = np.dtype(
    [
        (name, "i4")
        for name in (
            *("depth", "block", "gap", "low", "links", "bold", "pre", "elements", "written", "said", "stage"),
            *("formats", "form", "paragraphs", "quirks", "problem"),
        )
    ],
    align=True,
)
DEEP, COSTLY, UNSURE = 1, 2, 3
"""Why reading stopped: elements nest too deep, a tag has too many attributes, only a whole parser knows the tree."""


class Making(NamedTuple):
    """What is filled while a page is read: UTF-8 (and a place to prepare some), ELEMENT, BLOCK, OPEN and FORMAT."""

    text: Bytes
    scratch: Bytes
    elements: Records
    blocks: Records
    stack: Records
    formats: Records


@kernel
def open_element(m: Making, s: Record, tag: int, name: Code, hints: Code, classes: Code, mode: int) -> None:
    """Put an element on the stack. What is in one of MUTES is no element of its own: it counts for nothing."""
    above = m.stack[s.depth]
    if s.depth + 1 >= DEEPEST or s.elements >= len(m.elements) - 1:
        s.problem = DEEP if s.depth + 1 >= DEEPEST else UNSURE
        return
    s.depth += 1
    entry = m.stack[s.depth]
    entry.tag, entry.name, entry.mode, entry.format = tag, name, mode, -1
    entry.muted = above.muted or MUTES[tag]
    entry.gap = 0 if above.muted else GAPS[tag]
    entry.element = above.element
    s.paragraphs += tag == TAG_P
    if not entry.muted:
        entry.element = s.elements
        _begin(m.elements, s.elements, above.element, tag, hints, classes)
        s.elements += 1
        s.links += tag == TAG_A
        s.bold += tag in (TAG_B, TAG_STRONG)
        s.pre += tag == TAG_PRE


@kernel
def open_root(m: Making, s: Record) -> None:
    """What is around the page: an element without a tag."""
    entry = m.stack[0]
    entry.element = entry.tag = entry.mode = entry.muted = entry.gap = 0
    entry.name, entry.format = np.uint64(0), -1
    _begin(m.elements, 0, -1, 0, np.uint64(0), np.uint64(0))
    s.elements = 1


@kernel
def _begin(elements: Records, e: int, parent: int, tag: int, hints: Code, classes: Code) -> None:
    element = elements[e]
    above = elements[max(parent, 0)]
    inside = parent >= 0
    element.parent = parent
    element.depth = above.depth + 1 if inside else 0
    element.tag = tag
    element.hints = hints
    element.classes = classes
    element.length = 0
    element.linked = 0
    element.mass = 0
    element.blocks = 0
    element.beside = inside and (above.beside != 0 or _stands_beside(tag, hints))
    element.hints_above = (above.hints_above if inside else np.uint64(0)) | hints
    element.tags_above = (above.tags_above if inside else np.uint64(0)) | ABOVE_BITS[tag]


@kernel
def _stands_beside(tag: int, hints: Code) -> bool:
    """Whether an element says that it is no main text: a comment, an aside, navigation."""
    if tag in (TAG_ASIDE, TAG_NAV):
        return True
    return (hints & np.uint64(COMMENT)) != 0 and tag not in (TAG_HTML, TAG_BODY, TAG_ARTICLE, TAG_MAIN)


@kernel
def leave(m: Making, s: Record) -> None:
    """Take the uppermost element off the stack."""
    top = m.stack[s.depth]
    tag = top.tag
    if not top.muted:
        s.links -= tag == TAG_A
        s.bold -= tag in (TAG_B, TAG_STRONG)
        s.pre -= tag == TAG_PRE
    s.paragraphs -= tag == TAG_P
    if top.format >= 0:
        m.formats[top.format].at = -1
    s.depth -= 1


@kernel
def remember(m: Making, s: Record, hints: Code, classes: Code) -> None:
    """Add the uppermost element, which formats text, to those that are opened again; at most three alike."""
    top, same, first = m.stack[s.depth], 0, -1
    k = s.formats - 1
    while k >= 0 and m.formats[k].tag:
        one = m.formats[k]
        if one.tag == top.tag and one.hints == hints and one.classes == classes:
            same, first = same + 1, k
        k -= 1
    if same >= 3:
        forget(m, s, first)
    if s.formats + 1 >= len(m.formats):
        s.problem = DEEP
        return
    one = m.formats[s.formats]
    one.tag, one.at, one.name, one.hints, one.classes = top.tag, s.depth, top.name, hints, classes
    top.format = s.formats
    s.formats += 1


@kernel
def mark(m: Making, s: Record) -> None:
    """Let nothing from outside of the uppermost element be opened again in it."""
    if s.formats + 1 >= len(m.formats):
        s.problem = DEEP
        return
    m.formats[s.formats].tag = 0
    s.formats += 1


@kernel
def forget_to_mark(m: Making, s: Record) -> None:
    """Forget what was opened since the last marker, and the marker."""
    while s.formats > 0:
        s.formats -= 1
        one = m.formats[s.formats]
        if one.tag == 0:
            return
        if one.at >= 0:
            m.stack[one.at].format = -1


@kernel
def forget(m: Making, s: Record, k: int) -> None:
    """Take one out of the list of those that are opened again."""
    if m.formats[k].at >= 0:
        m.stack[m.formats[k].at].format = -1
    for at in range(k, s.formats - 1):
        m.formats[at] = m.formats[at + 1]
        if m.formats[at].tag and m.formats[at].at >= 0:
            m.stack[m.formats[at].at].format = at
    s.formats -= 1


@kernel
def open_again(m: Making, s: Record) -> None:
    """Open what formats text and was closed with the paragraph it was in (13.2.4.3, reconstruct)."""
    k = s.formats
    while k > 0 and m.formats[k - 1].tag and m.formats[k - 1].at < 0:
        k -= 1
    while k < s.formats and not s.problem:
        one = m.formats[k]
        open_element(m, s, one.tag, one.name, one.hints & ~np.uint64(SPEAKS), one.classes, m.stack[s.depth].mode)
        one.at = s.depth
        m.stack[s.depth].format = k
        k += 1


@kernel
def take_out(m: Making, s: Record, place: int) -> None:
    """Take an element out of the midst of the stack; what it holds stays in it, and it ends with that."""
    top = m.stack[place]
    above = m.stack[place + 1]
    above.gap = max(above.gap, top.gap)
    if top.format >= 0:
        m.formats[top.format].at = -1
    for at in range(place, s.depth):
        m.stack[at] = m.stack[at + 1]
        if m.stack[at].format >= 0:
            m.formats[m.stack[at].format].at = at
    s.low -= s.low > place
    s.depth -= 1
