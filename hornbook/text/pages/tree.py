"""What a tag opens and closes: the tree that the tags of a page make (HTML standard, 13.2.6, tree construction).

Tags that would move what was already read (text between the rows of a table, formatting that ends within another
paragraph than it began in) are left to a whole parser: reading then stops as UNSURE.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hornbook.text.kernel import inlined, kernel
from hornbook.text.pages.blocks import break_line, close_block
from hornbook.text.pages.open_elements import (
    UNSURE,
    Making,
    forget,
    forget_to_mark,
    leave,
    mark,
    open_again,
    open_element,
    remember,
    take_out,
)
from hornbook.text.pages.vocabulary import (
    BLANK,
    FORMATTING,
    GAPS,
    TAG_A,
    TAG_BODY,
    TAG_BR,
    TAG_HTML,
    TAG_ID,
    TAG_META,
    TAG_P,
    TAGS,
    Code,
    Flags,
    Record,
    flags,
)

BEFORE_HTML, BEFORE_HEAD, IN_HEAD, IN_NOSCRIPT, AFTER_HEAD, WITHIN = range(6)
"""How far a page has come: stages until its body."""
IN_BODY, IN_TABLE, IN_ROWS, IN_ROW, IN_CELL, IN_COLUMNS = range(6)
"""What may stand directly in an element."""
IGNORED, PLAIN, RULED = range(3)
"""What is done with a start tag: nothing, it is taken as it is, or by the rules of a page's body."""

MODES = np.full(len(TAGS) + 1, -1, np.int32)
for _mode, _names in {
    IN_TABLE: "table",
    IN_ROWS: "tbody thead tfoot",
    IN_ROW: "tr",
    IN_CELL: "td th caption",
    IN_COLUMNS: "colgroup",
}.items():
    MODES[flags(_names)] = _mode
HEADINGS = flags("h1 h2 h3 h4 h5 h6")
BLOCKS = "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer header "
BLOCKS += "hgroup listing main menu nav ol pre search section summary ul"
HEADY = flags("base basefont bgsound link meta noframes script style template title")
"""What stands in a page's head, and is read alike wherever it stands."""
IN_NOSCRIPTS = flags("basefont bgsound link meta noframes style")
PARTS = flags("caption col colgroup tbody td tfoot th thead tr")
CELLS, HOLDERS = flags("td th"), flags("td th caption")
NOWHERE = flags("html head body frame frameset caption col colgroup tbody td tfoot th thead tr")
CLOSES_P = flags(f"{BLOCKS} p h1 h2 h3 h4 h5 h6 form li dd dt plaintext table hr xmp")
FORMATS, MARKED = flags(FORMATTING), flags("applet marquee object td th caption")
NOT_AGAIN = HEADY | (CLOSES_P & ~flags("xmp")) | flags("param source track textarea iframe noembed rb rtc rp rt")
"""Tags before which nothing is opened again."""
IMPLIED = flags("dd dt li optgroup option p rb rp rt rtc")
SCOPE = flags("applet caption html table td th marquee object select")
BUTTON_SCOPE, LIST_SCOPE = SCOPE | flags("button"), SCOPE | flags("ol ul")
TABLE_SCOPE = flags("html table")
CLOSED_IN_SCOPE = flags(f"{BLOCKS} button applet marquee object select li dd dt")
ITEMS = flags("li dd dt")
SPECIAL = flags(
    f"{BLOCKS} applet area base basefont bgsound body br button caption col colgroup dd dt embed form frame frameset "
    "h1 h2 h3 h4 h5 h6 head hr html iframe img input keygen li link marquee meta noembed noframes noscript object p "
    "param plaintext script select source style table tbody td template textarea tfoot th thead title tr track wbr xmp"
)
HEAD, TBODY, TR, TABLE, COLGROUP, COL, FORM, LI, BUTTON, OPTION, OPTGROUP, SELECT, INPUT, HR, NOSCRIPT, RUBY = (
    TAG_ID[name]
    for name in (
        *("head", "tbody", "tr", "table", "colgroup", "col", "form", "li", "button", "option", "optgroup"),
        *("select", "input", "hr", "noscript", "ruby"),
    )
)
CAPTION, FRAMESET, NOBR, PLAINTEXT, RTC = (
    TAG_ID[name] for name in ("caption", "frameset", "nobr", "plaintext", "rtc")
)
RUBY_PARTS, RUBY_TEXTS, OF_ITEMS = flags("rb rtc"), flags("rp rt"), flags("address div p")
NONE = np.uint64(0)


