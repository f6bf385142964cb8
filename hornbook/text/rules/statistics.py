"""What the rules of quality count in a text, all of it in one pass over its UTF-8 bytes.

A chunk is what stands between white space. Chunks are divided into words (`words`), and since the same ones come again
and again, what is known of a chunk is kept. Lines end at a line feed; rows end where str.splitlines ends them;
paragraphs end at two line feeds or more. Lengths are in code points.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hornbook.text.kernel import kernel
from hornbook.text.rules import chunks, rows
from hornbook.text.rules.chunks import Bytes, Integers, Tables
from hornbook.text.rules.counts import AT, Statistics
from hornbook.text.rules.exceptions import Hashes, listed
from hornbook.text.rules.lines import count_lines, count_paragraphs
from hornbook.text.rules.repetition import Names, count_repetition, new_names
from hornbook.text.rules.rows import count_rows

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
SHORT = 30
"""Characters of a short line, at most."""
SMALLEST, LARGEST_KEPT = 1 << 16, 1 << 23
"""Bytes of text that there is room for, at least; a place with more room is not kept."""

AT_ONCE = 1 << 18
"""Characters of the texts that a kernel is called with, about."""


class Workplace(NamedTuple):
    """Tables, memory of chunks, and room, which are used again for every text."""

    tables: Tables
    memory: Hashes
    room: chunks.Room
    names: Names
    row: Integers
    sums: Integers


_of_thread = threading.local()


def workplace(size: int) -> Workplace:
    """A place to count a text of `size` bytes in; each thread has its own, as large as it needed so far."""
    found: Workplace | None = getattr(_of_thread, "place", None)
    if found is not None and len(found.names.ids) >= size:
        return found
    size = max(1 << size.bit_length(), SMALLEST)
    memory = found.memory if found else chunks.new_memory()
    row = np.zeros(rows.COLUMNS, np.int64)
    room, sums = chunks.new_room(size), np.zeros(chunks.SUMS, np.int64)
    place = Workplace(chunks.new_tables(), memory, room, new_names(size), row, sums)
    if size <= LARGEST_KEPT:
        _of_thread.place = place
    return place


def statistics(
    texts: Sequence[str], *, stop_words: tuple[str, ...] = STOP_WORDS, short: int = SHORT
) -> list[Statistics]:
    """The statistics of each text; lines of at most `short` characters are short."""
    stops, found = listed(stop_words), list[Statistics]()
    for group in _groups(texts):
        text, starts, ends = encoded(group)
        place = workplace(int((ends - starts).max()))
        out = np.zeros((len(group), len(AT)), np.int64)
        _count(text, text.view("<u8"), starts, ends, place, stops, short, out)
        found += [Statistics(*row) for row in out.tolist()]
    return found


def _groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Texts by so many that they stay in the processor's cache between being encoded and being read."""
    first, size = 0, 0
    for at, text in enumerate(texts):
        size += len(text)
        if size >= AT_ONCE or at == len(texts) - 1:
            yield texts[first : at + 1]
            first, size = at + 1, 0


def encoded(texts: Sequence[str]) -> tuple[Bytes, Integers, Integers]:
    """Texts as UTF-8, and where each starts and ends.

    Lone surrogates are three bytes. Each text starts at a multiple of eight, and eight zeros or more are after it.
    """
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    sizes = np.array(list(map(len, parts)), np.int64)
    starts = np.cumsum([0, *(sizes // 8 * 8 + 16)[:-1]], dtype=np.int64)[: len(parts)]
    padded = b"".join(padded for part in parts for padded in (part, bytes(16 - len(part) % 8)))
    return np.frombuffer(padded, np.uint8), starts, starts + sizes


@kernel
def _count(
    text: Bytes,
    blocks: chunks.Blocks,
    starts: Integers,
    ends: Integers,
    place: Workplace,
    stops: Hashes,
    short: int,
    out: NDArray[np.int64],
) -> None:
    for at in range(len(starts)):
        one, found = text[starts[at] : ends[at]], out[at]
        for column in range(chunks.SUMS):
            place.sums[column] = 0
        count, words = chunks.find_chunks(
            one, blocks[starts[at] >> 3 :], place.tables, place.memory, place.room, place.sums
        )
        _count_one(one, count, words, place, stops, short, found)


@kernel
def _count_one(
    text: Bytes, count: int, words: int, place: Workplace, stops: Hashes, short: int, found: Integers
) -> None:
    """Count a text whose chunks and words were found."""
    room, names = place.room, place.names
    rows_found, kept = found[AT.rows : AT.sentences], found[AT.sentences : AT.left_lines]
    left = found[AT.left_lines : AT.lines]
    count_rows(text, count, place.tables, room, place.row, names, short, rows_found, kept, left)
    lines, filled = found[AT.lines : AT.paragraphs], found[AT.filled_lines : AT.top_2]
    spaces, found[AT.new_lines] = count_lines(text, count, room, names, short, lines, filled)
    count_paragraphs(text, count, room, names, found[AT.paragraphs : AT.filled_lines])
    tops, repeated = found[AT.top_2 : AT.repeated_5], found[AT.repeated_5 :]
    found[AT.stop_words] = count_repetition(room.words, room.offsets, words, names, stops, tops, repeated)
    _sums(place.sums, found)
    found[AT.characters] = place.sums[chunks.CHARACTERS] + spaces


@kernel
def _sums(sums: Integers, found: Integers) -> None:
    found[AT.words] = sums[chunks.WORDS]
    found[AT.plain_words] = sums[chunks.PLAIN_WORDS]
    found[AT.plain_characters] = sums[chunks.PLAIN_CHARACTERS]
    found[AT.alphabetic_words] = sums[chunks.ALPHABETIC_WORDS]
    found[AT.number_signs] = sums[chunks.NUMBER_SIGNS]
    found[AT.ellipses] = sums[chunks.ELLIPSES]
    found[AT.unspaced] = sums[chunks.UNSPACED]


def find_rows(encoded_text: Bytes, size: int, *, citations: bool = True) -> Integers:
    """The rows [row, column of `rows`] of a text that hold more than white space; with or without their citations."""
    place, text = workplace(size), encoded_text[:size]
    out = np.zeros((len(text) // 2 + 1, rows.COLUMNS), np.int64)
    return out[: _find_rows(text, encoded_text.view("<u8"), place, citations, out)]


@kernel
def _find_rows(text: Bytes, blocks: chunks.Blocks, place: Workplace, citations: bool, out: Integers) -> int:
    count, _ = chunks.find_chunks(text, blocks, place.tables, place.memory, place.room, place.sums)
    return rows.fill_rows(text, count, place.tables, place.room, citations, out)
