"""Personal data: found in linear time, checked by its check digits where it has some, then masked, tagged or a reason.

One pass over the bytes finds the few places that could hold personal data: an @, six digits near each other, three dots
between digits, an IPv6 group. Only there are the patterns of `identifiers` tried (RE2), so clean text costs little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import orjson
import re2
from numba import njit
from numpy.typing import NDArray

from hornbook.errors import UsageError
from hornbook.text.document import Document
from hornbook.text.identifiers import ANYWHERE, AT, COLON, DEFAULT, DIGITS, DOTS, KINDS, Find, Rule, compiled

__all__ = ["DEFAULT", "KINDS", "Span", "check_kinds", "find", "mask", "personal_data", "places", "tag"]

BEFORE, AFTER = 72, 48
"""Bytes around such a place that are looked at: 64 may stand before an @ (RFC 5321, 4.5.3.1), words of context too."""

AFTER_AT = 256
"""A domain has at most 255 bytes (RFC 5321, 4.5.3.1)."""

ROUNDS = 8
"""A mark sets apart what it stood beside, so a masked text is looked at again, but no text more often than this."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Span:
    """Where personal data is: characters `start` to `end` of the text."""

    start: int
    end: int
    kind: str


def check_kinds(names: Sequence[str]) -> None:
    """Raises UsageError where a name is none of KINDS."""
    for name in names:
        if name not in KINDS:
            raise UsageError(f'mask: there is no kind "{name}"', hint=f"there are: {', '.join(KINDS)}")


def mask(text: str, *, kinds: Sequence[str] = DEFAULT) -> tuple[str, Counter[str]]:
    """A text with personal data replaced by marks, and how many of each kind there were.

    Masking a masked text changes nothing.
    """
    data, counts = _encode(text), Counter[str]()
    for _ in range(ROUNDS):
        if not (found := _find(data, kinds)):
            break
        counts.update(kind for _, _, kind in found)
        data = _masked(data, found)
    return (data.decode("utf-8", "surrogatepass") if counts else text), counts


def find(text: str, *, kinds: Sequence[str] = DEFAULT) -> list[Span]:
    """Where a text has personal data, in the order of the text and without overlaps."""
    data, spans, at, character = _encode(text), list[Span](), 0, 0
    for start, end, kind in _find(data, kinds):
        first = character + _characters(data[at:start])
        at, character = end, first + _characters(data[start:end])
        spans.append(Span(first, character, kind))
    return spans


def tag(text: str, *, kinds: Sequence[str] = DEFAULT) -> str:
    """Spans as JSON, `[[12,30,"email"]]` as in Dolma's attributes, to be kept as metadata; "" where there are none."""
    spans = [(span.start, span.end, span.kind) for span in find(text, kinds=kinds)]
    return orjson.dumps(spans).decode() if spans else ""


def personal_data(document: Document, *, kinds: tuple[str, ...] = DEFAULT, max_count: int = 0) -> str | None:
    """At most `max_count` pieces of personal data of the given kinds."""
    counts = Counter(span.kind for span in find(document.text, kinds=kinds))
    if counts.total() <= max_count:
        return None
    return f"personal_data: {', '.join(f'{counts[kind]} {kind}' for kind in sorted(counts))}"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _characters(data: bytes) -> int:
    return len(data) if data.isascii() else len(data.decode("utf-8", "surrogatepass"))


def _masked(data: bytes, found: Sequence[tuple[int, int, str]]) -> bytes:
    parts, at = list[bytes](), 0
    for start, end, kind in found:
        parts += [data[at:start], KINDS[kind].mark.encode()]
        at = end
    return b"".join([*parts, data[at:]])


# -- finding --------------------------------------------------------------------------------------------------------


def _find(data: bytes, kinds: Sequence[str]) -> list[tuple[int, int, str]]:
    """Bytes `start` to `end` and kind of what is found, sorted; where two overlap, the first of KINDS has it."""
    look, found = _look(tuple(kinds)), list[tuple[int, int, str]]()
    for first, last, why in places(np.frombuffer(data, np.uint8)).tolist():
        worth = look.worth(data[max(0, first - 1) : last + 1], why)
        found += _without_overlaps(data, first, last, worth) if worth else []
    if look.anywhere and (worth := look.worth(data, ANYWHERE)):
        found += _without_overlaps(data, 0, len(data), worth, found)
    return sorted(found)


def _without_overlaps(
    data: bytes, first: int, last: int, rules: Sequence[tuple[str, Rule]], before: Sequence[tuple[int, int, str]] = ()
) -> list[tuple[int, int, str]]:
    """What the rules find between two bytes, beside what was found `before`, rule by rule."""
    found, taken = list[tuple[int, int, str]](), bytearray(last - first)
    for start, end, _ in before:
        taken[start - first : end - first] = b"x" * (end - start)
    for name, rule in rules:
        for start, end in _matches(data, first, last, rule):
            if not any(taken[start - first : end - first]):
                taken[start - first : end - first] = b"x" * (end - start)
                found.append((start, end, name))
    return sorted(found)


