"""What an end tag closes (HTML standard, 13.2.6.4)."""

from __future__ import annotations

from hornbook.text.kernel import (
    kernel,
)
from hornbook.text.pages.before_body import (
    reach,
)
from hornbook.text.pages.blocks import (
    break_line,
    close_block,
)
from hornbook.text.pages.open_elements import (
    UNSURE,
    Making,
    forget,
    open_again,
    take_out,
)
from hornbook.text.pages.tag_kinds import (
    AFTER_HEAD,
    CLOSED_IN_SCOPE,
    COL,
    COLGROUP,
    FORM,
    FORMATS,
    HEAD,
    HEADINGS,
    IN_BODY,
    IN_CELL,
    IN_COLUMNS,
    IN_HEAD,
    IN_NOSCRIPT,
    LI,
    LIST_SCOPE,
    NONE,
    NOSCRIPT,
    NOWHERE,
    PARTS,
    SCOPE,
    SPECIAL,
    TABLE,
    TABLE_SCOPE,
    WITHIN,
)
from hornbook.text.pages.tree import (
    close,
    close_implied,
    close_paragraph,
    close_to,
    in_scope,
)
from hornbook.text.pages.vocabulary import (
    BLANK,
    TAG_BODY,
    TAG_BR,
    TAG_HTML,
    TAG_META,
    TAG_P,
    Code,
    Record,
)


@kernel
def end_tag(m: Making, s: Record, tag: int, name: Code) -> None:
    """Do what an end tag does to the elements that are open."""
    if s.stage < WITHIN and not _end_before_body(m, s, tag):
        return
    if m.stack[s.depth].mode == 0 or _end_in_table(m, s, tag):
        _end_in_body(m, s, tag, name)


@kernel
def _end_before_body(m: Making, s: Record, tag: int) -> bool:
    """An end tag before the page's body: whether the body's rules are for it."""
    if tag == HEAD and s.stage < IN_NOSCRIPT:
        reach(m, s, TAG_META, NONE, NONE, NONE)
        close(m, s)
        s.stage = AFTER_HEAD
    elif tag == NOSCRIPT and s.stage == IN_NOSCRIPT:
        close(m, s)
        s.stage = IN_HEAD
    elif tag == TAG_BR or ((tag in (TAG_BODY, TAG_HTML)) and s.stage != IN_NOSCRIPT):
        reach(m, s, 0, NONE, NONE, NONE)
        return True
    return False


@kernel
def _end_in_table(m: Making, s: Record, tag: int) -> bool:
    """An end tag within a table; whether the body's rules are for it."""
    part = PARTS[tag] or tag == TABLE
    while not s.problem:
        mode = m.stack[s.depth].mode
        if mode == IN_COLUMNS and tag != COL:
            close(m, s)
            if tag == COLGROUP:
                return False
            continue
        if mode == IN_BODY or not part:
            s.problem = UNSURE if tag == TAG_BR and mode != IN_BODY and mode != IN_CELL else s.problem
            return True
        place = in_scope(m, s, tag, TABLE_SCOPE)
        if place < 0:
            return False
        close_to(m, s, place)
        return False
    return False


@kernel
def _end_in_body(m: Making, s: Record, tag: int, name: Code) -> None:
    if FORMATS[tag]:
        end_formatting(m, s, tag, name)
    elif tag == TAG_P:
        if not close_paragraph(m, s) and not m.stack[s.depth].muted:
            close_block(m, s, BLANK)
    elif CLOSED_IN_SCOPE[tag]:
        place = in_scope(m, s, tag, LIST_SCOPE if tag == LI else SCOPE)
        close_to(m, s, place if place >= 0 else s.depth + 1)
    elif HEADINGS[tag]:
        _end_heading(m, s)
    elif tag == FORM:
        _end_form(m, s)
    elif tag == TAG_BR:
        open_again(m, s)
        if not m.stack[s.depth].muted:
            break_line(m, s)
    elif not NOWHERE[tag]:
        _end_other(m, s, tag, name)


@kernel
def _end_other(m: Making, s: Record, tag: int, name: Code) -> None:
    """Close the uppermost element of a name, unless one is above it that ends only by itself."""
    at = s.depth
    while at > 0:
        if m.stack[at].tag == tag and m.stack[at].name == name:
            close_to(m, s, at)
            return
        if SPECIAL[m.stack[at].tag]:
            return
        at -= 1


@kernel
def _end_heading(m: Making, s: Record) -> None:
    at = s.depth
    while at > 0 and not SCOPE[m.stack[at].tag]:
        if HEADINGS[m.stack[at].tag]:
            close_to(m, s, at)
            return
        at -= 1


@kernel
def _end_form(m: Making, s: Record) -> None:
    """A form ends though elements in it are still open, which stay so; text before them needs it, and so a parser."""
    form = s.form
    s.form = -1
    at = s.depth
    while at > 0 and not SCOPE[m.stack[at].tag]:
        if m.stack[at].tag == FORM and m.stack[at].element == form:
            close_implied(m, s, 0)
            if at == s.depth:
                close(m, s)
            elif s.low == at and m.blocks[s.block].length > 0:
                s.problem = UNSURE
            else:
                take_out(m, s, at)
            return
        at -= 1


@kernel
def end_formatting(m: Making, s: Record, tag: int, name: Code) -> None:
    """The adoption agency (13.2.6.4.7), where there is nothing to adopt."""
    if m.stack[s.depth].tag == tag and m.stack[s.depth].format < 0:
        close(m, s)
        return
    k = s.formats - 1
    while k >= 0 and m.formats[k].tag and m.formats[k].tag != tag:
        k -= 1
    if k < 0 or m.formats[k].tag == 0:
        _end_other(m, s, tag, name)
        return
    place = m.formats[k].at
    if place >= 0:
        for at in range(place + 1, s.depth + 1):
            if SCOPE[m.stack[at].tag]:
                return
        for at in range(place + 1, s.depth + 1):
            if SPECIAL[m.stack[at].tag]:
                s.problem = UNSURE
                return
    forget(m, s, k)
    close_to(m, s, place if place >= 0 else s.depth + 1)
