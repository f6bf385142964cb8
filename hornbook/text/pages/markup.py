"""The markup of a page: names and attributes of tags, comments, and text that is no markup (HTML standard, 13.2.5).

Pages end with PADDING bytes that are none of theirs, since kernels look ahead.
"""

from __future__ import annotations

import numpy as np

from hornbook.text.kernel import inlined, kernel
from hornbook.text.pages.vocabulary import (
    EXACT,
    GAPS,
    HIDDEN,
    HINT_BITS,
    HINT_KEYS,
    HINT_VALUES,
    RAWS,
    SPEAKS,
    TAG_BITS,
    TAG_KEYS,
    TAG_META,
    TAG_TITLE,
    TAG_VALUES,
    Bytes,
    Code,
    Codes,
    Numbers,
    flags,
    packed,
)

PADDING = 16
PRIME = 0x100000001B3
BREAKS = flags(
    "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing menu meta "
    "nobr ol p pre ruby s small span strong strike table tt u ul"
)
"""Tags that end an `svg` or `math` which was left open (HTML standard, 13.2.6.5)."""
SCRIPT, TEMPLATE, FOREIGN, DESC = (packed(name) for name in ("script", "template", "foreignobject", "desc"))
CANONICAL, LICENSE, DATE, PUBLISHED, CREATED = (
    np.frombuffer(word, np.uint8) for word in (b"canonical", b"license", b"date", b"publ", b"created")
)


@kernel
def find(keys: Codes, values: Numbers, bits: int, code: Code) -> Code:
    """The value of a code in a table of `vocabulary`, or -1."""
    size = len(keys)
    at = np.int64((np.uint64(code) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))
    while keys[at] != 0:
        if keys[at] == code:
            return values[at]
        at = (at + 1) % size
    return np.int64(-1)


@inlined
def is_letter(byte: int) -> bool:
    """Whether a byte is an ASCII letter, with which the name of a tag begins."""
    return 97 <= (byte | 32) <= 122


@kernel
def tag_name(html: Bytes, at: int) -> tuple[Code, int]:
    """The first eight bytes of a tag's name as a number, and where it ends."""
    code, taken = np.uint64(0), 0
    while True:
        byte = html[at]
        if byte == 62 or byte <= 32 or byte == 47:
            break
        if taken < 8:
            byte = byte | np.uint8(32) if 65 <= byte <= 90 else byte
            code = code << np.uint64(8) | np.uint64(byte)
            taken += 1
        at += 1
    return code, at


@kernel
def hints_of(html: Bytes, at: int, end: int, keys: Codes, values: Numbers) -> Code:
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
                value = find(keys, values, HINT_BITS, code)
                if value >= 0:
                    hit = value
                elif hit & EXACT and hit >= 0:
                    hit = np.int64(-1)
        elif letter and hit >= 0 and hit & EXACT:
            hit = np.int64(-1)
    return found


@kernel
def attributes(html: Bytes, at: int, tag: int) -> tuple[int, Code, Code, int]:
    """Where a tag ends, what `_hints` finds in its attributes, a hash of its class, and how many attributes it has."""
    n, count = len(html) - PADDING, 0
    hints, classes = np.uint64(0), np.uint64(0)
    while at < n and html[at] != 62:
        if html[at] <= 32 or html[at] == 47:
            at += 1
            continue
        start = at
        at += 1
        while html[at] > 32 and html[at] != 61 and html[at] != 47 and html[at] != 62:
            at += 1
        length = at - start
        value, end, at = _value(html, at, n)
        count += 1
        hints |= _said(html, start, length, value, end, tag)
        if length == 5 and html[start + 1] | 32 == 108 and html[start] | 32 == 99:  # class
            for place in range(value, end):
                classes = (classes ^ np.uint64(html[place])) * np.uint64(PRIME)
    return min(at + 1, n), hints, classes, count


@inlined
def _value(html: Bytes, at: int, n: int) -> tuple[int, int, int]:
    """Where the value of an attribute begins and ends, and where what follows it does."""
    while at < n and html[at] <= 32:
        at += 1
    if html[at] != 61:
        return at, at, at
    at += 1
    while at < n and html[at] <= 32:
        at += 1
    quote = html[at]
    if quote == 34 or quote == 39:
        value = at + 1
        at = value
        while at < n and html[at] != quote:
            at += 1
        return value, at, at + 1
    value = at
    while at < n and html[at] > 32 and html[at] != 62:
        at += 1
    return value, at, at


