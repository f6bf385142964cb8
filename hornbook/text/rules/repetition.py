"""Repeated n-grams of words, counted exactly and only where they can be.

Words are numbered as they first come, then pairs of numbers, then triples as a pair and a word, and so on, each level
through one hash table. An n-gram is there twice only where both of its (n-1)-grams are, so every level asks only for
those, and stops where there are none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hornbook.text.kernel import inlined, kernel, signed
from hornbook.text.rules.chunks import Integers
from hornbook.text.rules.exceptions import Hashes
from hornbook.text.rules.words import mixed

Numbers = NDArray[np.int32]
ONE, HALF, LOWER_HALF = np.uint64(1), np.uint64(32), np.uint64(0xFFFFFFFF)
TOPS = 3
"""The most frequent n-gram is looked for at n = 2, 3, 4,"""
SHORTEST, LONGEST = 5, 10
"""repeated n-grams at n = 5 to 10."""


class Names(NamedTuple):
    """A hash table from 64-bit keys to numbers, and what is kept by word, by place or by number."""

    table: Hashes
    """Pairs: a key, and the generation with the number below it. What is of another generation is not there."""
    generation: Integers
    ids: Numbers
    """The number of each word."""
    times: Numbers
    firsts: Numbers
    """How often each number is there, and where first."""
    places: Numbers
    grams: Numbers
    """Where n-grams begin that are there more than once, in rising order, and their numbers."""


def new_names(size: int) -> Names:
    """Room for a text of `size` bytes."""
    slots = 1 << (2 * size + 2).bit_length()
    numbers = (np.zeros(size + 2, np.int32) for _ in range(5))
    return Names(np.zeros(2 * slots, np.uint64), np.zeros(1, np.int64), *numbers)


@kernel
def forget(names: Names) -> int:
    """Begin a new generation; a table that has seen too many is emptied."""
    names.generation[0] += 1
    if names.generation[0] >= 1 << 31:
        for at in range(len(names.table)):
            names.table[at] = 0
        names.generation[0] = 1
    return signed(names.generation[0])


@kernel
def slots_for(count: int) -> np.uint64:
    """The mask of the part of the table that is used for so many keys: a small part stays in the cache."""
    size = 64
    while size < 2 * count:
        size *= 2
    return np.uint64(size - 1)


@inlined
def intern(table: Hashes, generation: int, mask: np.uint64, key: np.uint64, number: int) -> int:
    """The number of a key, which is `number` if it is new.

    New or not is what nothing can predict, so both are written down alike, and only a place that is taken is a branch.
    """
    slot, now = key & mask, np.uint64(generation)
    while True:
        value = table[2 * slot + ONE]
        new = value >> HALF != now
        if new | (table[2 * slot] == key):
            chosen = np.uint64(number) if new else value & LOWER_HALF
            table[2 * slot], table[2 * slot + ONE] = key, now << HALF | chosen
            return signed(chosen)
        slot = (slot + ONE) & mask


@kernel
def count_repetition(
    words: Hashes, offsets: Numbers, count: int, names: Names, stops: Hashes, tops: Integers, repeated: Integers
) -> int:
    """Fill in characters of the most frequent 2- to 4-gram, and of repeated 5- to 10-grams.

    Returns how many of the words whose hashes are in the table `stops` are there.
    """
    mask = slots_for(count)
    generation = forget(names)
    ids, times, places, grams = names.ids, names.times, names.places, names.grams
    found = _number_words(words, count, names.table, generation, mask, ids, times, places, grams)
    known_stops = _count_stops(stops, names.table, generation, mask)
    for n in range(2, 2 + TOPS):
        found, tops[n - 2] = _top(offsets, count, n, found, names)
    for n in range(SHORTEST, LONGEST + 1):
        repeated[n - SHORTEST] = _repeated(offsets, n, found, names)
        if not repeated[n - SHORTEST]:
            break
    return known_stops


@kernel
def _number_words(
    words: Hashes,
    count: int,
    table: Hashes,
    generation: int,
    mask: np.uint64,
    ids: Numbers,
    times: Numbers,
    places: Numbers,
    grams: Numbers,
) -> int:
    """Number the words as they first come; fill in and count the places of those that are there more than once."""
    known, found = 0, 0
    for at in range(count):
        times[at] = 0
    for at in range(count):
        number = intern(table, generation, mask, words[at], known)
        known += number == known
        times[number] += 1
        ids[at] = number
    for at in range(count):
        places[found], grams[found] = at, ids[at]
        found += times[ids[at]] > 1
    return found


@kernel
def _count_stops(stops: Hashes, table: Hashes, generation: int, mask: np.uint64) -> int:
    """How many of the listed words are in the table."""
    count, now = 0, np.uint64(generation)
    for at in range(len(stops)):
        slot = stops[at] & mask
        while stops[at] and table[2 * slot + ONE] >> HALF == now:
            if table[2 * slot] == stops[at]:
                count += 1
                break
            slot = (slot + ONE) & mask
    return count


@kernel
def _top(offsets: Numbers, count: int, n: int, found: int, names: Names) -> tuple[int, int]:
    """Characters, with spaces, of the most frequent n-gram times its number; of those as frequent, the first's.

    `found` places of (n-1)-grams become places of n-grams; their number is returned first.
    """
    if count < n:
        return 0, 0
    table, ids, times, firsts, places, grams = (
        names.table,
        names.ids,
        names.times,
        names.firsts,
        names.places,
        names.grams,
    )
    generation, pairs, known = forget(names), 0, 0
    for at in range(found - 1):
        places[pairs], grams[pairs] = places[at], grams[at]
        pairs += places[at + 1] == places[at] + 1
    mask = slots_for(pairs)
    for at in range(pairs):
        times[at] = 0
    for at in range(pairs):
        key = mixed(np.uint64(grams[at]) << HALF | np.uint64(ids[places[at] + n - 1]))
        firsts[known] = places[at]
        number = intern(table, generation, mask, key, known)
        known += number == known
        times[number] += 1
        grams[at] = number
    most, first = 1, 0
    for number in range(known):
        if times[number] > most:
            most, first = times[number], firsts[number]
    left = 0
    for at in range(pairs):
        places[left], grams[left] = places[at], grams[at]
        left += times[grams[at]] > 1
    return left, most * (offsets[first + n] - offsets[first] + n - 1)


@kernel
def _repeated(offsets: Numbers, n: int, found: int, names: Names) -> int:
    """Characters of n-grams that were there before. The reading goes on after such a one, so none counts twice.

    `found` places are those of 4-grams that are there more than once, of which an n-gram has n - 3.
    """
    table, ids, places, more = names.table, names.ids, names.places, n - TOPS - 1
    generation, mask, repeated, known, done = forget(names), slots_for(found), 0, 0, 0
    for at in range(found - more):
        place = places[at]
        if place < done or places[at + more] != place + more:
            continue
        key = np.uint64(0)
        for word in range(place, place + n):
            key = mixed(key ^ np.uint64(ids[word] + 1))
        number = intern(table, generation, mask, key, known)
        if number == known:
            known += 1
        else:
            repeated += offsets[place + n] - offsets[place]
            done = place + n
    return repeated
