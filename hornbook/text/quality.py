"""Quality rules. Each is a filter: `(document, *, options) -> reason | None`, and its reason begins with its name.

Sources: Gopher (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1 and table A1) and C4 (Raffel et al. 2020,
arXiv 1910.10683, section 2.2). Words are what stands between white space.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from resiliparse.parse.lang import detect_fast

from hornbook.errors import UsageError
from hornbook.text.document import Document

Filter = Callable[[Document], str | None]

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
ELLIPSES = ("...", "…")
BULLETS = ("•", "‣", "▶", "●", "◦", "■", "□", "▪", "▫", "\u2013", "*", "-")
TERMINAL = (".", "?", "!", '"', "”", "'", "\u2019")


@lru_cache(maxsize=1)
def words(text: str) -> list[str]:
    """The words of a text; several rules ask for those of the same text in turn."""
    return text.split()


@lru_cache(maxsize=1)
def lines(text: str) -> list[str]:
    """The lines of a text that hold more than white space, without the white space around them."""
    return [line for line in map(str.strip, text.split("\n")) if line]


def language(document: Document, *, languages: tuple[str, ...] = ("en",), cutoff: int = 1200) -> str | None:
    """One of `languages` (ISO 639-1), as resiliparse's detect_fast finds it with a rank of at most `cutoff`."""
    found, rank = detect_fast(document.text, cutoff=cutoff)
    return None if found in languages else f"language: {found} (rank {rank}), not {' or '.join(languages)}"


def gopher_length(document: Document, *, min_words: int = 50, max_words: int = 100_000) -> str | None:
    """Between `min_words` and `max_words` words."""
    count = len(words(document.text))
    if count < min_words:
        return f"gopher_length: {count:,} words, fewer than {min_words:,}"
    return f"gopher_length: {count:,} words, more than {max_words:,}" if count > max_words else None


def gopher_word_length(document: Document, *, min_mean: float = 3.0, max_mean: float = 10.0) -> str | None:
    """A mean word length between `min_mean` and `max_mean` characters."""
    found = words(document.text)
    mean = sum(map(len, found)) / len(found) if found else 0.0
    if min_mean <= mean <= max_mean:
        return None
    return f"gopher_word_length: {mean:.1f} characters a word, not {min_mean:g} to {max_mean:g}"


def gopher_symbols(document: Document, *, max_ratio: float = 0.1) -> str | None:
    """At most `max_ratio` number signs, and as many ellipses, per word."""
    count = len(words(document.text)) or 1
    for name, symbols in (("#", ("#",)), ("...", ELLIPSES)):
        ratio = sum(document.text.count(symbol) for symbol in symbols) / count
        if ratio > max_ratio:
            return f"gopher_symbols: {ratio:.2f} {name} a word, more than {max_ratio:g}"
    return None


def gopher_bullets(document: Document, *, max_share: float = 0.9) -> str | None:
    """At most `max_share` of the lines start with a bullet."""
    what = "of the lines start with a bullet"
    return _share("gopher_bullets", lines(document.text), lambda line: line.startswith(BULLETS), what, most=max_share)


def gopher_ellipses(document: Document, *, max_share: float = 0.3) -> str | None:
    """At most `max_share` of the lines end with an ellipsis."""
    what = "of the lines end with an ellipsis"
    return _share("gopher_ellipses", lines(document.text), lambda line: line.endswith(ELLIPSES), what, most=max_share)


def gopher_alphabetic(document: Document, *, min_share: float = 0.8) -> str | None:
    """At least `min_share` of the words hold a letter."""
    found = words(document.text)
    return _share("gopher_alphabetic", found, _has_letter, "of the words hold a letter", least=min_share)


def gopher_stop_words(
    document: Document, *, min_count: int = 2, stop_words: tuple[str, ...] = STOP_WORDS
) -> str | None:
    """At least `min_count` occurrences of English stop words."""
    count = sum(map(set(stop_words).__contains__, document.text.lower().split()))
    return f"gopher_stop_words: {count} of them, fewer than {min_count}" if count < min_count else None


