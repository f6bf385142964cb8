"""What the rules of quality ask of a character, as bits in one table that kernels look code points up in.

The classes that decide where words end are those of spaCy's English tokenizer, since Gopher's, C4's and FineWeb's
thresholds are used with its words; the rest is Unicode's.
"""

# ruff: noqa: RUF001
from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Kinds = NDArray[np.uint32]

SPACE = 1 << 0
BREAK = 1 << 1
"""Ends a line for str.splitlines."""
LETTER = 1 << 2
MARK = 1 << 3
"""In Unicode's punctuation."""
SYMBOL = 1 << 4
"""A word of nothing but these is no word for Gopher's rules of length."""
STOP = 1 << 5
"""Ends a sentence when it stands alone as a word."""
TERMINAL = 1 << 6
"""Ends a line like a sentence for FineWeb's rule: STOP, and stops of scripts that came later."""
ALPHA = 1 << 7
LOWER = 1 << 8
UPPER = 1 << 9
"""Letters between which marks can divide a word. Those of scripts without case are lower and upper at once."""
PREFIX = 1 << 10
SUFFIX = 1 << 11
"""Comes off the start, or the end, of a word."""
QUOTE = 1 << 12
ICON = 1 << 13
BEFORE_STOP = 1 << 14
"""After one of these, a full stop at the end comes off the word."""
DIGIT = 1 << 15
UNSPACED = 1 << 16
"""A letter of a script that puts no spaces between words."""
DECIMAL = 1 << 17
"""A digit of any script; DIGIT is one of 0 to 9."""

INFIX = 1 << 18
"""May divide a word that it is in."""

SIZE = 0x40000
"""Code points above are in no class: unassigned, tags, private use."""

BREAKS = "a-d 1c-1e 85 2028-2029"
UNCASED = (
    "591-5f4 620-64a 66e-6d5 6e5-6ff 750-77f 8a0-8bd 900-9ff b80-cff d80-dff 1100-137f 2e80-2fdf 2ff0-30ff 31c0-31ef "
    "3200-4dbf 4e00-9fff ac00-d7af f900-faff fb1d-fbb1 fbd3-fd3d fd50-fdc7 fdf0-fdfb fe30-fe4f fe70-fefc 1ee00-1eebb "
    "1f200-1f2ff 20000-2a6df 2a700-2ebef 2f800-2fa1f"
)
CASED = (
    "41-5a 61-7a c0-d6 d8-f6 f8-1bf 1c4-2af 386 388-38a 38c 38e-38f 391-3a9 3ac-3af 3b1-3c9 3cc-3ce 400-401 403-40a "
    "40c-40d 410-451 453-45a 45c-45d 490-491 496-497 4a2-4a3 4ae-4af 4ba-4bb 4d8-4d9 4e8-4e9 1d00-1d25 1d6b-1d77 "
    "1d79-1d9a 1e00-1eff 2c60-2c7b 2c7e-2c7f a722-a76f a771-a787 a78b-a78e a790-a7b9 a7fa ab30-ab5a ab60-ab64 "
    "ff21-ff3a ff41-ff5a"
)
UNSPACED_SCRIPTS = "e00-eff 1000-109f 1780-17ff 3040-30ff 3400-4dbf 4e00-9fff f900-faff 20000-3134f"
"""Thai and Lao, Burmese, Khmer, kana, Han."""
YOUNG_ICONS = (
    "166d 2b97 2bc9 2bff 2e50-2e51 32ff fd40-fd4f fdcf fdfe-fdff 1019c 11fd5-11fdc 11fe1-11ff1 1cf50-1cfc3 1d1e9-1d1ea "
    "1e14f 1ed2e 1f10d-1f10f 1f16c-1f16f 1f1ad 1f6d5-1f6df 1f6fa-1f6ff 1f774-1f77f 1f7d9-1f7ff 1f8b0-1f8ff 1f90c-1f90f "
    "1f93f 1f971-1f972 1f977-1f979 1f97b 1f9a3-1f9af 1f9ba-1f9bf 1f9c3-1f9cf 1fa00-1fa5f 1fa6e-1fbff"
)
"""Symbols that Unicode got after its version 11, which spaCy's list of icons is from."""
STOPS = (
    "21 2e 3f 589 61f 6d4 700-702 7f9 964-965 104a-104b 1362 1367-1368 166e 1735-1736 1803 1809 1944-1945 1aa8-1aab "
    "1b5a-1b5b 1b5e-1b5f 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e 2e3c 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 "
    "a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 11047-11048 "
    "110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 "
    "115c9-115d7 11641-11642 1173c-1173e 11a42-11a43 11a9b-11a9c 11c41-11c42 16a6e-16a6f 16af5 16b37-16b38 16b44 1bc9f "
    "1da88"
)
LATER_STOPS = (
    "61d-61e 837 839 83d-83e 17d4-17d6 17d9-17da 1b7d-1b7e 2e53-2e54 10f55-10f59 10f86-10f89 11944 11946 11ef7-11ef8 "
    "11f43-11f44 16e98"
)
SYMBOLS = (
    "0-8 b-1f 21-2f 3a-40 5b-60 7b-9f ab b4 bb 2013-2014 2019 201c-201e 2026 2236 2501 25ba 3001-3002 3008-300d "
    "3010-3011 ff01 ff05 ff08-ff09 ff0c ff0e ff11 ff1a-ff1b ff1f ff5e"
)
MARKS = ",:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉\u2329\u232a⟦⟧"
CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
INFIXES = ".,:<>=/+-*^~"
ELLIPSIS, DASHES = "…", "—–"


