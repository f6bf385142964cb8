"""Chunks, which stand between white space: where they are in a text, and what there is in each.

The same chunks come again and again, so what was found in one is remembered by its hash. A chunk with too many or too
long words is not remembered but read again.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hornbook.text.kernel import inlined, kernel, signed
from hornbook.text.rules import characters, exceptions
from hornbook.text.rules.characters import LETTER, MARK, SPACE, STOP, SYMBOL, TERMINAL, Kinds
from hornbook.text.rules.characters import UNSPACED as UNSPACED_LETTER
from hornbook.text.rules.exceptions import Cuts, Hashes
from hornbook.text.rules.words import BASIS, DOT, ELLIPSIS, PRIME, Codes, Ends, divide, hash_codes, mixed

Bytes = NDArray[np.uint8]
Blocks = NDArray[np.uint64]
"""The same bytes, eight to a number, the first lowest; zeros follow, a whole number of them at least."""
Integers = NDArray[np.int64]

WORDS, PLAIN_WORDS, PLAIN_CHARACTERS, ALPHABETIC_WORDS, NUMBER_SIGNS, ELLIPSES, UNSPACED, CHARACTERS = range(8)
"""Columns of facts: what is added up over the chunks of a text."""
SUMS = 8
FLAGS, TURNS, OPEN, TURNS_OPEN, OPEN_OPEN = range(8, 13)
"""The other columns. A sentence is over where a stop was read and a word follows that is not only marks: how many are
over within the chunk, and whether a stop is left open, each when none was open before it, and when one was."""
COLUMNS = 13
KEY, MARKS, SUMMED, LENGTHS, FIRST_WORD = range(5)
"""Columns of what is remembered of a chunk: its hash; its marks (see `Room`); the sums, a byte each; the lengths of its
words, 16 bits each; the hashes of up to four words. Together they fill a line of the processor's cache."""
REMEMBERED, LONGEST_REMEMBERED = 4, 255
"""Words and characters of a chunk that is remembered, at most."""
SLOT_SHIFT = np.uint64(47)
"""The upper bits of a hash are its place in the memory."""
ONES, HIGHS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
BYTE = np.uint64(0xFF)
AT_A_TIME = 64
"""Chunks that are looked up together."""

BULLET, ENDS_ELLIPSIS, ENDS_TERMINAL, ENDS_SENTENCE = 1 << 0, 1 << 1, 1 << 2, 1 << 3
CURLY, SQUARE, SUSPECT, AFTER_SPACE = 1 << 4, 1 << 5, 1 << 6, 1 << 7
"""Flags: starts with a bullet; ends with an ellipsis, with a stop of FineWeb's, like a sentence of C4's; holds { or [;
may be part of a phrase that C4 looks for; is preceded by a single space and nothing more."""