def gopher_repeated_lines(document: Document, *, max_share: float = 0.3, max_characters: float = 0.2) -> str | None:
    """At most `max_share` of the lines repeat an earlier one, with at most `max_characters` of the characters."""
    return _repeated("gopher_repeated_lines", lines(document.text), "lines", max_share, max_characters)


def gopher_repeated_paragraphs(
    document: Document, *, max_share: float = 0.3, max_characters: float = 0.2
) -> str | None:
    """The same for paragraphs, which empty lines divide."""
    paragraphs = [part for part in map(str.strip, re.split(r"\n{2,}", document.text)) if part]
    return _repeated("gopher_repeated_paragraphs", paragraphs, "paragraphs", max_share, max_characters)


def gopher_top_ngrams(document: Document, *, two: float = 0.2, three: float = 0.18, four: float = 0.16) -> str | None:
    """The most frequent 2-, 3- and 4-gram of words covers at most these shares of the characters."""
    found = words(document.text)
    total = sum(map(len, found)) or 1
    for n, most in ((2, two), (3, three), (4, four)):
        ngrams = Counter(zip(*(found[i:] for i in range(n)), strict=False))
        if not ngrams:
            return None
        gram, count = ngrams.most_common(1)[0]
        share = count * sum(map(len, gram)) / total
        if count > 1 and share > most:
            return f"gopher_top_ngrams: {share:.2f} of the text is {' '.join(gram)[:60]!r}, more than {most:g}"
    return None


def gopher_repeated_ngrams(document: Document, *, five: float = 0.15, ten: float = 0.1) -> str | None:
    """Repeated n-grams of words cover at most these shares of the characters: `five` for n = 5, down to `ten`."""
    found = words(document.text)
    total = sum(map(len, found)) or 1
    for n in range(5, 11):
        most = five + (ten - five) * (n - 5) / 5
        share = _covered(found, n) / total
        if share > most:
            return f"gopher_repeated_ngrams: {share:.2f} of the text is in repeated {n}-grams, more than {most:.2g}"
        if share == 0:
            return None  # no repeated n-gram, so none that is longer
    return None


def c4_terminal_punctuation(document: Document, *, min_share: float = 0.5) -> str | None:
    """At least `min_share` of the lines end like a sentence. (C4 drops the other lines; rules here never rewrite.)"""
    parts, what = lines(document.text), "of the lines end like a sentence"
    return _share("c4_terminal_punctuation", parts, lambda line: line.endswith(TERMINAL), what, least=min_share)


def c4_sentences(document: Document, *, min_sentences: int = 3) -> str | None:
    """At least `min_sentences` sentences."""
    count = len(re.findall(r"[.!?][\"'”\u2019)]*(?:\s|$)", document.text))
    return f"c4_sentences: {count}, fewer than {min_sentences}" if count < min_sentences else None


def c4_lorem_ipsum(document: Document) -> str | None:
    """No placeholder text."""
    return "c4_lorem_ipsum: holds 'lorem ipsum'" if "lorem ipsum" in document.text.lower() else None


def c4_curly_bracket(document: Document) -> str | None:
    """No curly bracket, which prose does not have and code does."""
    return "c4_curly_bracket: holds '{'" if "{" in document.text else None


def c4_javascript(document: Document, *, max_lines: int = 0) -> str | None:
    """At most `max_lines` lines that speak of JavaScript. (C4 drops these lines.)"""
    count = sum("javascript" in line.lower() for line in lines(document.text))
    return f"c4_javascript: {count} lines speak of JavaScript, more than {max_lines}" if count > max_lines else None


def c4_policy(document: Document, *, max_lines: int = 3) -> str | None:
    """At most `max_lines` lines that speak of terms of use, privacy or cookies. (C4 drops these lines.)"""
    phrases = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
    count = sum(any(phrase in line.lower() for phrase in phrases) for line in lines(document.text))
    what = "lines speak of terms, privacy or cookies"
    return f"c4_policy: {count} {what}, more than {max_lines}" if count > max_lines else None


