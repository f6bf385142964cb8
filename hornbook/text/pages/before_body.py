"""How a page comes to its body: the elements `html`, `head` and `body` begin whether or not they have a tag."""

from __future__ import annotations

from hornbook.text.kernel import (
    kernel,
)
from hornbook.text.pages.open_elements import (
    UNSURE,
    Making,
)
from hornbook.text.pages.tag_kinds import (
    BEFORE_HEAD,
    BEFORE_HTML,
    FRAMESET,
    HEAD,
    HEADY,
    IGNORED,
    IN_HEAD,
    IN_NOSCRIPT,
    IN_NOSCRIPTS,
    NONE,
    NOSCRIPT,
    PLAIN,
    RULED,
    WITHIN,
)
from hornbook.text.pages.tree import (
    close,
    enter,
)
from hornbook.text.pages.vocabulary import (
    TAG_BODY,
    TAG_HTML,
    Code,
    Record,
)


@kernel
def add_attributes(m: Making, s: Record, tag: int, hints: Code, classes: Code) -> None:
    """A tag `body` or `html` behind what has begun the element: its attributes count for all that is in it."""
    first = 1
    while first < s.elements and m.elements[first].tag != tag:
        first += 1
    if first < s.elements:
        m.elements[first].hints |= hints
        if m.elements[first].classes == 0:
            m.elements[first].classes = classes
    for e in range(first, s.elements):
        m.elements[e].hints_above |= hints


@kernel
def reach(m: Making, s: Record, tag: int, name: Code, hints: Code, classes: Code) -> int:
    """Come as far as a tag needs: to the page's head or its body, which begin with it if they have not yet."""
    if s.stage == BEFORE_HTML:
        s.stage = BEFORE_HEAD
        if tag == TAG_HTML:
            enter(m, s, tag, name, hints, classes)
            return IGNORED
        enter(m, s, TAG_HTML, NONE, NONE, NONE)
    if s.stage == BEFORE_HEAD and tag != TAG_HTML:
        s.stage = IN_HEAD
        if tag == HEAD:
            enter(m, s, tag, name, hints, classes)
            return IGNORED
        enter(m, s, HEAD, NONE, NONE, NONE)
    if tag == TAG_HTML:
        add_attributes(m, s, tag, hints, classes)
    if tag in (TAG_HTML, HEAD):
        return IGNORED
    if s.stage == IN_NOSCRIPT and tag != NOSCRIPT and not IN_NOSCRIPTS[tag]:
        s.stage = IN_HEAD
        close(m, s)
    if s.stage == IN_NOSCRIPT:
        return PLAIN if tag != NOSCRIPT else IGNORED
    if HEADY[tag]:
        return PLAIN
    if s.stage == IN_HEAD:
        if tag == NOSCRIPT:
            s.stage = IN_NOSCRIPT
            return PLAIN
        close(m, s)
    return _reach_body(m, s, tag, name, hints, classes)


@kernel
def _reach_body(m: Making, s: Record, tag: int, name: Code, hints: Code, classes: Code) -> int:
    s.stage = WITHIN
    if tag == FRAMESET:
        s.problem = UNSURE
    if tag == TAG_BODY:
        enter(m, s, tag, name, hints, classes)
        return IGNORED
    enter(m, s, TAG_BODY, NONE, NONE, NONE)
    return RULED
