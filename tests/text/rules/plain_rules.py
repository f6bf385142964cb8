"""The statistics of the quality rules once more, in plain Python, to hold the kernels against."""

# ruff: noqa: RUF001
from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import groupby

import numpy as np

from hornbook.text.rules import characters
from hornbook.text.rules import exceptions as listed
from hornbook.text.rules.characters import CURRENCY, ELLIPSIS, MARKS, QUOTES, kinds
from hornbook.text.rules.counts import Statistics
from hornbook.text.rules.exceptions import UNITS
from hornbook.text.rules.statistics import STOP_WORDS

CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
SYLLABLE = "A-Za-z0-9\u00a1-\uffff"


exceptions = cache(listed.exceptions)


def kind(character: str) -> int:
    return int(kinds()[ord(character)]) if ord(character) < characters.SIZE else 0


@cache
def letters(*bits: int) -> str:
    """The inside of a character class: all characters of one of these kinds."""
    codes = np.flatnonzero(kinds() & sum(bits))
    runs = [[code for _, code in run] for _, run in groupby(enumerate(codes.tolist()), lambda pair: pair[1] - pair[0])]
    return "".join(f"\\U{run[0]:08x}-\\U{run[-1]:08x}" for run in runs)


@cache
def patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    lower, upper = letters(characters.LOWER), letters(characters.UPPER)
    alpha, icon = letters(characters.ALPHA), letters(characters.ICON)
    single, quotes = re.escape(MARKS + QUOTES + ELLIPSIS), re.escape(QUOTES)
    units = "|".join(map(re.escape, (*UNITS.split(), *CURRENCY)))
    before = lower + "0-9" + re.escape("%²-+|" + MARKS + QUOTES + ELLIPSIS)
    prefix = rf"[§%=—–{single}{re.escape(CURRENCY)}{icon}]|\+(?![0-9])|\.\.+|US\$|C\$|A\$"
    suffix = (
        rf"(?:[—–{single}{icon}]|……|\.\.+|['’][sS]|(?<=[0-9])\+|(?<=°[FfCcKk])\.|(?<=[0-9])(?:{units})"
        rf"|(?<=[{before}])\.|(?<=[{upper}][{upper}])\.)\Z"
    )
    infix = (
        rf"\.\.+|…|[{icon}]|(?<=[0-9])[+\-*^](?=[0-9-])|(?<=[{lower}{quotes}])\.(?=[{upper}{quotes}])"
        rf"|(?<=[{alpha}]),(?=[{alpha}])|(?<=[{alpha}0-9])(?:-|–|—|--|---|——|~)(?=[{alpha}])"
        rf"|(?<=[{alpha}0-9])[:<>=/](?=[{alpha}])"
    )
    host = (
        rf"(?:(?:[{SYLLABLE}][{SYLLABLE}_-]{{0,62}})?[{SYLLABLE}]\.)+[{lower}]{{2,63}}(?::\d{{2,5}})?(?:[/?#]\S*)?\Z"
    )
    address = rf"(?:[{letters(characters.LETTER)}0-9+\-._]{{2,}}://)?(?:\S+@)?{host}"
    return re.compile(prefix), re.compile(suffix), re.compile(infix), re.compile(address, re.ASCII)


def words_of_chunk(chunk: str) -> list[str]:
    known, (prefix, suffix, infix, address) = exceptions(), patterns()
    first, last, left = list[str](), list[str](), chunk
    while left and left not in known:
        front = found[0] if (found := prefix.match(left)) else ""
        if front and left[len(front) :] in known:
            first, left = [*first, front], left[len(front) :]
            break
        back = found[0] if (found := suffix.search(left[len(front) :])) else ""
        if back and left[: -len(back)] in known:
            last, left = [back, *last], left[: -len(back)]
            break
        if not front and not back:
            break
        left = left[len(front) : len(left) - len(back)]
        first, last = [*first, *filter(None, [front])], [*filter(None, [back]), *last]
    if left in known:
        middle = list(known[left])
    elif not left or address.match(left):
        middle = [left]
    else:
        cuts = [place for found in infix.finditer(left) if found.start() for place in found.span()]
        middle = [left[start:end] for start, end in zip([0, *cuts], [*cuts, len(left)], strict=True)]
    words = [word for word in (*first, *middle, *last) if word]
    return joined(words) if len(words) > 2 else words


def joined(words: list[str]) -> list[str]:
    """Exceptions that came apart are put together again, the longest first."""
    for at in range(len(words)):
        for end in range(len(words), at + 1, -1):
            if (whole := "".join(words[at:end])) in exceptions():
                return [*words[:at], *exceptions()[whole], *joined(words[end:])]
    return words


