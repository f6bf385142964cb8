"""What a start tag closes and opens (HTML standard, 13.2.6.4)."""

from __future__ import annotations

from typing import Any

from hornbook.text.kernel import (
    inlined,
    kernel,
)
from hornbook.text.pages.before_body import (
    add_attributes,
    reach,
)
from hornbook.text.pages.end_tags import (
    end_formatting,
)
from hornbook.text.pages.open_elements import (
    UNSURE,
    Making,
    open_again,
)
from hornbook.text.pages.tag_kinds import (
    BUTTON,
    CAPTION,
    CELLS,
    CLOSES_P,
    COL,
    COLGROUP,
    FORM,
    HEADINGS,
    HEADY,
    HOLDERS,
    HR,
    IGNORED,
    IN_BODY,
    IN_CELL,
    IN_COLUMNS,
    IN_ROW,
    IN_ROWS,
    IN_TABLE,
    INPUT,
    ITEMS,
    LI,
    MODES,
    NOBR,
    NONE,
    NOT_AGAIN,
    NOWHERE,
    OF_ITEMS,
    OPTGROUP,
    OPTION,
    PARTS,
    PLAIN,
    PLAINTEXT,
    RTC,
    RUBY,
    RUBY_PARTS,
    RUBY_TEXTS,
    RULED,
    SCOPE,
    SELECT,
    SPECIAL,
    TABLE,
    TABLE_SCOPE,
    TBODY,
    TR,
    WITHIN,
)
from hornbook.text.pages.tree import (
    close,
    close_implied,
    close_kind,
    close_paragraph,
    close_to,
    enter,
    in_scope,
)
from hornbook.text.pages.vocabulary import (
    TAG_A,
    TAG_BODY,
    TAG_HTML,
    Code,
    Record,
)


@kernel
def start_tag(m: Making, s: Record, tag: int, name: Code, hints: Code, classes: Code) -> bool:
    """Do what a start tag does to the elements that are open; whether it opens one of its own now."""
    how = RULED
    if s.stage < WITHIN:
        how = reach(m, s, tag, name, hints, classes)
    if how == RULED and m.stack[s.depth].mode:
        how = _start_in_table(m, s, tag)
    if how == RULED and (tag in (TAG_BODY, TAG_HTML)):
        add_attributes(m, s, tag, hints, classes)
    if how == RULED:
        return _start_in_body(m, s, tag)
    return how == PLAIN


@kernel
def _start_in_table(m: Making, s: Record, tag: int) -> int:
    """A start tag within a table: close and open the rows and cells that it implies."""
    while not s.problem:
        mode = m.stack[s.depth].mode
        if mode == IN_BODY or (mode == IN_CELL and not PARTS[tag]):
            return RULED
        if mode == IN_CELL:
            _close_cell(m, s)
        elif _belongs(mode, tag) or HEADY[tag] or tag == INPUT:
            return PLAIN
        elif tag == FORM and mode != IN_COLUMNS:
            if s.form < 0:
                enter(m, s, FORM, NONE, NONE, NONE)
                s.form = m.stack[s.depth].element
                close(m, s)
            return IGNORED
        elif _needs(mode, tag):
            enter(m, s, _needs(mode, tag), NONE, NONE, NONE)
        elif PARTS[tag] or tag == TABLE or mode == IN_COLUMNS:
            close(m, s)
        else:
            s.problem = UNSURE
    return IGNORED


@inlined
def _belongs(mode: int, tag: int) -> Any:
    if mode == IN_TABLE:
        return MODES[tag] == IN_ROWS or tag in (COLGROUP, CAPTION)
    if mode == IN_ROWS:
        return tag == TR
    if mode == IN_ROW:
        return CELLS[tag]
    return tag == COL


@inlined
def _needs(mode: int, tag: int) -> int:
    """What must be opened before a tag in a part of a table, or 0."""
    if mode == IN_TABLE:
        if tag == COL:
            return COLGROUP
        return TBODY if tag == TR or CELLS[tag] else 0
    return TR if mode == IN_ROWS and CELLS[tag] else 0


@kernel
def _close_cell(m: Making, s: Record) -> None:
    at = s.depth
    while at > 0 and not HOLDERS[m.stack[at].tag]:
        at -= 1
    close_to(m, s, at)


@kernel
def _start_in_body(m: Making, s: Record, tag: int) -> bool:
    if HEADY[tag]:
        return True
    if NOWHERE[tag] or (tag == FORM and s.form >= 0):
        return False
    if ITEMS[tag]:
        _close_item(m, s, tag)
    if CLOSES_P[tag] and not (tag == TABLE and s.quirks):
        close_paragraph(m, s)
    if HEADINGS[tag] and HEADINGS[m.stack[s.depth].tag]:
        close(m, s)
    if tag in (TAG_A, NOBR):
        _close_link(m, s, tag)
    if tag == BUTTON:
        close_kind(m, s, BUTTON)
    if not _start_in_select(m, s, tag):
        return False
    if (RUBY_PARTS[tag] or RUBY_TEXTS[tag]) and in_scope(m, s, RUBY, SCOPE) >= 0:
        close_implied(m, s, RTC if RUBY_TEXTS[tag] else 0)
    if not NOT_AGAIN[tag]:
        open_again(m, s)
    if tag == PLAINTEXT:
        s.problem = UNSURE
    return True


@kernel
def _start_in_select(m: Making, s: Record, tag: int) -> bool:
    """The choices of a form: `<select>` in another closes it, as does `<input>`."""
    if tag in (SELECT, INPUT):
        return not close_kind(m, s, SELECT) or tag == INPUT
    if tag in (OPTION, OPTGROUP, HR):
        if in_scope(m, s, SELECT, TABLE_SCOPE) >= 0:
            close_implied(m, s, OPTGROUP if tag == OPTION else 0)
        elif m.stack[s.depth].tag == OPTION and tag != HR:
            close(m, s)
    return True


@kernel
def _close_item(m: Making, s: Record, tag: int) -> None:
    """Close the item of a list that the next one of it ends."""
    at = s.depth
    while at > 0:
        above = m.stack[at].tag
        if above == tag or (tag != LI and ITEMS[above] and above != LI):
            close_to(m, s, at)
            return
        if SPECIAL[above] and not OF_ITEMS[above]:
            return
        at -= 1


@kernel
def _close_link(m: Making, s: Record, tag: int) -> None:
    """Links are not within links: one that is open ends."""
    k = s.formats - 1
    while k >= 0 and m.formats[k].tag:
        if m.formats[k].tag == tag:
            end_formatting(m, s, tag, m.formats[k].name)
            return
        k -= 1
