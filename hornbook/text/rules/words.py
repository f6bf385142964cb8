"""Where words end, as spaCy's English tokenizer has it: the thresholds of Gopher, C4 and FineWeb are for its words.

What stands between white space is a chunk. Marks come off its ends, some in its middle divide it, and exceptions such
as contractions are looked up. All kernels here work on one chunk, given as code points with their kinds.
"""

# ruff: noqa: RUF001
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hornbook.text.kernel import inlined, kernel, signed
from hornbook.text.rules.characters import (
    ALPHA,
    BEFORE_STOP,
    DIGIT,
    ICON,
    INFIX,
    LETTER,
    LOWER,
    PREFIX,
    QUOTE,
    SUFFIX,
    UPPER,
    Kinds,
)
from hornbook.text.rules.exceptions import LONGEST, Cuts, Hashes

Codes = NDArray[np.int32]
Ends = NDArray[np.int32]

BASIS, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
DOT, ELLIPSIS, APOSTROPHE, CURLY = ord("."), ord("…"), ord("'"), ord("’")
HYPHEN, PLUS, DEGREE, DASH = ord("-"), ord("+"), ord("°"), ord("—")


@inlined
def mixed(value: np.uint64) -> np.uint64:
    """A 64-bit value of which every bit depends on every bit of another (the finalizer of MurmurHash3)."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@inlined
def hash_codes(codes: Codes, start: int, end: int) -> np.uint64:
    """FNV-1a over code points, mixed."""
    value = BASIS
    for at in range(start, end):
        value = (value ^ np.uint64(codes[at])) * PRIME
    return mixed(value)


@inlined
def find(codes: Codes, start: int, end: int, listed: Hashes) -> int:
    """The place of a word in a hash table, or -1."""
    if end - start > LONGEST or end <= start:
        return -1
    return place_of(hash_codes(codes, start, end), listed)


@inlined
def place_of(value: np.uint64, listed: Hashes) -> int:
    """The place of a value in a hash table, or -1."""
    last = np.uint64(len(listed) - 1)
    place = value & last
    while listed[place]:
        if listed[place] == value:
            return signed(place)
        place = (place + np.uint64(1)) & last
    return -1


@inlined
def dots(codes: Codes, start: int, end: int) -> int:
    """How many full stops follow each other."""
    at = start
    while at < end and codes[at] == DOT:
        at += 1
    return at - start


@inlined
def prefix(codes: Codes, kinds: Kinds, start: int, end: int) -> int:
    """How many characters come off the start."""
    code = codes[start]
    if kinds[start] & PREFIX:
        return 1
    if code == DOT:
        run = dots(codes, start, end)
        return run if run > 1 else 0
    if code == PLUS:
        return 0 if start + 1 < end and kinds[start + 1] & DIGIT else 1
    if start + 1 < end and codes[start + 1] == ord("$") and code in (ord("C"), ord("A")):
        return 2
    if start + 2 < end and code == ord("U") and codes[start + 1] == ord("S") and codes[start + 2] == ord("$"):
        return 3
    return 0


@inlined
def suffix(codes: Codes, kinds: Kinds, start: int, end: int, units: Hashes, digits: bool) -> int:
    """How many characters come off the end: the most that any rule takes. Units come only off `digits`."""
    if end <= start:
        return 0
    last = codes[end - 1]
    if last == DOT:
        return _stops(codes, kinds, start, end)
    taken = unit(codes, kinds, start, end, units) if digits else 0
    if kinds[end - 1] & SUFFIX:
        taken = max(taken, 1)
    if end - start >= 2:
        before = codes[end - 2]
        if last in (ord("s"), ord("S")) and before in (APOSTROPHE, CURLY):
            taken = max(taken, 2)
        if last == ELLIPSIS and before == ELLIPSIS:
            taken = max(taken, 2)
        if last == PLUS and kinds[end - 2] & DIGIT:
            taken = max(taken, 1)
    return taken


@inlined
def _stops(codes: Codes, kinds: Kinds, start: int, end: int) -> int:
    """Full stops that come off the end: two or more always, a single one after most characters."""
    at = end
    while at > start and codes[at - 1] == DOT:
        at -= 1
    if end - at > 1:
        return end - at
    if at > start and kinds[at - 1] & BEFORE_STOP:
        return 1
    if at - start >= 2:
        if kinds[at - 1] & UPPER and kinds[at - 2] & UPPER:
            return 1
        if codes[at - 2] == DEGREE and codes[at - 1] in (ord("F"), ord("C"), ord("K")):
            return 1
    return 0


@kernel
def unit(codes: Codes, kinds: Kinds, start: int, end: int, units: Hashes) -> int:
    """Length of a unit or currency that follows a digit."""
    at = end - 1
    while at >= start and end - at <= LONGEST:
        if kinds[at] & DIGIT:
            return end - at - 1 if find(codes, at + 1, end, units) >= 0 else 0
        at -= 1
    return 0


@inlined
def infix(codes: Codes, kinds: Kinds, at: int, start: int, end: int) -> int:
    """How many characters from `at`, which is an INFIX, divide a word, or 0."""
    code = codes[at]
    if code == ELLIPSIS or kinds[at] & ICON:
        return 1
    if code == DOT:
        run = dots(codes, at, end)
        if run > 1:
            return run
    if at == start or at + 1 >= end:
        return 0
    before, after = kinds[at - 1], kinds[at + 1]
    if code == DOT:
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    if code == ord(","):
        return 1 if before & ALPHA and after & ALPHA else 0
    after_number = before & DIGIT and (after & DIGIT or codes[at + 1] == HYPHEN)
    if after_number and code in (PLUS, HYPHEN, ord("*"), ord("^")):
        return 1
    if not before & (ALPHA | DIGIT):
        return 0
    if code in (ord(":"), ord("<"), ord(">"), ord("="), ord("/")):
        return 1 if after & ALPHA else 0
    return _hyphens(codes, kinds, at, end)


@kernel
def _hyphens(codes: Codes, kinds: Kinds, at: int, end: int) -> int:
    """Length of a hyphen or dash before a letter: up to three hyphens, two long dashes, one of the others."""
    code, run = codes[at], 1
    most = 3 if code == HYPHEN else 2 if code == DASH else 1
    if code not in (HYPHEN, DASH, ord("–"), ord("~")):
        return 0
    while run < most and at + run < end and codes[at + run] == code:
        run += 1
    return run if at + run < end and kinds[at + run] & ALPHA else 0


@kernel
def address(codes: Codes, kinds: Kinds, start: int, end: int) -> bool:
    """Whether this looks like a URL or an e-mail address, which nothing divides."""
    scheme = start
    while scheme < end and (kinds[scheme] & (LETTER | DIGIT) or _in_scheme(codes[scheme])):
        scheme += 1
    named = scheme - start >= 2 and scheme + 2 < end and codes[scheme] == ord(":")
    named = named and codes[scheme + 1] == ord("/") and codes[scheme + 2] == ord("/")
    if named and host(codes, kinds, scheme + 3, end):
        return True
    if host(codes, kinds, start, end):
        return True
    found = False
    for at in range(start + 1, end):
        found = found or (codes[at] == ord("@") and host(codes, kinds, at + 1, end))
    return found


@kernel
def _in_scheme(code: int) -> bool:
    return code == ord("+") or code == ord("-") or code == ord(".") or code == ord("_")


@kernel
def _in_host(code: int) -> bool:
    letter = ord("a") <= code | 32 <= ord("z") and code < 128
    return letter or ord("0") <= code <= ord("9") or 0xA1 <= code <= 0xFFFF


@kernel
def host(codes: Codes, kinds: Kinds, start: int, end: int) -> bool:
    """Labels with full stops between them, the last of lower-case letters; then perhaps a port and a path."""
    label, at = start, start
    while at < end:
        code = codes[at]
        if code == DOT:
            if at == label or at - label > 64 or not _in_host(codes[label]) or not _in_host(codes[at - 1]):
                return False
            label = at + 1
        elif not (_in_host(code) or code == HYPHEN or code == ord("_")):
            break
        at += 1
    if label == start or not 2 <= at - label <= 63:
        return False
    for place in range(label, at):
        if not kinds[place] & LOWER:
            return False
    if at < end and codes[at] == ord(":"):
        port = at + 1
        while port < end and kinds[port] & DIGIT:
            port += 1
        if not 2 <= port - at - 1 <= 5:
            return False
        at = port
    return at == end or codes[at] == ord("/") or codes[at] == ord("?") or codes[at] == ord("#")


@inlined
def divide(
    codes: Codes, kinds: Kinds, size: int, listed: Hashes, cuts: Cuts, units: Hashes, ends: Ends, tails: Ends
) -> int:
    """Fill in where each word of a chunk ends; returns how many there are. `tails` is room for as many."""
    start, end, count, tail = 0, size, 0, 0
    row = find(codes, start, end, listed)
    seen = union(kinds, size)
    if row < 0 and not seen & (PREFIX | SUFFIX | INFIX | DIGIT):  # no rule is about anything else
        ends[0] = size
        return 1
    while start < end and row < 0:
        front = prefix(codes, kinds, start, end)
        if front:
            row = find(codes, start + front, end, listed)
            if row >= 0:
                start = _put(ends, count, start + front)
                count += 1
                break
        back = suffix(codes, kinds, start + front, end, units, (seen & DIGIT) != 0)
        if back:
            row = find(codes, start, end - back, listed)
            if row >= 0:
                end = _put(tails, tail, end - back)
                tail += 1
                break
        if not front and not back:
            break
        if front:
            start = _put(ends, count, start + front)
            count += 1
        if back:
            end = _put(tails, tail, end - back)
            tail += 1
        if front and back:
            row = find(codes, start, end, listed)
    if start < end and row >= 0:
        count = _exception(start, end, row, cuts, ends, count)
    elif start < end:
        count = _middle(codes, kinds, start, end, ends, count)
    while tail > 0:
        tail -= 1
        ends[count] = tails[tail - 1] if tail else size
        count += 1
    return _joined(codes, count, listed, cuts, ends, tails)


@inlined
def union(kinds: Kinds, size: int) -> np.uint32:
    """All kinds of a chunk's characters."""
    seen = np.uint32(0)
    for at in range(size):
        seen |= kinds[at]
    return seen


