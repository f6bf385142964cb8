"""The tags that the rules of tree construction name (HTML standard, 13.2.4 and 13.2.6), by what is done with them."""

from __future__ import annotations

import numpy as np

from hornbook.text.pages.vocabulary import (
    FORMATTING,
    TAG_ID,
    TAGS,
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