# -- opening and closing --------------------------------------------------------------------------------------------


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
def _close_implied(m: Making, s: Record, but: int) -> None:
    """Close what ends without an end tag (13.2.6.3), but for one kind."""
    while IMPLIED[m.stack[s.depth].tag] and m.stack[s.depth].tag != but:
        close(m, s)


@kernel
def _in_scope(m: Making, s: Record, tag: int, bounds: Flags) -> int:
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
def _close_paragraph(m: Making, s: Record) -> bool:
    place = _in_scope(m, s, TAG_P, BUTTON_SCOPE) if s.paragraphs else -1
    close_to(m, s, place if place >= 0 else s.depth + 1)
    return place >= 0


@kernel
def _close_kind(m: Making, s: Record, tag: int) -> bool:
    """Close an element of a kind that is in scope; whether there was one."""
    place = _in_scope(m, s, tag, SCOPE)
    close_to(m, s, place if place >= 0 else s.depth + 1)
    return place >= 0


# -- start tags -----------------------------------------------------------------------------------------------------


@kernel
def admit(m: Making, s: Record, tag: int, name: Code, hints: Code, classes: Code) -> bool:
    """Do what a start tag does to the elements that are open; whether it opens one of its own now."""
    how = RULED
    if s.stage < WITHIN:
        how = reach(m, s, tag, name, hints, classes)
    if how == RULED and m.stack[s.depth].mode:
        how = _start_in_table(m, s, tag)
    if how == RULED and (tag in (TAG_BODY, TAG_HTML)):
        _add_attributes(m, s, tag, hints, classes)
    if how == RULED:
        return _start_in_body(m, s, tag)
    return how == PLAIN


@kernel
def _add_attributes(m: Making, s: Record, tag: int, hints: Code, classes: Code) -> None:
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
        _add_attributes(m, s, tag, hints, classes)
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
        _close_paragraph(m, s)
    if HEADINGS[tag] and HEADINGS[m.stack[s.depth].tag]:
        close(m, s)
    if tag in (TAG_A, NOBR):
        _close_link(m, s, tag)
    if tag == BUTTON:
        _close_kind(m, s, BUTTON)
    if not _start_in_select(m, s, tag):
        return False
    if (RUBY_PARTS[tag] or RUBY_TEXTS[tag]) and _in_scope(m, s, RUBY, SCOPE) >= 0:
        _close_implied(m, s, RTC if RUBY_TEXTS[tag] else 0)
    if not NOT_AGAIN[tag]:
        open_again(m, s)
    if tag == PLAINTEXT:
        s.problem = UNSURE
    return True


@kernel
def _start_in_select(m: Making, s: Record, tag: int) -> bool:
    """The choices of a form: `<select>` in another closes it, as does `<input>`."""
    if tag in (SELECT, INPUT):
        return not _close_kind(m, s, SELECT) or tag == INPUT
    if tag in (OPTION, OPTGROUP, HR):
        if _in_scope(m, s, SELECT, TABLE_SCOPE) >= 0:
            _close_implied(m, s, OPTGROUP if tag == OPTION else 0)
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
            _end_formatting(m, s, tag, m.formats[k].name)
            return
        k -= 1


# -- end tags -------------------------------------------------------------------------------------------------------


@kernel
def end(m: Making, s: Record, tag: int, name: Code) -> None:
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
        place = _in_scope(m, s, tag, TABLE_SCOPE)
        if place < 0:
            return False
        close_to(m, s, place)
        return False
    return False


@kernel
def _end_in_body(m: Making, s: Record, tag: int, name: Code) -> None:
    if FORMATS[tag]:
        _end_formatting(m, s, tag, name)
    elif tag == TAG_P:
        if not _close_paragraph(m, s) and not m.stack[s.depth].muted:
            close_block(m, s, BLANK)
    elif CLOSED_IN_SCOPE[tag]:
        place = _in_scope(m, s, tag, LIST_SCOPE if tag == LI else SCOPE)
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
    """A form ends though elements in it are still open, which stay so."""
    form = s.form
    s.form = -1
    at = s.depth
    while at > 0 and not SCOPE[m.stack[at].tag]:
        if m.stack[at].tag == FORM and m.stack[at].element == form:
            _close_implied(m, s, 0)
            if at == s.depth:
                close(m, s)
            else:
                take_out(m, s, at)
            return
        at -= 1


@kernel
def _end_formatting(m: Making, s: Record, tag: int, name: Code) -> None:
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