FILTERS: tuple[Callable[..., str | None], ...] = (
    language,
    gopher_length,
    gopher_word_length,
    gopher_symbols,
    gopher_bullets,
    gopher_ellipses,
    gopher_alphabetic,
    gopher_stop_words,
    gopher_repeated_lines,
    gopher_repeated_paragraphs,
    gopher_top_ngrams,
    gopher_repeated_ngrams,
    c4_terminal_punctuation,
    c4_sentences,
    c4_lorem_ipsum,
    c4_curly_bracket,
    c4_javascript,
    c4_policy,
)


def chosen(table: Mapping[str, Mapping[str, Any]]) -> list[Filter]:
    """The filters that a table names, with its options, in its order.

    Raises:
        UsageError: no such filter, no such option, or an option of the wrong type.
    """
    known = {function.__name__: function for function in FILTERS}
    filters: list[Filter] = []
    for name, options in table.items():
        if name not in known:
            raise UsageError(f'there is no filter "{name}"', hint=f"there are: {', '.join(known)}")
        filters.append(partial(known[name], **checked(f"filter {name}", known[name], options)))
    return filters


def checked(name: str, function: Callable[..., object], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a function's keyword-only parameters take them.

    Raises:
        UsageError: it has no such option, or the value is of another type than the default.
    """
    signature = inspect.signature(function).parameters.items()
    parameters = {key: one for key, one in signature if one.kind is one.KEYWORD_ONLY}
    fitting = {}
    for key, value in options.items():
        if key not in parameters:
            raise UsageError(f'{name} has no option "{key}"', hint=f"its options: {', '.join(parameters) or 'none'}")
        default = parameters[key].default
        fitting[key] = _fit(value, default)
        if type(fitting[key]) is not type(default):
            raise UsageError(f"{name}: {key} is {value!r}", hint=f"it should be like {default!r}")
    return fitting


def _fit(value: object, default: object) -> object:
    """A value from a recipe, or a text from the command line, as the default's type where that is possible."""
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(default, int | float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return type(default)(value) if isinstance(value, str) or isinstance(default, float) else value
        except ValueError:
            return value
    return value


def _share(
    rule: str, parts: Sequence[str], test: Callable[[str], bool], what: str, *, most: float = 1.0, least: float = 0.0
) -> str | None:
    share = sum(map(test, parts)) / len(parts) if parts else 0.0
    if share > most:
        return f"{rule}: {share:.2f} {what}, more than {most:g}"
    return f"{rule}: {share:.2f} {what}, less than {least:g}" if share < least else None


def _has_letter(word: str) -> bool:
    return word.isalpha() or any(map(str.isalpha, word))


def _repeated(rule: str, parts: Sequence[str], what: str, most: float, most_characters: float) -> str | None:
    repeated = list(_repeats(parts))
    share = len(repeated) / len(parts) if parts else 0.0
    if share > most:
        return f"{rule}: {share:.2f} of the {what} repeat another, more than {most:g}"
    share = sum(map(len, repeated)) / (sum(map(len, parts)) or 1)
    if share > most_characters:
        return f"{rule}: {share:.2f} of the characters are in repeated {what}, more than {most_characters:g}"
    return None


def _repeats(parts: Iterable[str]) -> Iterable[str]:
    seen: set[str] = set()
    for part in parts:
        if part in seen:
            yield part
        seen.add(part)


def _covered(found: Sequence[str], n: int) -> int:
    """Characters of words that lie in an n-gram seen before, each word once (as Gopher's rule counts them)."""
    seen: set[tuple[str, ...]] = set()
    covered, until = 0, 0
    for at, gram in enumerate(zip(*(found[i:] for i in range(n)), strict=False)):
        if gram in seen:
            covered += sum(map(len, found[max(at, until) : at + n]))
            until = at + n
        seen.add(gram)
    return covered
