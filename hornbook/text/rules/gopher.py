"""The quality and repetition rules of Gopher (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1 and table A1).

Words are spaCy's, shares of characters are of the whole text, as in datatrove 0.10, whose decisions these are. Where it
departs from the paper, so do they: a bullet is a point or a hyphen, stop words are different ones as they are written,
and the characters of an n-gram count with its spaces where it is the most frequent one, without where it repeats.
"""

from __future__ import annotations

from hornbook.text.rules.counts import Statistics
from hornbook.text.rules.statistics import STOP_WORDS

PER_WORD = 2
"""Letters that count as a word where a script puts no spaces between words: about what a word of Chinese has."""


def word_count(found: Statistics) -> int:
    """Words of a text for rules of length; of scripts without spaces, the letters by twos."""
    return max(found.plain_words, found.unspaced // PER_WORD)


def gopher_length(found: Statistics, *, min_words: int = 50, max_words: int = 100_000) -> str | None:
    """Between `min_words` and `max_words` words, not counting punctuation."""
    count = word_count(found)
    if count < min_words:
        return f"gopher_length: {count:,} words, fewer than {min_words:,}"
    return f"gopher_length: {count:,} words, more than {max_words:,}" if count > max_words else None


def gopher_word_length(found: Statistics, *, min_mean: float = 3.0, max_mean: float = 10.0) -> str | None:
    """A mean word length between `min_mean` and `max_mean` characters; any, for text mostly of unspaced scripts."""
    if 2 * found.unspaced > found.plain_characters:
        return None
    mean = found.plain_characters / found.plain_words if found.plain_words else 0.0
    if min_mean <= mean <= max_mean:
        return None
    return f"gopher_word_length: {mean:.1f} characters a word, not {min_mean:g} to {max_mean:g}"


def gopher_symbols(found: Statistics, *, max_ratio: float = 0.1) -> str | None:
    """At most `max_ratio` number signs, and as many ellipses, per word."""
    for name, count in (("#", found.number_signs), ("...", found.ellipses)):
        ratio = count / (found.words or 1)
        if ratio > max_ratio:
            return f"gopher_symbols: {ratio:.2f} {name} a word, more than {max_ratio:g}"
    return None


def gopher_bullets(found: Statistics, *, max_share: float = 0.9) -> str | None:
    """At most `max_share` of the lines start with a bullet or a hyphen."""
    share = found.bullet_rows / (found.rows or 1)
    if share > max_share:
        return f"gopher_bullets: {share:.2f} of the lines start with a bullet, more than {max_share:g}"
    return None


def gopher_ellipses(found: Statistics, *, max_share: float = 0.3) -> str | None:
    """At most `max_share` of the lines end with an ellipsis."""
    share = found.ellipsis_rows / (found.rows or 1)
    if share > max_share:
        return f"gopher_ellipses: {share:.2f} of the lines end with an ellipsis, more than {max_share:g}"
    return None


def gopher_alphabetic(found: Statistics, *, min_share: float = 0.8) -> str | None:
    """At least `min_share` of the words, punctuation included, hold a letter."""
    share = found.alphabetic_words / (found.words or 1)
    if share < min_share:
        return f"gopher_alphabetic: {share:.2f} of the words hold a letter, less than {min_share:g}"
    return None


def gopher_stop_words(
    found: Statistics, *, min_count: int = 2, stop_words: tuple[str, ...] = STOP_WORDS
) -> str | None:
    """At least `min_count` of the stop words (English ones by default) are there, as they are written."""
    if found.stop_words < min_count:
        return f"gopher_stop_words: {found.stop_words} of {len(stop_words)}, fewer than {min_count}"
    return None


def gopher_repeated_lines(found: Statistics, *, max_share: float = 0.3, max_characters: float = 0.2) -> str | None:
    """At most `max_share` of the lines repeat an earlier one, with at most `max_characters` of the characters."""
    counted = found.repeated_lines / (found.lines or 1), found.repeated_line_characters / (found.characters or 1)
    return _repeated("gopher_repeated_lines", "lines", counted, (max_share, max_characters))


def gopher_repeated_paragraphs(
    found: Statistics, *, max_share: float = 0.3, max_characters: float = 0.2
) -> str | None:
    """The same for paragraphs, which empty lines divide."""
    share = found.repeated_paragraphs / (found.paragraphs or 1)
    counted = share, found.repeated_paragraph_characters / (found.characters or 1)
    return _repeated("gopher_repeated_paragraphs", "paragraphs", counted, (max_share, max_characters))


def gopher_top_ngrams(
    found: Statistics, *, two: float = 0.2, three: float = 0.18, four: float = 0.16
) -> str | None:
    """The most frequent 2-, 3- and 4-gram of words covers at most these shares of the characters."""
    for n, top, most in ((2, found.top_2, two), (3, found.top_3, three), (4, found.top_4, four)):
        share = top / (found.characters or 1)
        if share > most:
            return f"gopher_top_ngrams: {share:.2f} of the text is one {n}-gram, more than {most:g}"
    return None


def gopher_repeated_ngrams(found: Statistics, *, five: float = 0.15, ten: float = 0.1) -> str | None:
    """Repeated n-grams of words cover at most these shares of the characters: `five` for n = 5, down to `ten`."""
    repeated = (
        found.repeated_5,
        found.repeated_6,
        found.repeated_7,
        found.repeated_8,
        found.repeated_9,
        found.repeated_10,
    )
    for at, characters in enumerate(repeated):
        share, most = characters / (found.characters or 1), round(five + (ten - five) * at / 5, 12)
        if share > most:
            what = f"of the text is in repeated {at + 5}-grams"
            return f"gopher_repeated_ngrams: {share:.2f} {what}, more than {most:.2g}"
    return None


def _repeated(rule: str, what: str, counted: tuple[float, float], most: tuple[float, float]) -> str | None:
    if counted[0] > most[0]:
        return f"{rule}: {counted[0]:.2f} of the {what} repeat another, more than {most[0]:g}"
    if counted[1] > most[1]:
        return f"{rule}: {counted[1]:.2f} of the characters are in repeated {what}, more than {most[1]:g}"
    return None