def split(text: str) -> list[str]:
    return [word for chunk in text.split() for word in words_of_chunk(chunk)]


def sentences(row: str) -> int:
    """Stretches that end before a word that is not only marks, after a stop."""
    count, is_open = 1, False
    for token in re.findall(r"\s+|\S+", row):
        if token.isspace():
            count, is_open = (count, is_open) if token == " " else (count + is_open, False)
            continue
        for word in words_of_chunk(token):
            if len(word) == 1 and kind(word) & characters.STOP:
                is_open = True
            elif not all(kind(letter) & characters.MARK for letter in word):
                count, is_open = count + is_open, False
    return count


def repeats(parts: list[str]) -> tuple[int, int]:
    seen, again = set[str](), list[str]()
    for part in parts:
        (again.append if part in seen else seen.add)(part)
    return len(again), sum(map(len, again))


def top(words: list[str], n: int) -> int:
    grams = Counter(" ".join(words[at : at + n]) for at in range(len(words) - n + 1))
    return max(((len(gram) * times, times) for gram, times in grams.most_common(1)), default=(0, 0))[0]


def repeated(words: list[str], n: int) -> int:
    seen, characters_repeated, at = set[tuple[str, ...]](), 0, 0
    while at <= len(words) - n:
        gram = tuple(words[at : at + n])
        if gram in seen:
            characters_repeated += sum(map(len, gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return characters_repeated


def c4(text: str, terminal: bool) -> tuple[int, int, int, list[str]]:
    """Sentences, lorem-ipsum rows and curly rows, and the rows that are left."""
    count, lorem, curly, left = 0, 0, 0, list[str]()
    for row in map(str.strip, text.splitlines()):
        words, row = row.split(), CITATION.sub("", row)
        if len(words) < 3 or max(map(len, words)) > 1000:
            continue
        if terminal and (not row.endswith((".", "?", "!", '"', "'")) or row.endswith("...")):
            continue
        if "lorem ipsum" in row.lower():
            lorem += 1
        elif "javascript" in row.lower():
            continue
        elif "{" in row:
            curly += 1
        elif not any(phrase in row.lower() for phrase in POLICIES):
            count += sentences(row)
            left.append(row)
    return count, lorem, curly, left


def of_lines(lines: list[str], short: int) -> tuple[int, int, int, int]:
    stops = [line for line in lines if line and kind(line[-1]) & characters.TERMINAL]
    return len(lines), len(stops), sum(len(line) <= short for line in lines), repeats(lines)[1]


def statistics(text: str, short: int = 30) -> Statistics:
    words = split(text)
    plain = [word for word in words if not all(kind(letter) & characters.SYMBOL for letter in word)]
    rows = text.splitlines()
    filled = [row for row in map(str.strip, rows) if row]
    bare = [CITATION.sub("", row) for row in filled]
    ended = [row for row in bare if row.endswith((".", "?", "!", '"', "'")) and not row.endswith("...")]
    lines = re.split("\n+", text) if text else []
    paragraphs = re.split("\n{2,}", text.strip())
    kept, kept_all = c4(text, True), c4(text, False)
    left, left_all = kept[3], kept_all[3]
    return Statistics(
        len(text),
        text.count("\n"),
        len(words),
        len(plain),
        sum(map(len, plain)),
        sum(any(map(str.isalpha, word)) for word in words),
        len(set(STOP_WORDS) & set(words)),
        text.count("#"),
        text.count("...") + text.count("…"),
        sum(kind(letter) & characters.UNSPACED != 0 for letter in text),
        len(rows),
        sum(row.startswith(("•", "-")) for row in filled),
        sum(row.endswith(("...", "…")) for row in filled),
        len(filled),
        len(ended),
        sum("javascript" in row.lower() for row in bare),
        sum(any(phrase in row.lower() for phrase in POLICIES) for row in bare),
        *kept[:3],
        *kept_all[:3],
        *of_lines(left, short),
        sum(map(len, left)),
        len([word for row in left for word in split(row)]),
        *of_lines(left_all, short),
        sum(map(len, left_all)),
        len([word for row in left_all for word in split(row)]),
        len(lines),
        *repeats(lines),
        len(paragraphs),
        *repeats(paragraphs),
        *of_lines([line for line in text.split("\n") if line.strip()], short),
        *(top(words, n) for n in (2, 3, 4)),
        *(repeated(words, n) for n in range(5, 11)),
    )
