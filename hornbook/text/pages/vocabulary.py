"""The words and tags by which the blocks of a page are described, and the records that describe them.

Names of elements, classes and ids are compared by their first eight bytes, in hash tables that kernels read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Places = NDArray[np.int32]
Codes = NDArray[np.uint64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Records = Any
"""A structured array, whose fields only numba's types know."""
Record = Any
Code = Any
"""A whole number of 64 bits without a sign."""

DEEPEST = 512
"""Elements within elements: browsers stop at 512."""

VOID = "area base basefont bgsound br col embed frame hr image img input keygen link meta param source track wbr"
RAW = "script style iframe noembed noframes xmp plaintext title textarea"
"""Elements that hold no others."""
APART = "template svg math"
"""Elements whose markup is none of the page's, and which may hold others of their kind."""
MUTE = "object audio video canvas"
"""Elements whose text is shown only where they cannot be."""
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
REST = "applet big code colgroup dialog dir frameset listing marquee menu nobr noscript optgroup rb rp rt rtc ruby s "
REST += "search strike tt u"
"""Others that a parser treats in a way of their own."""
TAGS = f"{VOID} {RAW} {APART} {MUTE} {PARAGRAPHS} {LINES} {CELLS} {INLINE} {REST}".split()

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
HIDDEN, SPEAKS = 1 << 60, 1 << 61
"""The bits of an element that is not shown, and of a tag in which the page speaks of itself."""

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
def packed(name: str) -> int:
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
TAG_KEYS, TAG_VALUES = _table({packed(name): at for name, at in TAG_ID.items()}, TAG_BITS)
FORMAT_BITS = 6
FORMAT_KEYS, FORMAT_VALUES = _table({packed(name): 1 for name in FORMATTING.split()}, FORMAT_BITS)
EXACT = 1 << 20


def _words_table(groups: tuple[str, ...]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Words, or with `=` whole words, and the group of each."""
    coded = {
        packed(word.removeprefix("=")): group + (EXACT if word.startswith("=") else 0)
        for group, words in enumerate(groups)
        for word in words.split()
    }
    return _table(coded, HINT_BITS)


HINT_KEYS, HINT_VALUES = _words_table(HINTS)
CUE_KEYS, CUE_VALUES = _words_table(CUES)
GAPS = np.zeros(len(TAGS) + 1, np.int32)
for _listed, _gap in ((PARAGRAPHS, BLANK), (LINES, LINE), (CELLS, TAB)):
    GAPS[[TAG_ID[name] for name in _listed.split()]] = _gap


def flags(names: str) -> NDArray[np.bool_]:
    """For each tag's number, whether it is one of these."""
    found = np.zeros(len(TAGS) + 1, np.bool_)
    found[[TAG_ID[name] for name in names.split()]] = True
    return found


VOIDS, RAWS, APARTS, MUTES = flags(VOID), flags(RAW), flags(APART), flags(MUTE)
SAYS = flags("html time")
TAG_A, TAG_BR, TAG_PRE, TAG_P, TAG_B, TAG_STRONG = (TAG_ID[name] for name in ["a", "br", "pre", "p", "b", "strong"])
TAG_HTML, TAG_BODY, TAG_ARTICLE, TAG_MAIN = (TAG_ID[name] for name in ["html", "body", "article", "main"])
TAG_ASIDE, TAG_NAV, TAG_META, TAG_TITLE = (TAG_ID[name] for name in ["aside", "nav", "meta", "title"])
ABOVE = [
    "article", "main", "nav", "aside", "footer", "header", "figure", "form", "table", "ul", "ol", "section",
    "blockquote", "li", "pre", "select", "button", "details", "dl", "figcaption", "p", "td", "div", "span",
    "address", "label", "h1", "h2", "h3", "h4", "h5", "h6", "dt", "dd", "th", "tr", "strong", "em", "a",
]
"""Elements of which a block is told whether it is in one."""
ABOVE_BITS = np.zeros(len(TAGS) + 1, np.uint64)
ABOVE_BITS[[TAG_ID[name] for name in ABOVE]] = 1 << np.arange(len(ABOVE), dtype=np.uint64)
