"""Rows of a text, as str.splitlines divides it, and what C4's rules ask of each."""

from __future__ import annotations

import numpy as np

from hornbook.text.kernel import inlined, kernel, signed
from hornbook.text.rules.characters import BREAK, DECIMAL, SPACE, TERMINAL, Kinds
from hornbook.text.rules.chunks import (
    AFTER_SPACE,
    BULLET,
    CURLY,
    ENDS_ELLIPSIS,
    ENDS_SENTENCE,
    ENDS_TERMINAL,
    MOST_TURNS,
    OPEN,
    OPEN_AT,
    OPEN_OPEN,
    OPEN_OPEN_AT,
    SQUARE,
    SUSPECT,
    TURNS,
    TURNS_AT,
    TURNS_OPEN,
    TURNS_OPEN_AT,
    Bytes,
    Integers,
    Room,
    Tables,
    decode,
    decoded,
    ends_sentence,
    holds,
    kind_of,
    read_chunk,
)
from hornbook.text.rules.chunks import WORDS as CHUNK_WORDS
from hornbook.text.rules.repetition import Names, forget, intern, slots_for
from hornbook.text.rules.words import BASIS, PRIME, Codes, hash_codes, mixed

START, END, WORDS, LONGEST, ENDED, CITED, LOREM_ROW, JAVASCRIPT_ROW, CURLY_ROW, POLICY_ROW, SENTENCES = range(11)
TERMINAL_ROW, CHARACTERS, WORDS_LEFT, HASH, AGAIN, SHORT_ROW = range(11, 17)
"""Columns of a row: bytes without the white space around; words between white space, characters of the longest; whether
it ends like a sentence, has citations, speaks of what C4 looks for; and how many sentences it is. Then, of what is left
without citations: whether it ends with a stop of FineWeb's, its characters, words and hash; whether the same was there
before, and whether it is short."""
COLUMNS = 17
MIN_WORDS, LONGEST_WORD = 3, 1000
"""C4's: a row has this many words, none of more characters."""


ROWS, BULLETS, ELLIPSES, FILLED, ENDED_ROWS, JAVASCRIPT_ROWS, POLICY_ROWS = range(7)
"""Columns of what is counted of rows;"""
KEPT_SENTENCES, LOREM_ROWS, CURLY_ROWS = range(3)
KEPT, LEFTS = 3, 6
"""of rows that C4 keeps;"""
LEFT, LEFT_PUNCTUATED, LEFT_SHORT, LEFT_REPEATED, LEFT_CHARACTERS, LEFT_WORDS = range(6)
"""of the rows that it leaves."""


@kernel
def count_rows(
    text: Bytes,
    chunks: int,
    tables: Tables,
    room: Room,
    row: Integers,
    names: Names,
    short: int,
    rows: Integers,
    kept: Integers,
    left: Integers,
) -> None:
    """Count the rows of a text; what C4 finds in those that it keeps, and what it leaves.

    `kept` and `left` are for rows that end like sentences, and then for all.
    """
    first, at, known = 0, 0, 0
    generation, mask = forget(names), slots_for(chunks)
    for chunk in range(chunks + 1):
        if chunk < chunks and room.marks[chunk] & AFTER_SPACE:
            at = room.ends[chunk]
            continue
        gap_end = room.starts[chunk] if chunk < chunks else len(text)
        breaks = count_breaks(text, at, gap_end, tables.kinds)
        rows[ROWS] += breaks
        if (breaks or chunk == chunks) and first < chunk:
            read_row(text, first, chunk - 1, tables, room, True, row)
            rows[BULLETS] += (room.marks[first] & BULLET) != 0
            rows[ELLIPSES] += (room.marks[chunk - 1] & ENDS_ELLIPSIS) != 0
            if _count_row(row, rows):
                row[SHORT_ROW] = row[CHARACTERS] <= short
                number = intern(names.table, generation, mask, np.uint64(row[HASH]), known)
                row[AGAIN] = number < known
                known += number == known
                _keep_row(row, kept[KEPT:], left[LEFTS:])
                if row[ENDED]:
                    _keep_row(row, kept[:KEPT], left[:LEFTS])
        if breaks:
            first = chunk
        if chunk < chunks:
            at = room.ends[chunk]
    if len(text) and not ends_row(text, tables.kinds):
        rows[ROWS] += 1


