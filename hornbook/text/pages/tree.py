"""The tree that the tags of a page make (HTML standard, 13.2.6): how elements are opened and closed.

Tags that would move what was already read (text between the rows of a table, formatting that ends within another
paragraph than it began in) are left to a whole parser: reading then stops as UNSURE.
"""

from __future__ import annotations

from hornbook.text.kernel import (
    kernel,
)
from hornbook.text.pages.blocks import (
    close_block,
)
from hornbook.text.pages.open_elements import (
    Making,
    forget_to_mark,
    leave,
    mark,
    open_element,
    remember,
)
from hornbook.text.pages.tag_kinds import (
    BUTTON_SCOPE,
    FORM,
    FORMATS,
    IMPLIED,
    MARKED,
    MODES,
    SCOPE,
)
from hornbook.text.pages.vocabulary import (
    GAPS,
    TAG_P,
    Code,
    Flags,
    Record,
)


@kernel
def close(m: Making, s: Record) -> None:
    """Close the uppermost element."""
    top = m.stack[s.depth]
    tag = top.tag
    if top.gap:
        close_block(m, s, top.gap)
    leave(m, s)
    if MARKED[tag]:
        forget_to_mark(m, s)


@kernel
def close_to(m: Making, s: Record, place: int) -> None:
    """Close what is open down to a place of the stack, and what is there."""
    while s.depth >= place and s.depth > 0:
        close(m, s)


@kernel
def enter(m: Making, s: Record, tag: int, name: Code, hints: Code, classes: Code) -> None:
    """Open an element where the page stands."""
    top = m.stack[s.depth]
    if GAPS[tag] and not top.muted:
        close_block(m, s, GAPS[tag])
    open_element(m, s, tag, name, hints, classes, MODES[tag] if MODES[tag] >= 0 else top.mode)


@kernel
def begin(m: Making, s: Record, tag: int, name: Code, hints: Code, classes: Code) -> None:
    """Open an element, and note what the rules will ask for."""
    enter(m, s, tag, name, hints, classes)
    if s.problem:
        return
    if FORMATS[tag]:
        remember(m, s, hints, classes)
    elif MARKED[tag]:
        mark(m, s)
    elif tag == FORM:
        s.form = m.stack[s.depth].element


@kernel
def close_implied(m: Making, s: Record, but: int) -> None:
    """Close what ends without an end tag (13.2.6.3), but for one kind."""
    while IMPLIED[m.stack[s.depth].tag] and m.stack[s.depth].tag != but:
        close(m, s)


@kernel
def in_scope(m: Making, s: Record, tag: int, bounds: Flags) -> int:
    """Where the uppermost element of a kind is, if nothing that bounds the search is above it, or -1 (13.2.4.2)."""
    at: int = s.depth
    while at > 0:
        if m.stack[at].tag == tag:
            return at
        if bounds[m.stack[at].tag]:
            return -1
        at -= 1
    return -1


@kernel
def close_paragraph(m: Making, s: Record) -> bool:
    """Close a paragraph that is in scope of a button; whether there was one."""
    place = in_scope(m, s, TAG_P, BUTTON_SCOPE) if s.paragraphs else -1
    close_to(m, s, place if place >= 0 else s.depth + 1)
    return place >= 0


@kernel
def close_kind(m: Making, s: Record, tag: int) -> bool:
    """Close an element of a kind that is in scope; whether there was one."""
    place = in_scope(m, s, tag, SCOPE)
    close_to(m, s, place if place >= 0 else s.depth + 1)
    return place >= 0
