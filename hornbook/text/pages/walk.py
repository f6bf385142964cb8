"""A page read once from its bytes, without a tree: its text in blocks, its elements, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hornbook.text.kernel import kernel
from hornbook.text.pages.before_body import reach
from hornbook.text.pages.blocks import break_line, clear, close_block, text_end, write_text
from hornbook.text.pages.bombs import MOST_ATTRIBUTES, TOO_DEEP, TOO_MANY
from hornbook.text.pages.end_tags import end_tag
from hornbook.text.pages.markup import (
    PADDING,
    TEMPLATE,
    after_apart,
    after_comment,
    after_tag,
    attributes,
    find,
    holds,
    is_letter,
    raw_text_end,
    tag_name,
)
from hornbook.text.pages.masses import add_up
from hornbook.text.pages.open_elements import (
    COSTLY,
    DEEP,
    FORMAT,
    OPEN,
    STATE,
    UNSURE,
    Making,
    open_again,
    open_root,
)
from hornbook.text.pages.start_tags import start_tag
from hornbook.text.pages.tag_kinds import BEFORE_HTML, IN_CELL, WITHIN
from hornbook.text.pages.tree import begin, close, enter
from hornbook.text.pages.vocabulary import (
    APARTS,
    BLOCK,
    DEEPEST,
    ELEMENT,
    GAPS,
    RAWS,
    SAYS,
    SPEAKS,
    TAG_BITS,
    TAG_BR,
    TAG_ID,
    TAG_KEYS,
    TAG_PRE,
    TAG_TITLE,
    TAG_VALUES,
    VOIDS,
    Bytes,
    Code,
    Places,
    Record,
    Records,
)

LISTING = TAG_ID["listing"]
PUBLIC, ADDRESS, OLD = (np.frombuffer(word, np.uint8) for word in (b"public", b"http", b"html 4.0 "))


@dataclass(frozen=True, slots=True)
class Walked:
    """A page's text in UTF-8, its elements and blocks, and the tags in which it speaks of itself."""

    text: Bytes
    elements: Records
    blocks: Records
    said: list[str]


class Costly(ValueError):
    """A page would take more time than pages do; says why."""


class Unsure(ValueError):
    """The tags of a page do not tell its tree by themselves."""


def walk(html: bytes, *, made: bool) -> Walked:
    """Read a page.

    Args:
        html: in UTF-8.
        made: a parser has written the page, so that every element is closed where it ends.

    Raises:
        Costly: elements nest too deep, or a tag has too many attributes.
        Unsure: the tags do not tell the tree by themselves.
    """
    most = 2 * html.count(b"<") + 64
    room = len(html) + len(html) // 4 + 64
    m = Making(
        text=np.empty(room, np.uint8),
        scratch=np.empty(room, np.uint8),
        elements=np.empty(most, ELEMENT),
        blocks=np.empty(most, BLOCK),
        stack=np.empty(DEEPEST + 2, OPEN),
        formats=np.empty(DEEPEST + 2, FORMAT),
    )
    said, state = np.empty((most, 2), np.int32), np.zeros(1, STATE)
    read_page(np.frombuffer(html + bytes(PADDING), np.uint8), m, said, state, made)
    s = state[0]
    if s["problem"] == UNSURE:
        raise Unsure
    if s["problem"]:
        raise Costly(TOO_DEEP if s["problem"] == DEEP else TOO_MANY)
    elements, blocks = m.elements[: s["elements"]], m.blocks[: s["block"]]
    add_up(elements, blocks)
    tags = [html[start:stop].decode("utf-8", "replace") for start, stop in said[: s["said"]].tolist()]
    return Walked(m.text, elements, blocks, tags)