@kernel
def fill_rows(text: Bytes, chunks: int, tables: Tables, room: Room, citations: bool, out: Integers) -> int:
    """Fill in each row that holds more than white space; returns how many they are."""
    first, count = 0, 0
    for chunk in range(1, chunks + 1):
        start = room.starts[chunk] if chunk < chunks else len(text)
        if chunk == chunks or count_breaks(text, room.ends[chunk - 1], start, tables.kinds):
            read_row(text, first, chunk - 1, tables, room, citations, out[count])
            first, count = chunk, count + 1
    return count


@inlined
def count_breaks(text: Bytes, start: int, end: int, kinds: Kinds) -> int:
    """The ends of rows in white space; a carriage return and a line feed are one."""
    breaks, at, before = 0, start, 0
    while at < end:
        code, width = decoded(text, at)
        if kind_of(kinds, code) & BREAK and not (code == 10 and before == 13):
            breaks += 1
        before = code
        at += width
    return breaks


@kernel
def ends_row(text: Bytes, kinds: Kinds) -> bool:
    """Whether the last character ends a row."""
    at = len(text) - 1
    while at > 0 and text[at] & 0xC0 == 0x80:
        at -= 1
    return bool(kind_of(kinds, decoded(text, at)[0]) & BREAK)


@inlined
def _count_row(row: Integers, rows: Integers) -> bool:
    """Count a row; whether C4 asks more of it."""
    rows[FILLED] += 1
    rows[ENDED_ROWS] += row[ENDED]
    rows[JAVASCRIPT_ROWS] += row[JAVASCRIPT_ROW]
    rows[POLICY_ROWS] += row[POLICY_ROW]
    return bool(row[WORDS] >= MIN_WORDS and row[LONGEST] <= LONGEST_WORD)


@inlined
def _keep_row(row: Integers, kept: Integers, left: Integers) -> None:
    if row[LOREM_ROW]:
        kept[LOREM_ROWS] += 1
    elif row[JAVASCRIPT_ROW]:
        return
    elif row[CURLY_ROW]:
        kept[CURLY_ROWS] += 1
    elif not row[POLICY_ROW]:
        kept[KEPT_SENTENCES] += row[SENTENCES]
        left[LEFT] += 1
        left[LEFT_PUNCTUATED] += row[TERMINAL_ROW]
        left[LEFT_SHORT] += row[SHORT_ROW]
        left[LEFT_REPEATED] += row[AGAIN] * row[CHARACTERS]
        left[LEFT_CHARACTERS] += row[CHARACTERS]
        left[LEFT_WORDS] += row[WORDS_LEFT]


@kernel
def read_row(text: Bytes, first: int, last: int, tables: Tables, room: Room, citations: bool, row: Integers) -> None:
    """Fill in what C4 asks of the row from one chunk to another, once its `citations` are out, if they are to be."""
    for column in range(COLUMNS):
        row[column] = 0
    flags, longest, turns, is_open, length, value = 0, 0, 0, 0, 0, BASIS
    for chunk in range(first, last + 1):
        mark = room.marks[chunk]
        flags |= mark
        longest = max(longest, room.lengths[chunk])
        length += room.lengths[chunk] + 1
        if chunk > first and not mark & AFTER_SPACE:
            turns, is_open = turns + is_open, 0
            value, gap = gap_hash(text, room.ends[chunk - 1], room.starts[chunk], value)
            length += gap - 1
        value = (value ^ room.keys[chunk]) * PRIME
        turns += mark >> (TURNS_OPEN_AT if is_open else TURNS_AT) & MOST_TURNS
        is_open = mark >> (OPEN_OPEN_AT if is_open else OPEN_AT) & 1
    row[START], row[END], row[WORDS], row[LONGEST] = room.starts[first], room.ends[last], last - first + 1, longest
    row[CURLY_ROW], row[SENTENCES] = (flags & CURLY) != 0, turns + 1
    row[ENDED], row[TERMINAL_ROW] = (room.marks[last] & ENDS_SENTENCE) != 0, (room.marks[last] & ENDS_TERMINAL) != 0
    row[CHARACTERS], row[HASH] = length - 1, signed(mixed(value))
    row[WORDS_LEFT] = room.first_words[last + 1] - room.first_words[first]
    if flags & (SQUARE | SUSPECT):
        _read_closely(text, tables, room, row, citations and (flags & SQUARE) != 0)