PHRASES = (
    "lorem ipsum",
    "javascript",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
"""What C4 looks for: placeholder text, JavaScript, and policies."""
SUSPECTS = ("javascript", "ipsum", "policy", "cookies", "terms")
"""One of these is in every phrase."""
CITATIONS = ("edit]", "citation needed]")
"""What follows an opening bracket in citations of Wikipedia's, besides numbers."""
KELVIN = 0x212A
"""The only character besides K that is k in lower case."""


class Tables(NamedTuple):
    """What chunks are divided by."""

    kinds: Kinds
    exceptions: Hashes
    cuts: Cuts
    units: Hashes
    suspects: Codes
    """SUSPECTS, a row each, with zeros after their ends; in the last column, which letters are there (see `_flags`);"""
    phrases: Codes
    """PHRASES and"""
    citations: Codes
    """CITATIONS likewise."""



class Room(NamedTuple):
    """Place for the chunks and words of a text, and for the characters of a chunk."""

    keys: Hashes
    starts: Integers
    ends: Integers
    lengths: NDArray[np.int32]
    marks: Integers
    """Flags, and above them TURNS, TURNS_OPEN (20 bits each), OPEN and OPEN_OPEN."""
    first_words: NDArray[np.int32]
    """The number of words before each chunk."""
    words: Hashes
    offsets: NDArray[np.int32]
    """Characters in all words before each."""
    codes: Codes
    kinds: Kinds
    word_ends: Ends
    tails: Ends
    facts: Integers


TURNS_AT, TURNS_OPEN_AT, OPEN_AT, OPEN_OPEN_AT = 8, 28, 48, 49
MOST_TURNS = (1 << 20) - 1


@cache
def new_tables() -> Tables:
    """The tables for English."""
    return Tables(characters.kinds(), *exceptions.tables(), *map(_padded, (SUSPECTS, PHRASES, CITATIONS)))


def _padded(phrases: tuple[str, ...]) -> Codes:
    table = np.zeros((len(phrases), max(map(len, phrases)) + 2), np.int32)
    for row, phrase in enumerate(phrases):
        table[row, : len(phrase)] = list(map(ord, phrase))
        table[row, -1] = sum({1 << (ord(letter) & 31) for letter in phrase})
    return table


def new_memory() -> Hashes:
    """A memory [place, column] of nothing."""
    slots, line = 1 << 64 - int(SLOT_SHIFT), 64
    memory = np.zeros(8 * slots + 8, np.uint64)
    first = -memory.ctypes.data % line // 8
    return memory[first : first + 8 * slots].reshape(slots, 8)


def new_room(size: int) -> Room:
    """Room for a text of `size` bytes. (Pages that nobody writes to take no memory.)"""
    chunks = size // 2 + 2
    return Room(
        keys=np.empty(chunks, np.uint64),
        starts=np.empty(chunks, np.int64),
        ends=np.empty(chunks, np.int64),
        lengths=np.empty(chunks, np.int32),
        marks=np.empty(chunks, np.int64),
        first_words=np.empty(chunks, np.int32),
        words=np.empty(size + 2, np.uint64),
        offsets=np.zeros(size + 2, np.int32),
        codes=np.empty(size + 2, np.int32),
        kinds=np.empty(size + 2, np.uint32),
        word_ends=np.empty(size + 2, np.int32),
        tails=np.empty(size + 2, np.int32),
        facts=np.zeros(COLUMNS, np.int64),
    )


@inlined
def decoded(text: Bytes, at: int) -> tuple[int, int]:
    """The code point of the character that starts at a byte of valid UTF-8 (or a lone surrogate's), and its length."""
    first = signed(text[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | signed(text[at + 1]) & 0x3F, 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | (signed(text[at + 1]) & 0x3F) << 6 | signed(text[at + 2]) & 0x3F, 3
    upper = (first & 0x07) << 18 | (signed(text[at + 1]) & 0x3F) << 12
    return upper | (signed(text[at + 2]) & 0x3F) << 6 | signed(text[at + 3]) & 0x3F, 4


@inlined
def kind_of(kinds: Kinds, code: int) -> np.uint32:
    return kinds[code] if code < len(kinds) else np.uint32(0)


@inlined
def chunk_end(text: Bytes, blocks: Blocks, at: int, kinds: Kinds) -> tuple[int, np.uint64]:
    """Where the white space after a chunk begins, and the hash of the chunk's bytes.

    Eight bytes are read at a time; `stops` has the highest bit of each that is white space, a control character or not
    ASCII. (A borrow can set it too early, but not in the first byte of these.)
    """
    value, size = BASIS, len(text)
    while at < size:
        shift = np.uint64(at & 7) << np.uint64(3)
        block = blocks[at >> 3] >> shift
        if shift:
            block |= blocks[(at >> 3) + 1] << (np.uint64(64) - shift)
        stops = ((block - np.uint64(33) * ONES) | block) & HIGHS
        if not stops:
            value = (value ^ block) * MULTIPLIER
            value ^= value >> np.uint64(32)
            at += 8
            continue
        plain = ((stops & (~stops + np.uint64(1))) >> np.uint64(7)) - np.uint64(1)  # ones below the first stop
        if plain:
            value = (value ^ (block & plain)) * MULTIPLIER
            value ^= value >> np.uint64(32)
            at += signed(((plain & ONES) * ONES) >> np.uint64(56))
        if at >= size:
            break
        code, width = decoded(text, at)
        if kind_of(kinds, code) & SPACE:
            break
        value = (value ^ np.uint64(code + 1)) * PRIME
        at += width
    return at, mixed(value)


@inlined
def chunk_start(text: Bytes, at: int, kinds: Kinds) -> int:
    """Where the white space ends that begins here, if any does."""
    while at < len(text):
        byte = text[at]
        if byte < 128:
            if byte > 32 or not kinds[byte] & SPACE:
                break
            at += 1
            continue
        code, width = decoded(text, at)
        if not kind_of(kinds, code) & SPACE:
            break
        at += width
    return at


@kernel
def find_chunks(
    text: Bytes, blocks: Blocks, tables: Tables, memory: Hashes, room: Room, sums: Integers
) -> tuple[int, int]:
    """Fill in the chunks and words of a text and add up their facts; returns how many chunks and words there are.

    They are looked up some at a time: the waits for the memory, which is larger than the processor's caches, overlap.
    """
    count, words, end = 0, 0, 0
    at = chunk_start(text, 0, tables.kinds)
    while at < len(text):
        first = count
        while at < len(text) and count < first + AT_A_TIME:
            after_space = AFTER_SPACE if at - end == 1 and text[end] == 32 and count else 0
            end, key = chunk_end(text, blocks, at, tables.kinds)
            room.keys[count], room.starts[count], room.ends[count], room.marks[count] = key, at, end, after_space
            count += 1
            spaced = end + 1 < len(text) and text[end] == 32 and 32 < text[end + 1] < 128
            at = end + 1 if spaced else chunk_start(text, end, tables.kinds)
        known = 0
        for chunk in range(first, count):
            known += memory[signed(room.keys[chunk] >> SLOT_SHIFT), KEY] == room.keys[chunk]
        room.facts[0] = known  # so that the compiler leaves the loop, which has brought what it read nearer
        words = recall(text, first, count, words, tables, memory, room, sums)
    room.first_words[count] = words
    return count, words


@kernel
def recall(
    text: Bytes, first: int, last: int, found: int, tables: Tables, memory: Hashes, room: Room, sums: Integers
) -> int:
    """Take what is known of chunks from `first` until `last`; returns how many words there are now."""
    words, offsets, offset = room.words, room.offsets, room.offsets[found]
    for chunk in range(first, last):
        key = room.keys[chunk]
        slot = signed(key >> SLOT_SHIFT)
        room.first_words[chunk] = found
        start, end = room.starts[chunk], room.ends[chunk]
        if memory[slot, KEY] != key and not learn(text, start, end, key, memory, slot, tables, room):
            found = take(room, chunk, found, sums)
            offset = offsets[found]
            continue
        summed, sizes = memory[slot, SUMMED], memory[slot, LENGTHS]
        for column in range(SUMS):
            sums[column] += signed(summed >> np.uint64(8 * column) & BYTE)
        room.lengths[chunk] = summed >> np.uint64(8 * CHARACTERS)
        room.marks[chunk] |= signed(memory[slot, MARKS])
        for word in range(signed(summed & BYTE)):
            words[found] = memory[slot, FIRST_WORD + word]
            offset += signed(sizes >> np.uint64(16 * word) & np.uint64(0xFFFF))
            found += 1
            offsets[found] = offset
    return found


@inlined
def learn(
    text: Bytes, start: int, end: int, key: np.uint64, memory: Hashes, slot: int, tables: Tables, room: Room
) -> bool:
    """Read a chunk, and remember it if it is short; whether it was."""
    codes, facts, word_ends = room.codes, room.facts, room.word_ends
    size = decode(text, start, end, tables.kinds, codes, room.kinds)
    count = read_chunk(codes, room.kinds, size, tables, word_ends, room.tails, facts)
    if count > REMEMBERED or size > LONGEST_REMEMBERED:
        return False
    summed, lengths, begin = np.uint64(0), np.uint64(0), 0
    for column in range(SUMS):
        summed |= np.uint64(facts[column]) << np.uint64(8 * column)
    for at in range(count):
        memory[slot, FIRST_WORD + at] = hash_codes(codes, begin, word_ends[at])
        lengths |= np.uint64(word_ends[at] - begin) << np.uint64(16 * at)
        begin = word_ends[at]
    memory[slot, KEY], memory[slot, MARKS] = key, np.uint64(packed(facts))
    memory[slot, SUMMED], memory[slot, LENGTHS] = summed, lengths
    return True


@kernel
def take(room: Room, count: int, found: int, sums: Integers) -> int:
    """Take the chunk that was read last as it is; returns how many words there are now."""
    facts = room.facts
    for column in range(SUMS):
        sums[column] += facts[column]
    room.lengths[count] = facts[CHARACTERS]
    room.marks[count] |= packed(facts)
    begin = 0
    for at in range(facts[WORDS]):
        room.words[found] = hash_codes(room.codes, begin, room.word_ends[at])
        room.offsets[found + 1] = room.offsets[found] + (room.word_ends[at] - begin)
        begin = room.word_ends[at]
        found += 1
    return found


@inlined
def packed(facts: Integers) -> int:
    """Flags and sentences of a chunk in one integer."""
    turns, turns_open = min(facts[TURNS], MOST_TURNS), min(facts[TURNS_OPEN], MOST_TURNS)
    opens = facts[OPEN] << OPEN_AT | facts[OPEN_OPEN] << OPEN_OPEN_AT
    return signed(facts[FLAGS] | turns << TURNS_AT | turns_open << TURNS_OPEN_AT | opens)


@inlined
def decode(text: Bytes, start: int, end: int, table: Kinds, codes: Codes, kinds: Kinds) -> int:
    """Fill in the code points between two bytes, and their kinds; returns how many they are."""
    size, at = 0, start
    while at < end:
        code, width = decoded(text, at)
        codes[size], kinds[size] = code, kind_of(table, code)
        size += 1
        at += width
    return size


@inlined
def read_chunk(
    codes: Codes, kinds: Kinds, size: int, tables: Tables, word_ends: Ends, tails: Ends, facts: Integers
) -> int:
    """Fill in the facts of a chunk and the ends of its words; returns how many words there are."""
    for column in range(COLUMNS):
        facts[column] = 0
    count = divide(codes, kinds, size, tables.exceptions, tables.cuts, tables.units, word_ends, tails)
    start = 0
    facts[OPEN_OPEN] = 1
    for at in range(count):
        end = word_ends[at]
        _read_word(codes, kinds, start, end, facts)
        start = end
    run = 0
    for at in range(size):
        code = codes[at]
        run = run + 1 if code == DOT else 0
        if run == 3 or code == ELLIPSIS:
            facts[ELLIPSES] += 1
            run = 0
        facts[NUMBER_SIGNS] += code == ord("#")
        facts[UNSPACED] += (kinds[at] & UNSPACED_LETTER) != 0
    facts[WORDS], facts[CHARACTERS], facts[FLAGS] = count, size, _flags(codes, kinds, size, tables.suspects)
    return count


@inlined
def _read_word(codes: Codes, kinds: Kinds, start: int, end: int, facts: Integers) -> None:
    every, some = kinds[start], kinds[start]
    for at in range(start + 1, end):
        every &= kinds[at]
        some |= kinds[at]
    facts[ALPHABETIC_WORDS] += (some & LETTER) != 0
    if not every & SYMBOL:
        facts[PLAIN_WORDS] += 1
        facts[PLAIN_CHARACTERS] += end - start
    if end - start == 1 and kinds[start] & STOP:
        facts[OPEN] = facts[OPEN_OPEN] = 1
    elif not every & MARK:
        facts[TURNS] += facts[OPEN]
        facts[TURNS_OPEN] += facts[OPEN_OPEN]
        facts[OPEN] = facts[OPEN_OPEN] = 0


@inlined
def _flags(codes: Codes, kinds: Kinds, size: int, suspects: Codes) -> int:
    flags, last, run = 0, codes[size - 1], 0
    while run < 3 and run < size and codes[size - 1 - run] == ord("."):
        run += 1
    if codes[0] == ord("•") or codes[0] == ord("-"):
        flags |= BULLET
    if last == ELLIPSIS or run == 3:
        flags |= ENDS_ELLIPSIS
    if kinds[size - 1] & TERMINAL:
        flags |= ENDS_TERMINAL
    if ends_sentence(codes, size):
        flags |= ENDS_SENTENCE
    seen = np.int32(0)
    for at in range(size):
        seen |= np.int32(1) << np.int32(lowered(codes[at]) & 31)
        if codes[at] == ord("{"):
            flags |= CURLY
        elif codes[at] == ord("["):
            flags |= SQUARE
    for row in range(len(suspects)):
        if seen & suspects[row, -1] == suspects[row, -1] and holds(codes, size, suspects[row]):
            flags |= SUSPECT
    return flags


@kernel
def ends_sentence(codes: Codes, size: int) -> bool:
    """Whether this ends with . ? ! " or ' and not with three full stops."""
    if not size:
        return False
    last = codes[size - 1]
    if last == ord("."):
        return size < 3 or not codes[size - 2] == codes[size - 3] == last
    return last in (ord("?"), ord("!"), ord('"'), ord("'"))


@inlined
def holds(codes: Codes, size: int, phrase: Codes) -> bool:
    """Whether a phrase in small letters, with a zero after it, is here in small or capital letters."""
    for at in range(size):
        run = 0
        while phrase[run] and at + run < size and lowered(codes[at + run]) == phrase[run]:
            run += 1
        if not phrase[run]:
            return True
    return False


@inlined
def lowered(code: int) -> int:
    if ord("A") <= code <= ord("Z"):
        return code + 32
    return ord("k") if code == KELVIN else code