@kernel
def read_page(html: Bytes, m: Making, said: Places, state: Records, made: bool) -> None:
    """Fill what is to be filled, and `said` with where the tags stand in which a page speaks of itself."""
    s, at, n = state[0], 0, len(html) - PADDING
    s.quirks, s.form, s.stage = 1, -1, WITHIN if made else BEFORE_HTML
    clear(m.blocks[0])
    m.blocks[0].start = 0
    open_root(m, s)
    while at < n and not s.problem:
        stop, references, shown = text_end(html, at)
        if stop > at:
            _take_text(html, m, s, at, stop, references, shown, made)
            at = stop
            continue
        closing = html[at + 1] == 47
        if not is_letter(html[at + 1 + closing]):
            stop = after_comment(html, at)
            if s.stage == BEFORE_HTML and html[at + 2] | 32 == 100:  # <!doctype
                s.quirks = _is_quirky(html, at, stop)
            at = stop
            continue
        start = at
        code, at = tag_name(html, at + 1 + closing)
        tag = max(find(TAG_KEYS, TAG_VALUES, TAG_BITS, code), 0)
        name = code * np.uint64(31) + np.uint64(at - start - closing)
        if closing:
            at = after_tag(html, at)
            _take_end(m, s, tag, name, made)
        else:
            at = _take_start(html, m, s, said, start, at, tag, code, name, made)
    while s.depth > 0 and not s.problem:
        close(m, s)
    close_block(m, s, 0)


@kernel
def _is_quirky(html: Bytes, at: int, stop: int) -> bool:
    """Whether a document type is of the time when `<table>` did not end a paragraph (13.2.6.4.1)."""
    return holds(html, at, stop, PUBLIC) and (not holds(html, at, stop, ADDRESS) or holds(html, at, stop, OLD))


@kernel
def _take_text(
    html: Bytes, m: Making, s: Record, at: int, stop: int, references: bool, shown: bool, made: bool
) -> None:
    if not made:
        if s.stage < WITHIN:
            if not shown:
                return
            reach(m, s, 0, np.uint64(0), np.uint64(0), np.uint64(0))
        if m.stack[s.depth].mode and m.stack[s.depth].mode != IN_CELL:
            if shown:
                s.problem = UNSURE
            return
        open_again(m, s)
    if not m.stack[s.depth].muted:
        write_text(m, s, html, at, stop, references)


@kernel
def _take_end(m: Making, s: Record, tag: int, name: Code, made: bool) -> None:
    if not made:
        end_tag(m, s, tag, name)
    elif s.depth > 0:
        close(m, s)


@kernel
def _take_start(
    html: Bytes, m: Making, s: Record, said: Places, start: int, at: int, tag: int, code: Code, name: Code, made: bool
) -> int:
    """A start tag and what cannot be parted from it, such as a script; where what follows begins."""
    n = len(html) - PADDING
    at, hints, classes, count = attributes(html, at, tag)
    if count > MOST_ATTRIBUTES:
        s.problem = COSTLY
    if at >= n and html[n - 1] != 62:
        return n
    if (SAYS[tag] or (hints & np.uint64(SPEAKS)) != 0) and not m.stack[s.depth].muted:
        _note(said, s, start, at)
    if not made and not start_tag(m, s, tag, name, hints, classes):
        return at
    muted = m.stack[s.depth].muted
    if tag == TAG_BR:
        if not muted:
            break_line(m, s)
        return at
    if RAWS[tag]:
        stop = raw_text_end(html, at, code)
        if tag == TAG_TITLE and not muted:
            _note(said, s, start, stop)
        return after_tag(html, min(stop + 2, n))
    if APARTS[tag]:
        return _after_apart(html, s, at, code, made)
    if VOIDS[tag]:
        if GAPS[tag] and not muted:
            close_block(m, s, GAPS[tag])
        return at
    if made:
        enter(m, s, tag, name, hints, classes)
        return at
    begin(m, s, tag, name, hints, classes)
    if (tag in (TAG_PRE, LISTING)) and html[at] == 13:
        at += 1
    return at + ((tag in (TAG_PRE, LISTING)) and html[at] == 10)


@kernel
def _after_apart(html: Bytes, s: Record, at: int, code: Code, made: bool) -> int:
    if html[at - 2] == 47 and code != TEMPLATE:
        return at
    stop = after_apart(html, at, code, made)
    if stop < 0:
        s.problem = UNSURE
    return max(stop, at)


@kernel
def _note(said: Places, s: Record, start: int, stop: int) -> None:
    said[s.said, 0] = start
    said[s.said, 1] = stop
    s.said += 1