@kernel
def gap_hash(text: Bytes, start: int, end: int, value: np.uint64) -> tuple[np.uint64, int]:
    """A hash with the white space between two bytes added, and how many characters that is."""
    count, at = 0, start
    while at < end:
        code, width = decoded(text, at)
        value = (value ^ np.uint64(code)) * PRIME
        count += 1
        at += width
    return value, count


@kernel
def _read_closely(text: Bytes, tables: Tables, room: Room, row: Integers, cited: bool) -> None:
    """The same, of a row without its citations, and whether a phrase is there."""
    size = decode(text, row[START], row[END], tables.kinds, room.codes, room.kinds)
    if cited:
        left = drop_citations(room.codes, room.kinds, size, tables.citations)
        if left < size:
            size = left
            row[CITED], row[ENDED] = 1, ends_sentence(room.codes, size)
            row[SENTENCES], row[WORDS_LEFT] = sentences(room.codes, room.kinds, size, tables, room)
            row[TERMINAL_ROW] = size > 0 and (room.kinds[size - 1] & TERMINAL) != 0
            row[CHARACTERS], row[HASH] = size, signed(hash_codes(room.codes, 0, size))
    for place in range(len(tables.phrases)):
        if holds(room.codes, size, tables.phrases[place]):
            row[LOREM_ROW if place == 0 else JAVASCRIPT_ROW if place == 1 else POLICY_ROW] = 1


@kernel
def drop_citations(codes: Codes, kinds: Kinds, size: int, words: Codes) -> int:
    """Take out [1], [], [edit] and [citation needed]; returns how many characters are left."""
    left, at = 0, 0
    while at < size:
        width = citation(codes, kinds, at, size, words) if codes[at] == ord("[") else 0
        if not width:
            codes[left], kinds[left] = codes[at], kinds[at]
            left += 1
        at += max(width, 1)
    return left


@kernel
def citation(codes: Codes, kinds: Kinds, start: int, size: int, words: Codes) -> int:
    """Characters of the citation that an opening bracket begins, or 0."""
    at = start + 1
    while at < size and kinds[at] & DECIMAL:
        at += 1
    if at < size and codes[at] == ord("]"):
        return at + 1 - start
    for row in range(len(words)):
        run = 0
        while words[row, run] and start + 1 + run < size and codes[start + 1 + run] == words[row, run]:
            run += 1
        if not words[row, run]:
            return run + 1
    return 0


@kernel
def sentences(codes: Codes, kinds: Kinds, size: int, tables: Tables, room: Room) -> tuple[int, int]:
    """Sentences and words of a row, read anew."""
    turns, words, is_open, at = 0, 0, False, 0
    while at < size:
        end = at
        while end < size and kinds[end] & SPACE:
            end += 1
        if end - at > 1 or (end > at and codes[at] != ord(" ")):
            turns, is_open = turns + is_open, False
        at = end
        while end < size and not kinds[end] & SPACE:
            end += 1
        if end > at:
            read_chunk(codes[at:end], kinds[at:end], end - at, tables, room.word_ends, room.tails, room.facts)
            turns += room.facts[TURNS_OPEN if is_open else TURNS]
            is_open = room.facts[OPEN_OPEN if is_open else OPEN] != 0
            words += room.facts[CHUNK_WORDS]
        at = end
    return turns + 1, words
