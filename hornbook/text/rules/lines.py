"""Lines and paragraphs of a text and which of them repeat an earlier one, from its chunks and what is between them."""

from __future__ import annotations

import numpy as np

from hornbook.text.kernel import inlined, kernel
from hornbook.text.rules.chunks import AFTER_SPACE, ENDS_TERMINAL, Bytes, Integers, Room, decoded
from hornbook.text.rules.exceptions import Hashes
from hornbook.text.rules.repetition import Names, forget, intern, slots_for
from hornbook.text.rules.words import BASIS, PRIME, mixed

NEW_LINE, SPACE = ord("\n"), np.uint64(ord(" "))
LINES, REPEATED, REPEATED_CHARACTERS = range(3)
"""Columns of what is counted of lines, and of paragraphs;"""
FILLED, PUNCTUATED, SHORT, REPEATED_FILLED_CHARACTERS = range(4)
"""of lines that hold more than white space."""


@kernel
def count_feeds(text: Bytes) -> int:
    """Line feeds of a text."""
    count = 0
    for at in range(len(text)):
        count += text[at] == NEW_LINE
    return count


@kernel
def count_lines(
    text: Bytes, chunks: int, room: Room, names: Names, short: int, lines: Integers, filled: Integers
) -> tuple[int, int]:
    """Count the lines of a text; returns its white space in characters and its line feeds."""
    mask = slots_for(count_feeds(text) + 1)
    generation = forget(names)
    keys, starts, ends, lengths, marks = room.keys, room.starts, room.ends, room.lengths, room.marks
    spaces, feeds, known, edges = 0, 0, 0, 0
    value, length, last, stop = BASIS, 0, -1, False  # of the line that is being read; `last`: its last chunk
    at = 0
    for chunk in range(chunks + 1):
        if chunk < chunks and marks[chunk] & AFTER_SPACE:
            value, length, spaces = (value ^ SPACE) * PRIME, length + 1, spaces + 1
            at = starts[chunk]
        end = starts[chunk] if chunk < chunks else len(text)
        while at < end:
            code, width = decoded(text, at)
            at += width
            spaces += 1
            if code != NEW_LINE:
                value = (value ^ np.uint64(code)) * PRIME
                length += 1
                stop = False
                continue
            feeds += 1
            edges += at == 1 or at == len(text)
            if length:
                known = _line(names.table, generation, mask, value, length, last, stop, known, short, lines, filled)
            value, length, last, stop = BASIS, 0, -1, False
        if chunk < chunks:
            value = (value ^ keys[chunk]) * PRIME
            length += lengths[chunk]
            last, stop = chunk, (marks[chunk] & ENDS_TERMINAL) != 0
            at = ends[chunk]
    if length:
        _line(names.table, generation, mask, value, length, last, stop, known, short, lines, filled)
    if len(text) == 1 and feeds:
        edges = 2
    lines[LINES] += edges
    lines[REPEATED] += edges == 2
    return spaces, feeds


@inlined
def _count(
    table: Hashes, generation: int, mask: np.uint64, value: np.uint64, length: int, known: int, counts: Integers
) -> bool:
    """Count a line or paragraph; whether it was there before."""
    again = intern(table, generation, mask, mixed(value), known) < known
    counts[LINES] += 1
    if again:
        counts[REPEATED] += 1
        counts[REPEATED_CHARACTERS] += length
    return again


@inlined
def _line(
    table: Hashes,
    generation: int,
    mask: np.uint64,
    value: np.uint64,
    length: int,
    last: int,
    stop: bool,
    known: int,
    short: int,
    lines: Integers,
    filled: Integers,
) -> int:
    """Count one line of one character or more; returns how many different ones are known now."""
    again = _count(table, generation, mask, value, length, known, lines)
    if last >= 0:
        filled[FILLED] += 1
        filled[PUNCTUATED] += stop
        filled[SHORT] += length <= short
        if again:
            filled[REPEATED_FILLED_CHARACTERS] += length
    return known + (not again)


@kernel
def count_paragraphs(text: Bytes, chunks: int, room: Room, names: Names, paragraphs: Integers) -> None:
    """Count the paragraphs between the first chunk and the last; a text of white space is one."""
    mask = slots_for(count_feeds(text) + 1)
    generation = forget(names)
    value, length, feeds, known = BASIS, 0, 0, 0
    for chunk in range(chunks):
        if room.marks[chunk] & AFTER_SPACE:
            value = ((value ^ SPACE) * PRIME ^ room.keys[chunk]) * PRIME
            length += 1 + room.lengths[chunk]
            continue
        at = room.ends[chunk - 1] if chunk else room.starts[0]
        while at <= room.starts[chunk]:
            inside = at < room.starts[chunk]
            code, width = decoded(text, at) if inside else (0, 1)
            at += width
            if code == NEW_LINE:
                feeds += 1
                continue
            if feeds > 1:
                known += not _count(names.table, generation, mask, value, length, known, paragraphs)
                value, length = BASIS, 0
            elif feeds:
                value = (value ^ np.uint64(NEW_LINE)) * PRIME
                length += 1
            feeds = 0
            if inside:
                value = (value ^ np.uint64(code)) * PRIME
                length += 1
        value = (value ^ room.keys[chunk]) * PRIME
        length += room.lengths[chunk]
    _count(names.table, generation, mask, value, length, known, paragraphs)