@cache
def kinds() -> Kinds:
    """The classes [code point] of all characters below SIZE, read-only."""
    table = np.zeros(SIZE, np.uint32)
    characters = list(map(chr, range(SIZE)))
    category = np.array([unicodedata.category(character) for character in characters])
    for kind, found in (
        (SPACE, np.fromiter(map(str.isspace, characters), bool, SIZE)),
        (LETTER, np.fromiter(map(str.isalpha, characters), bool, SIZE)),
        (MARK, np.char.startswith(category, "P")),
        (ICON | INFIX | PREFIX | SUFFIX, category == "So"),
        (DECIMAL, category == "Nd"),
    ):
        table[found] |= np.uint32(kind)
    table[_codes(YOUNG_ICONS)] &= np.uint32(~(ICON | INFIX | PREFIX | SUFFIX) & 0xFFFFFFFF)
    for kind, ranges in (
        (BREAK, BREAKS),
        (SYMBOL, f"{SYMBOLS} {STOPS} {LATER_STOPS}"),
        (STOP | TERMINAL, STOPS),
        (TERMINAL, LATER_STOPS),
        (ALPHA, CASED),
        (ALPHA | LOWER | UPPER | BEFORE_STOP, UNCASED),
        (UNSPACED, UNSPACED_SCRIPTS),
        (DIGIT | BEFORE_STOP, "30-39"),
    ):
        table[_codes(ranges)] |= np.uint32(kind)
    cased = _codes(CASED)
    table[cased[category[cased] == "Ll"]] |= np.uint32(LOWER | BEFORE_STOP)
    table[cased[category[cased] == "Lu"]] |= np.uint32(UPPER)
    for kind, some in (
        (PREFIX | SUFFIX | BEFORE_STOP, MARKS + QUOTES + ELLIPSIS),
        (PREFIX | SUFFIX, DASHES),
        (PREFIX, "§%=" + CURRENCY),
        (QUOTE, QUOTES),
        (INFIX, INFIXES + ELLIPSIS + DASHES),
        (BEFORE_STOP, "%²-+|"),
    ):
        table[list(map(ord, some))] |= np.uint32(kind)
    table[0x294] |= np.uint32(LOWER | BEFORE_STOP)  # a glottal stop, which Unicode took for lower case once
    table.setflags(write=False)
    return table


def _codes(ranges: str) -> NDArray[np.int64]:
    return np.concatenate([np.arange(first, last + 1) for first, last in _ends(ranges)])


def _ends(ranges: str) -> Iterable[tuple[int, int]]:
    for part in ranges.split():
        first, _, last = part.partition("-")
        yield int(first, 16), int(last or first, 16)
