"""A page as blocks: its serialized tree walked once, with what tells main text from boilerplate counted on the way.

A parser has made the tree and written it out again, so every attribute is quoted, every element is closed, and `<`
stands nowhere but at the start of markup (and in scripts and comments, which are leapt over).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import from_dtype, njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Places = NDArray[np.int32]
Codes = NDArray[np.uint64]
Numbers = NDArray[np.int64]
Records = Any
"""A structured array, whose fields only numba's types know."""
Record = Any
Code = Any
"""A whole number of 64 bits without a sign."""

DEEPEST = 512
"""Elements within elements: browsers stop at 512."""

VOID = "area base br col embed hr img input link meta param source track wbr"
RAW = "script style iframe noembed noframes xmp plaintext title textarea"
"""Elements that hold no others."""
LEFT_OUT = "template svg math object audio video canvas"
"""Elements without text of the page, which may hold others of their kind."""
PARAGRAPHS = (
    "p h1 h2 h3 h4 h5 h6 blockquote pre ul ol dl table figure section article aside nav main header footer form "
    "fieldset details address hr body"
)
LINES = (
    "div li tr dt dd figcaption caption legend option select summary center button label thead tbody tfoot hgroup "
    "html head"
)
CELLS = "td th"
INLINE = "a span b i em strong font small time"
FORMATTING = "a b big code em font i nobr s small strike strong tt u"
"""What a parser opens again in the next block where it was left open."""
TAGS = f"{VOID} {RAW} {LEFT_OUT} {PARAGRAPHS} {LINES} {CELLS} {INLINE}".split()

LEAST_MASS = 250
"""With less running text than this outside of asides and comments, they are the page."""
NO_BREAK, TAB, LINE, BLANK = range(4)

HINTS = (
    "share social sharing sharebar facebook twitter whatsapp pinterest follow like",
    "comment disqus respond reply livefyre discuss =review",
    "relat similar alsolike outbrain taboola mightlike trc",
    "recommen recirc suggest popular trending mostread most-rea =most latest top-stor readmore =more morestor "
    "=next =prev previou upnext",
    "foot bottom =ft copyrigh legal colophon",
    "nav menu topnav subnav crumb breadcru pagin pager toc =tabs",
    "head masthead banner topbar =hdr =top",
    "sidebar aside rail =side sidecol secondar rightcol leftcol =right =left column",
    "advert =ad =ads adslot adunit adcontai adbox dfp sponsor promo promoted commerci outbound affiliat",
    "newslet subscri signup sign-up =form register login mailing email optin paywall piano metered",
    "author byline bio contribu writer profile avatar credit =by",
    "date time publish updated posted dateline timestam",
    "caption figcapti figure photo image gallery slidesho carousel lightbox thumbnai =img =media video player embed",
    "tag categor keyword topic label =term =terms",
    "meta info details =data",
    "article story =post postbody blogpost =entry entrycon hentry",
    "content =text =copy bodycopy =body articleb maintext richtext =prose =rte",
    "main primary =center =inner",
    "widget module =block teaser card =tile =item =items listing feed =list =grid",
    "cookie consent gdpr modal popup overlay dialog =toast notice alert",
    "hidden =hide =none screen-r =sr visually invisibl offscree print noprint",
    "title headline heading =hed",
    "summary excerpt lead =lede intro subtitle =deck dek standfir abstract descript",
    "quote pullquot blockquo twitter tweet instagra",
    "related-t cta =call =button =btn toolbar tool action =utility",
    "rating vote =score =stars poll quiz survey",
    "highlight fact factbox infobox inset explain =box sidenote key-poin takeaway",
    "correcti footnote =note endnote referenc disclaim source editor",
    "code highligh syntax =table =pre",
    "=p paragrap para",
    "search filter sort",
    "product price cart shop buy store",
    "donate support member premium offer deal",
    "ga-track trackin analytic inread inline in-artic",
)
"""Words in the classes and ids of elements, by group. They begin a word there; with `=` they are all of it."""


def _bits(*firsts: str) -> int:
    """The bits of the groups that begin with these words."""
    return sum(1 << at for at, words in enumerate(HINTS) if words.split()[0] in firsts)


