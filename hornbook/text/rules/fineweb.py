"""The rules that FineWeb adds to Gopher's and C4's (Penedo et al. 2024, arXiv 2406.17557, section 3.6).

They are about lines that hold more than white space; the decisions are datatrove 0.10's. `after_c4` judges what C4
leaves of a text (`c4.c4_lines`), as FineWeb does, whose C4 keeps lines without `terminal_punctuation`, too.
"""

from __future__ import annotations

from typing import NamedTuple

from hornbook.text.rules.counts import AT, Statistics
from hornbook.text.rules.gopher import PER_WORD
from hornbook.text.rules.statistics import SHORT


class Lines(NamedTuple):
    """What is counted of lines: of the text, or of what C4 leaves of it."""

    number: int
    punctuated: int
    short: int
    repeated_characters: int
    characters: int
    words: int
    feeds: int


def _lines(found: Statistics, after_c4: bool, terminal_punctuation: bool) -> Lines:
    if not after_c4:
        return Lines(
            found.filled_lines,
            found.punctuated_lines,
            found.short_lines,
            found.repeated_filled_characters,
            found.characters - found.new_lines,
            found.words,
            found.new_lines,
        )
    first = AT.left_lines if terminal_punctuation else AT.left_lines_unended
    number, punctuated, short, repeated, characters, words = found[first : first + 6]
    return Lines(number, punctuated, short, repeated, characters, words, number - 1)


def fineweb_line_punctuation(
    found: Statistics, *, min_share: float = 0.12, after_c4: bool = False, terminal_punctuation: bool = True
) -> str | None:
    """At least `min_share` of the lines end with a stop."""
    lines = _lines(found, after_c4, terminal_punctuation)
    share = lines.punctuated / (lines.number or 1)
    if share < min_share:
        return f"fineweb_line_punctuation: {share:.2f} of the lines end with a stop, less than {min_share:g}"
    return None


def fineweb_short_lines(
    found: Statistics,
    *,
    max_share: float = 0.67,
    short: int = SHORT,
    after_c4: bool = False,
    terminal_punctuation: bool = True,
) -> str | None:
    """At most `max_share` of the lines have at most `short` characters."""
    lines = _lines(found, after_c4, terminal_punctuation)
    share = lines.short / (lines.number or 1)
    if share > max_share:
        return f"fineweb_short_lines: {share:.2f} of the lines have at most {short} characters, more than {max_share:g}"
    return None


def fineweb_duplicate_lines(
    found: Statistics, *, max_characters: float = 0.01, after_c4: bool = False, terminal_punctuation: bool = True
) -> str | None:
    """At most `max_characters` of the characters are in lines that repeat an earlier one."""
    lines = _lines(found, after_c4, terminal_punctuation)
    share = lines.repeated_characters / (lines.characters or 1)
    if share > max_characters:
        what = "of the characters are in repeated lines"
        return f"fineweb_duplicate_lines: {share:.3f} {what}, more than {max_characters:g}"
    return None


def fineweb_new_lines(
    found: Statistics, *, max_ratio: float = 0.3, after_c4: bool = False, terminal_punctuation: bool = True
) -> str | None:
    """At most `max_ratio` line feeds per word; of scripts without spaces, two letters are a word."""
    lines = _lines(found, after_c4, terminal_punctuation)
    ratio = lines.feeds / (max(lines.words, found.unspaced // PER_WORD) or 1)
    if ratio > max_ratio:
        return f"fineweb_new_lines: {ratio:.2f} line feeds a word, more than {max_ratio:g}"
    return None