@inlined
def _said(html: Bytes, start: int, length: int, value: int, end: int, tag: int) -> Code:
    """The hints of a class, id, role or itemprop; whether it is hidden; whether the page speaks of itself."""
    none, name = np.uint64(0), html[start] | 32
    second = html[start + 1] | 32
    if tag == TAG_META:
        if length == 8 and (name == 112 or name == 105):  # property, itemprop
            return np.uint64(SPEAKS) if _is_date(html, value, end) else none
        return np.uint64(SPEAKS) if length == 4 and name == 110 else none  # name
    if name == 99 and length == 5 and second == 108:  # class
        return hints_of(html, value, end, HINT_KEYS, HINT_VALUES)
    if (name == 105 and (length == 2 or length == 8)) or (name == 114 and length == 4):  # id, itemprop, role
        return hints_of(html, value, end, HINT_KEYS, HINT_VALUES)
    if name == 114 and length == 3 and second == 101:  # rel
        return np.uint64(SPEAKS) if _is_of_page(html, value, end) else none
    if name == 104 and length == 6 and second == 105:  # hidden
        return np.uint64(HIDDEN)
    if name == 115 and length == 5 and second == 116:  # style
        return np.uint64(HIDDEN) if _hides(html, value, end) else none
    if name == 97 and length == 11 and html[start + 5] | 32 == 104 and end - value == 4:  # aria-hidden="true"
        return np.uint64(HIDDEN)
    return none


@inlined
def _is_date(html: Bytes, at: int, end: int) -> bool:
    return holds(html, at, end, DATE) or holds(html, at, end, PUBLISHED) or holds(html, at, end, CREATED)


@inlined
def _is_of_page(html: Bytes, at: int, end: int) -> bool:
    return holds(html, at, end, CANONICAL) or holds(html, at, end, LICENSE)


@kernel
def holds(html: Bytes, at: int, end: int, word: Bytes) -> bool:
    """Whether a value has a word in it, in letters of either case."""
    for place in range(at, end - len(word) + 1):
        length = 0
        while length < len(word) and html[place + length] | 32 == word[length]:
            length += 1
        if length == len(word):
            return True
    return False


@kernel
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


@kernel
def after_comment(html: Bytes, at: int) -> int:
    """The place behind a comment, or whatever else begins with `<!`, `<?` or `</` and is no tag."""
    n = len(html) - PADDING
    if html[at + 1] != 33 or html[at + 2] != 45 or html[at + 3] != 45:
        while at < n and html[at] != 62:
            at += 1
        return min(at + 1, n)
    at += 4
    if html[at] == 62:
        return at + 1
    if html[at] == 45 and html[at + 1] == 62:
        return at + 2
    while at < n:
        if html[at] == 45 and html[at + 1] == 45:
            if html[at + 2] == 62:
                return at + 3
            if html[at + 2] == 33 and html[at + 3] == 62:
                return at + 4
        at += 1
    return n


@kernel
def raw_text_end(html: Bytes, at: int, code: Code) -> int:
    """Where the end tag of a script or the like begins. A script within a comment within a script is part of it."""
    n, commented, nested = len(html) - PADDING, False, False
    while at < n:
        if html[at] == 60:
            if html[at + 1] == 47:
                if tag_name(html, at + 2)[0] == code:
                    if not nested:
                        return at
                    nested = False
            elif html[at + 1] == 33:
                commented |= html[at + 2] == 45 and html[at + 3] == 45
            elif commented and code == SCRIPT and tag_name(html, at + 1)[0] == code:
                nested = True
        elif commented and html[at] == 45 and html[at + 1] == 45 and html[at + 2] == 62:
            commented = nested = False
        at += 1
    return n


@kernel
def after_tag(html: Bytes, at: int) -> int:
    """The place behind a tag whose name ends at `at`."""
    n, quote = len(html) - PADDING, 0
    while at < n and (quote or html[at] != 62):
        if quote:
            quote = 0 if html[at] == quote else quote
        elif (html[at] == 34 or html[at] == 39) and html[at - 1] == 61:
            quote = html[at]
        at += 1
    return min(at + 1, n)


@kernel
def after_apart(html: Bytes, at: int, code: Code, made: bool) -> int:
    """The place behind a `template`, `svg` or `math`, past others within it; -1 where it ends in another way."""
    n, depth, within = len(html) - PADDING, 1, 0
    while at < n:
        if html[at] != 60:
            at += 1
            continue
        closing = html[at + 1] == 47
        if not is_letter(html[at + 1 + closing]):
            at = after_comment(html, at) if html[at + 1] == 33 else at + 1
            continue
        found, end = tag_name(html, at + 1 + closing)
        at = after_tag(html, end)
        tag = max(find(TAG_KEYS, TAG_VALUES, TAG_BITS, found), 0)
        opens = not closing and (code == TEMPLATE or html[at - 2] != 47)
        if found == code:
            depth += 1 if opens else -1 if closing else 0
            if depth == 0:
                return at
        elif code == TEMPLATE:
            at = raw_text_end(html, at, found) if opens and RAWS[tag] else at
        elif found in (FOREIGN, DESC) or tag == TAG_TITLE:
            within += 1 if opens else -1 if closing else 0
        elif not made and within <= 0 and (BREAKS[tag] or (closing and GAPS[tag])):
            return -1
    return n if made else -1