COMMENT = _bits("comment")
ASIDES = _bits(*["share", "relat", "recommen", "foot", "advert", "newslet", "author", "cookie", "search", "donate"])
"""What stands beside the main text, where it is the smaller part of a page."""
CUES = (
    "=read =more continu =also =see =next previou weiterl =mehr =lesen =leia =lire =lea =auch =aussi =voir =siehe "
    "=here =click",
    "relat recommen popular trending =latest =top similar verwandt interess relacion artigos artikel =stories "
    "=watch =video",
    "share tweet faceboo twitter whatsapp pinteres instagra follow =like linkedin youtube teilen folgen compart partag",
    "subscri newslet =sign email =inbox =e-mail registr regist login =log abonn anmeld suscr assin inscri =app "
    "download",
    "comment repl discuss komment coment respon =login",
    "photo image getty reuters =ap =afp picture foto bild credit courtesy shutters caption =file =pic illustra",
    "copyrigh rights reserved privacy cookie policy terms condit datensch impress =agb disclaim",
    "advert sponsor promo anzeige werbung affiliat commissi =buy =shop amazon =deal =deals price",
    "=by =von contribu written author reporter editor correspo autor redakt =writer =staff =columnist",
    "january february march april may june july august septemb october november december publish updated posted "
    "=ago =min minute hour =uhr",
    "=source quelle fuente =via =hat =tip",
    "=tags =tag categor =filed topics schlagw kategor keyword =in",
    "contact reached =tips donat support member",
)
"""Words with which short texts begin that stand around the main text, by group; in the form of HINTS."""
CUE_LENGTH = 90
"""Bytes of a block in which cues are looked for."""
HIDDEN, RELATION = 1 << 60, 1 << 61
"""The bits of an element that is not shown, and of one with an attribute `rel`."""

ELEMENT = np.dtype(
    [
        ("parent", "i4"),
        ("depth", "i4"),
        ("tag", "i4"),
        ("hints", "u8"),
        ("hints_above", "u8"),
        ("tags_above", "u8"),
        ("classes", "u8"),
        ("length", "i4"),
        ("linked", "i4"),
        ("mass", "i4"),
        ("blocks", "i4"),
        ("beside", "i4"),
    ],
    align=True,
)
BLOCK = np.dtype(
    [
        ("start", "i4"),
        ("end", "i4"),
        ("element", "i4"),
        ("frame", "i4"),
        ("gap", "i4"),
        ("length", "i4"),
        ("linked", "i4"),
        ("links", "i4"),
        ("commas", "i4"),
        ("stops", "i4"),
        ("digits", "i4"),
        ("capitals", "i4"),
        ("words", "i4"),
        ("bold", "i4"),
        ("first", "i4"),
        ("last", "i4"),
        ("code", "u8"),
        ("cues", "u8"),
        ("lines", "i4"),
    ],
    align=True,
)
STATE: Any = from_dtype(np.dtype(
    [(name, "i4") for name in ("depth", "block", "gap", "low", "links", "bold", "pre", "elements", "written", "said")],
    align=True,
))


def _packed(name: str) -> int:
    """A name's first eight bytes as one number, the last byte lowest."""
    return int.from_bytes(name.encode()[:8], "big")


