"""The numbers that rules of quality ask for, by name."""

from __future__ import annotations

from typing import NamedTuple


class Statistics(NamedTuple):
    """What was counted in a text. Words are those of `words`: marks are words, too."""

    characters: int = 0
    new_lines: int = 0
    words: int = 0
    plain_words: int = 0
    """Words that are more than punctuation and control characters."""
    plain_characters: int = 0
    """Characters of plain words."""
    alphabetic_words: int = 0
    """Words that hold a letter."""
    stop_words: int = 0
    """How many of the stop words are among the words, as they are written."""
    number_signs: int = 0
    ellipses: int = 0
    unspaced: int = 0
    """Letters of scripts that put no spaces between words."""
    rows: int = 0
    bullet_rows: int = 0
    """Rows that start with a bullet or a hyphen."""
    ellipsis_rows: int = 0
    """Rows that end with an ellipsis."""
    filled_rows: int = 0
    """Rows that hold more than white space."""
    ended_rows: int = 0
    """Rows that end like a sentence for C4."""
    javascript_rows: int = 0
    policy_rows: int = 0
    """Rows that speak of JavaScript; of terms of use, privacy or cookies."""
    sentences: int = 0
    """Sentences in the rows that C4 keeps."""
    lorem_rows: int = 0
    curly_rows: int = 0
    """Rows with `lorem ipsum`, with a curly bracket, where C4 looks for them."""
    sentences_unended: int = 0
    lorem_rows_unended: int = 0
    curly_rows_unended: int = 0
    """The same three, where rows need not end like a sentence."""
    left_lines: int = 0
    left_punctuated_lines: int = 0
    left_short_lines: int = 0
    left_repeated_characters: int = 0
    left_characters: int = 0
    left_words: int = 0
    """What FineWeb asks of lines (see below), of the rows that C4 keeps,"""
    left_lines_unended: int = 0
    left_punctuated_lines_unended: int = 0
    left_short_lines_unended: int = 0
    left_repeated_characters_unended: int = 0
    left_characters_unended: int = 0
    left_words_unended: int = 0
    """and where rows need not end like a sentence."""
    lines: int = 0
    repeated_lines: int = 0
    repeated_line_characters: int = 0
    """Lines of a character or more, and an empty one at the start and at the end; those that repeat an earlier one."""
    paragraphs: int = 0
    repeated_paragraphs: int = 0
    repeated_paragraph_characters: int = 0
    filled_lines: int = 0
    """Lines that hold more than white space."""
    punctuated_lines: int = 0
    """Filled lines that end with a stop."""
    short_lines: int = 0
    """Filled lines of at most as many characters as asked for."""
    repeated_filled_characters: int = 0
    top_2: int = 0
    top_3: int = 0
    top_4: int = 0
    """Characters of the most frequent n-gram (with spaces), times how often it is there."""
    repeated_5: int = 0
    repeated_6: int = 0
    repeated_7: int = 0
    repeated_8: int = 0
    repeated_9: int = 0
    repeated_10: int = 0
    """Characters of n-grams that repeat an earlier one, none counted twice."""


AT = Statistics(*range(len(Statistics._fields)))
"""The column of each."""