class _Look:
    """Which rules are worth trying on a piece of text: those whose pattern and words of context are in it.

    One look (RE2::Set) answers it for all rules together.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        options = re2.Options()
        options.max_mem = 64 * 2**20
        self.set = re2.Set.SearchSet(options)
        self.rules = [(name, rule) for name, kind in KINDS.items() if name in kinds for rule in kind.rules]
        self.needs = [self._add(rule) for _, rule in self.rules]
        self.anywhere = any(rule.near == ANYWHERE for _, rule in self.rules)
        self.known: dict[tuple[int, ...], list[tuple[str, Rule]]] = {}
        self.set.Compile()

    def _add(self, rule: Rule) -> set[int]:
        words = "|".join(filter(None, (rule.context, rule.label)))
        patterns = [rule.pattern, *([rf"(?i)(?:^|[^\pL])(?:{words})"] if words else [])]
        return {self.set.Add(pattern) for pattern in patterns}

    def worth(self, piece: bytes, why: int) -> list[tuple[str, Rule]]:
        """The rules, each with the name of its kind, that a piece with places of the kinds `why` is worth."""
        there = tuple(self.set.Match(piece) or ())
        key = (why, *there)
        if key not in self.known:
            chosen = zip(self.rules, self.needs, strict=True)
            self.known[key] = [named for named, needs in chosen if named[1].near & why and needs.issubset(there)]
        return self.known[key]


@lru_cache(maxsize=8)
def _look(kinds: tuple[str, ...]) -> _Look:
    return _Look(kinds)


def _matches(data: bytes, first: int, last: int, rule: Rule) -> Iterator[tuple[int, int]]:
    pattern, at, found = compiled(rule.pattern), first, 0
    while match := pattern.search(data, at, last):
        start, end = match.span()
        part = rule.part(_around(data, start, end, found)).encode()
        if part:
            found = start + len(part)
            yield start, found
        # A find that is none can hide one that begins at its second word.
        at = start + (len(part) or match[0].find(b" ", 1) + 1 or end - start)


def _around(data: bytes, start: int, end: int, found: int) -> Find:
    """A find and its surroundings, which end at < and >, where marks begin and end, and behind what was `found`."""
    before = data[max(found, start - 48) : start].replace(b"<", b">").rpartition(b">")[2]
    after = data[end : end + 12].replace(b">", b"<").partition(b"<")[0]
    return Find(*(part.decode("utf-8", "ignore") for part in (data[start:end], before, after)))


# -- places ---------------------------------------------------------------------------------------------------------

_OTHER, _DIGIT, _DOT, _AT, _COLON, _END = range(6)


def _signs() -> Bytes:
    signs = np.zeros(256, np.uint8)
    signs[ord("0") : ord("9") + 1] = _DIGIT
    signs[[ord("."), ord("@"), ord(":")]] = _DOT, _AT, _COLON
    signs[[ord(","), ord(";"), ord("$"), ord("%")]] = _END
    return signs


SIGNS = _signs()
FARTHEST = 3
"""Bytes from a digit to the next of the same number: in between is at most a bracket and a space."""


def places(data: Bytes) -> NDArray[np.int64]:
    """Places that could hold personal data: rows of first byte, last byte + 1 and what makes it one, in order."""
    return _places(data, SIGNS)


@njit(cache=True, nogil=True)
def _places(data: Bytes, signs: Bytes) -> NDArray[np.int64]:
    found = np.empty((len(data) // BEFORE + 1, 3), np.int64)
    count, last, digits, dots = 0, -FARTHEST - 1, 0, 0
    for at in range(len(data)):
        sign = signs[data[at]]
        if sign == _OTHER:
            continue
        end, why = at + 1 + AFTER, 0
        if sign == _DIGIT:
            if at - last > FARTHEST:
                digits, dots = 0, 0
            digits, last = digits + 1, at
            why = (DIGITS if digits >= 6 else 0) | (DOTS if dots >= 3 else 0)
        elif sign == _DOT:
            dots = dots + 1 if at - last == 1 else 0
        elif sign == _AT:
            why, end = AT, at + 1 + AFTER_AT
        elif sign == _END:
            last = -FARTHEST - 1
        elif at >= 4 and (data[at - 4] == 50 or data[at - 4] == 51) and signs[data[at - 3]] <= _DIGIT:
            why = COLON  # four signs behind a 2 or a 3: the first group of a global IPv6 address
        if why:
            first, end = max(0, at - BEFORE), min(end, len(data))
            if count and first <= found[count - 1, 1]:
                found[count - 1, 1] = max(end, found[count - 1, 1])
                found[count - 1, 2] |= why
            else:
                found[count, 0], found[count, 1], found[count, 2] = first, end, why
                count += 1
    return found[:count]