def _table(codes: dict[int, int], bits: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """An open-addressed hash table of numbers."""
    size = 1 << bits
    keys, values = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    for code, value in codes.items():
        at = _slot(code, bits)
        while keys[at] and keys[at] != code:
            at = (at + 1) % size
        if not keys[at]:
            keys[at], values[at] = code, value
    return keys, values


def _slot(code: int, bits: int) -> int:
    return ((code * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF) >> (64 - bits)


TAG_BITS, HINT_BITS = 9, 10
TAG_ID = {name: at for at, name in reversed(list(enumerate(TAGS, 1)))}
_TAG_KEYS, _TAG_VALUES = _table({_packed(name): at for name, at in TAG_ID.items()}, TAG_BITS)
FORMAT_BITS = 6
_FORMAT_KEYS, _FORMAT_VALUES = _table({_packed(name): 1 for name in FORMATTING.split()}, FORMAT_BITS)
_EXACT = 1 << 20


def _words_table(groups: tuple[str, ...]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Words, or with `=` whole words, and the group of each."""
    coded = {
        _packed(word.removeprefix("=")): group + (_EXACT if word.startswith("=") else 0)
        for group, words in enumerate(groups)
        for word in words.split()
    }
    return _table(coded, HINT_BITS)


_HINT_KEYS, _HINT_VALUES = _words_table(HINTS)
_CUE_KEYS, _CUE_VALUES = _words_table(CUES)
_GAPS = np.zeros(len(TAGS) + 1, np.int32)
for _listed, _gap in ((PARAGRAPHS, BLANK), (LINES, LINE), (CELLS, TAB)):
    _GAPS[[TAG_ID[name] for name in _listed.split()]] = _gap
_VOIDS = np.zeros(len(TAGS) + 1, np.bool_)
_VOIDS[[TAG_ID[name] for name in VOID.split()]] = True
_RAWS = np.zeros(len(TAGS) + 1, np.bool_)
_RAWS[[TAG_ID[name] for name in f"{RAW} {LEFT_OUT}".split()]] = True
_NESTS = np.zeros(len(TAGS) + 1, np.bool_)
_NESTS[[TAG_ID[name] for name in LEFT_OUT.split()]] = True
_SAYS = np.zeros(len(TAGS) + 1, np.bool_)
_SAYS[[TAG_ID[name] for name in ["html", "meta", "time"]]] = True
_A, _BR, _PRE, _B, _STRONG = (TAG_ID[name] for name in ["a", "br", "pre", "b", "strong"])
_HTML, _BODY, _ARTICLE, _MAIN = (TAG_ID[name] for name in ["html", "body", "article", "main"])
_ASIDE, _NAV = TAG_ID["aside"], TAG_ID["nav"]
ABOVE = [
    "article", "main", "nav", "aside", "footer", "header", "figure", "form", "table", "ul", "ol", "section",
    "blockquote", "li", "pre", "select", "button", "details", "dl", "figcaption", "p", "td", "div", "span",
    "address", "label", "h1", "h2", "h3", "h4", "h5", "h6", "dt", "dd", "th", "tr", "strong", "em", "a",
]
"""Elements of which a block is told whether it is in one."""
_ABOVE = np.zeros(len(TAGS) + 1, np.uint64)
_ABOVE[[TAG_ID[name] for name in ABOVE]] = 1 << np.arange(len(ABOVE), dtype=np.uint64)


@njit(cache=True, nogil=True)
def _find(keys: Codes, values: Numbers, bits: int, code: Code) -> Code:
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
                value = _find(keys, values, HINT_BITS, code)
                if value >= 0:
                    hit = value
                elif hit & _EXACT and hit >= 0:
                    hit = np.int64(-1)
        elif letter and hit >= 0 and hit & _EXACT:
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
            hints |= _hints(html, value, at, _HINT_KEYS, _HINT_VALUES)
            for place in range(value, at):
                classes = (classes ^ np.uint64(html[place])) * np.uint64(0x100000001B3)
        elif (name == 105 and length == 2) or (name == 114 and length == 4) or (name == 105 and length == 8):
            hints |= _hints(html, value, at, _HINT_KEYS, _HINT_VALUES)  # id, role, itemprop
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
def _after_comment(html: Bytes, at: int) -> int:
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
    block.cues = _hints(text, block.start, min(end, block.start + CUE_LENGTH), _CUE_KEYS, _CUE_VALUES)
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
    while depth > 0 and _GAPS[elements[stack[depth]].tag] == 0:
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
    if tag in (_ASIDE, _NAV):
        return True
    return (hints & np.uint64(COMMENT)) != 0 and tag not in (_HTML, _BODY, _ARTICLE, _MAIN)


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
    element.tags_above = (above.tags_above if s.depth > 0 else np.uint64(0)) | _ABOVE[tag]


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
                at = _after_comment(html, at + 4)
            else:
                while at < n and html[at] != 62:
                    at += 1
                at += 1
            continue
        start, closing = at, html[at + 1] == 47
        code, at = _name(html, at + 1 + closing)
        found = _find(_TAG_KEYS, _TAG_VALUES, TAG_BITS, code)
        tag = max(found, 0)
        gap = _GAPS[tag]
        if closing:
            at += 1
            if s.depth > 0:
                if gap:
                    _close_block(text, blocks, elements, stack, s)
                    s.gap = max(s.gap, gap)
                s.links -= tag == _A and s.links > 0
                s.bold -= tag in (_B, _STRONG) and s.bold > 0
                s.pre -= tag == _PRE and s.pre > 0
                s.depth -= 1
            continue
        at, hints, classes = _attributes(html, at)
        if _SAYS[tag] or (hints & np.uint64(RELATION)) != 0:
            said[s.said, 0] = start
            said[s.said, 1] = at
            s.said += 1
        if tag == _BR:
            before = s.written
            lines = blocks[s.block].lines
            _break_line(text, blocks, s)
            if lines and before > 1 and text[before - 1] == 10 and not s.pre:
                _close_block(text, blocks, elements, stack, s)
                s.gap = max(s.gap, BLANK)
            continue
        if _RAWS[tag]:
            at = _after_raw(html, at, code, _NESTS[tag])
            continue
        if gap:
            _close_block(text, blocks, elements, stack, s)
            s.gap = max(s.gap, gap)
        if _VOIDS[tag]:
            continue
        _open(elements, stack, s, tag, hints, classes)
        s.links += tag == _A
        s.bold += tag in (_B, _STRONG)
        s.pre += tag == _PRE
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
        small = element.mass <= 0.4 * total and element.tag != _ARTICLE and element.tag != _MAIN
        element.beside |= elements[element.parent].beside or (aside and small)
    _weigh(elements, blocks, False)
    if elements[0].mass < LEAST_MASS:
        _weigh(elements, blocks, True)


@njit(cache=True, nogil=True)
def attributes_and_level(html: Bytes) -> tuple[int, int]:
    """The most attributes in one tag of raw HTML, and how many formatting elements at most are open at once.

    Parsers take time that grows with the square of both: they look for an attribute's double among those before it,
    and open again in each paragraph the formatting elements that the last one left open.
    """
    most, level, deepest, at, n = 0, 0, 0, 0, len(html) - 3
    while at < n:
        if html[at] != 60:
            at += 1
            continue
        if html[at + 1] == 33 and html[at + 2] == 45:
            at = _after_comment(html, at + 2)
            continue
        closing = html[at + 1] == 47
        code, end = _lower_name(html, at + 1 + closing)
        if code == 0:
            at += 1
            continue
        if _find(_FORMAT_KEYS, _FORMAT_VALUES, FORMAT_BITS, code) >= 0:
            level = max(level - 1, 0) if closing else level + 1
            deepest = max(deepest, level)
        words, at = _words(html, end)
        most = max(most, words)
        tag = _find(_TAG_KEYS, _TAG_VALUES, TAG_BITS, code)
        if not closing and tag > 0 and _RAWS[tag] and not _NESTS[tag]:
            at = _after_raw_text(html, at, code)
    return most, deepest


@njit(cache=True, nogil=True)
def _closing(html: Bytes, at: int, quote: int) -> int:
    """Where a quoted value ends."""
    while at < len(html) and html[at] != quote:
        at += 1
    return at


@njit(cache=True, nogil=True)
def _words(html: Bytes, at: int) -> tuple[int, int]:
    """How many attributes a tag has, and where it ends."""
    words, last, space = 0, np.uint8(0), True
    while at < len(html):
        byte = html[at]
        if byte == 62:
            return words, at + 1
        if byte <= 32 or byte == 47:
            space = True
        else:
            words += space and last != 61 and byte != 61
            space = (byte == 34 or byte == 39) and last == 61
            at = _closing(html, at + 1, byte) if space else at
            last = byte
        at += 1
    return words, at


@njit(cache=True, nogil=True)
def _after_raw_text(html: Bytes, at: int, code: Code) -> int:
    """Behind the text of a script or the like; where it never ends, behind its start, as if it were none."""
    for place in range(at, len(html) - 2):
        if html[place] == 60 and html[place + 1] == 47 and _lower_name(html, place + 2)[0] == code:
            return place
    return at


@njit(cache=True, nogil=True)
def _lower_name(html: Bytes, at: int) -> tuple[Code, int]:
    code, taken = np.uint64(0), 0
    while at < len(html):
        byte = html[at] | 32
        if not (97 <= byte <= 122 or (taken > 0 and 48 <= byte <= 57)):
            break
        if taken < 8:
            code = code << np.uint64(8) | np.uint64(byte)
            taken += 1
        at += 1
    return code, at


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