@inlined
def _put(places: Ends, at: int, place: int) -> int:
    places[at] = place
    return signed(place)


@inlined
def _exception(start: int, end: int, row: int, cuts: Cuts, ends: Ends, count: int) -> int:
    for column in range(2):
        if cuts[row, column]:
            ends[count] = start + cuts[row, column]
            count += 1
    ends[count] = end
    return count + 1


@inlined
def _middle(codes: Codes, kinds: Kinds, start: int, end: int, ends: Ends, count: int) -> int:
    """The words of what is left when the marks at both ends are off."""
    asked, done, at = False, start, start
    while at < end:
        width = infix(codes, kinds, at, start, end) if kinds[at] & INFIX else 0
        if width and at > start:
            if not asked and address(codes, kinds, start, end):
                break
            asked = True
            if at > done:
                ends[count] = at
                count += 1
            ends[count] = done = at + width
            count += 1
        at += max(width, 1)
    if done < end:
        ends[count] = end
        count += 1
    return count


@inlined
def _joined(codes: Codes, count: int, listed: Hashes, cuts: Cuts, ends: Ends, old: Ends) -> int:
    """Exceptions whose parts came apart among others, such as `8)`, are put together again."""
    if count < 3:
        return count
    for at in range(count):
        old[at] = ends[at]
    at, start, made = 0, 0, 0
    while at < count:
        last = at
        while last + 1 < count and old[last + 1] - start <= LONGEST:
            last += 1
        row = -1
        while last > at and row < 0:
            row = find(codes, start, signed(old[last]), listed)
            last -= 0 if row >= 0 else 1
        if row >= 0:
            made = _exception(start, signed(old[last]), row, cuts, ends, made)
        else:
            ends[made] = old[at]
            made += 1
        start, at = signed(old[last]), last + 1
    return made
