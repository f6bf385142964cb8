"""Near duplicates by MinHash (Broder 1997) with bands, each pair of a band confirmed by its real Jaccard similarity.

Without the confirmation, chains of chance collisions pull unrelated documents, and whole sources, into one cluster.

A document is the set of its runs of words (shingles). Case, accents, punctuation and the values of numbers make no
difference, as in datatrove's MinHash; where no spaces are written between words, each character is a word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hornbook.text.duplicates.word_hashes import (
    MULTIPLIER,
    Bytes,
    Hashes,
    Places,
    Table,
    encoded,
    encoded_all,
    find_words,
    folding,
    hash_runs,
    hash_words,
    mixed,
)

Signatures = NDArray[np.uint32]
NONE = np.uint32(0xFFFFFFFF)
"""The signature of a text without words is made of this."""
TEXTS = 128
"""Texts that are encoded at once, so that they stay in the cache, too."""
CHUNK, LANES = 2048, 64
"""Shingles that are mapped at once, so that they stay in the cache, and that fill whole vector instructions."""


def shingles(text: str, *, words: int = 5) -> Hashes:
    """The set of hashes of all runs of `words` words, as a sorted array of 64-bit integers; empty for an empty text.

    A text of fewer words is one run.
    """
    hashes = hash_words(encoded(text), folding(numbers=True))
    runs = np.empty(len(hashes), np.uint64)
    runs = np.sort(runs[: hash_runs(hashes, len(hashes), words, runs)])
    found: Hashes = runs[np.append(True, runs[1:] != runs[:-1])[: len(runs)]]
    return found


def signatures(texts: Sequence[str], *, words: int = 5, permutations: int = 112, seed: int = 1) -> Signatures:
    """The MinHash signatures [texts, permutations]: the least of a text's shingles under each of many linear maps.

    Two texts agree at a place with a probability that is the Jaccard similarity of their shingles. A text without
    words has the largest value everywhere.
    """
    factors, terms = _maps(permutations, seed)
    signed = np.full((len(texts), permutations), NONE)
    for at in range(0, len(texts), TEXTS):
        data, ends = encoded_all(texts[at : at + TEXTS])
        _sign(data, ends, folding(numbers=True), words, factors, terms, signed[at : at + TEXTS])
    return signed


def band_keys(signatures: Signatures, *, bands: int, rows: int) -> Hashes:
    """A key [texts, bands] of each band of `rows` values, other for equal values in other bands; 0 without words."""
    values = signatures[:, : bands * rows].reshape(len(signatures), bands, rows)
    keys = np.tile(np.arange(1, bands + 1, dtype=np.uint64), (len(signatures), 1))
    for row in range(rows):
        keys = mixed_all(keys * MULTIPLIER + values[:, :, row])
    keys[(signatures == NONE).all(axis=1)] = 0
    return keys


def clusters(
    texts: Sequence[str], *, words: int = 5, threshold: float = 0.8, bands: int = 14, rows: int = 8, seed: int = 1
) -> list[int]:
    """For each text the place of its cluster's survivor: the earliest of a chain of pairs at least `threshold` alike.

    `bands` of `rows` values each find a pair of similarity s with probability 1 - (1 - s^rows)^bands. With a threshold
    of 0 every pair that agrees in a band is believed, as by datatrove.
    """
    signed = signatures(texts, words=words, permutations=bands * rows, seed=seed)
    pairs = _pairs(band_keys(signed, bands=bands, rows=rows))
    if threshold:
        sets = {at: shingles(texts[at], words=words) for at in np.unique(pairs).tolist()}
        alike = [jaccard(sets[one], sets[other]) >= threshold for one, other in pairs.tolist()]
        pairs = pairs[np.array(alike, bool)]
    survivors: list[int] = _joined(pairs, len(texts)).tolist()
    return survivors


def jaccard(one: Hashes, other: Hashes) -> float:
    """The share of two sorted sets of hashes that they have in common."""
    common = _common(one, other)
    union = len(one) + len(other) - common
    return float(common / union) if union else 0.0


def _maps(permutations: int, seed: int) -> tuple[Signatures, Signatures]:
    random = np.random.Generator(np.random.PCG64(seed))
    factors = random.integers(0, 2**31, permutations, np.uint32) * np.uint32(2) + np.uint32(1)
    return factors, random.integers(0, 2**32, permutations, np.uint32)


def _pairs(keys: Hashes) -> Places:
    """Pairs [n, 2] that agree in a band: each with the first of its bucket, and with the one before it."""
    found = [np.empty((0, 2), np.int64)]
    for band in keys.T:
        order = np.argsort(band, kind="stable")
        order = order[band[order] != 0]
        new = np.diff(band[order], prepend=np.uint64(0)) != 0
        first = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
        found.append(np.stack([first, order], axis=1)[~new])
        found.append(np.stack([order[:-1], order[1:]], axis=1)[~new[1:]])
    return np.unique(np.concatenate(found), axis=0)


@njit(cache=True, nogil=True)
def _sign(
    data: Bytes,
    ends: Places,
    table: Table,
    words: int,
    factors: Signatures,
    terms: Signatures,
    signed: Signatures,
) -> None:
    longest = 0
    for text in range(len(signed)):
        longest = max(longest, ends[text + 1] - ends[text])
    most = longest // 2 + 2
    hashes, runs = np.empty(most, np.uint64), np.empty(most + LANES, np.uint32)
    nowhere = np.empty(0, np.uint32)
    for text in range(len(signed)):
        found = find_words(data[ends[text] : ends[text + 1]], table, hashes, nowhere, nowhere)
        count = hash_runs(hashes, found, words, runs)
        padded = (count + LANES - 1) // LANES * LANES
        runs[count:padded] = runs[0]  # What is twice in a set changes no least value.
        for at in range(0, padded, CHUNK):
            _lower(runs[at : min(padded, at + CHUNK)], factors, terms, signed[text])


@njit(cache=True, nogil=True)
def _lower(runs: Signatures, factors: Signatures, terms: Signatures, signature: Signatures) -> None:
    """Lower a signature to the least value of the runs under each map, modulo 2^32.

    The runs are the inner loop, since then the compiler turns it into vector instructions without loads of the rest.
    """
    for place in range(len(signature)):
        factor, term, least = factors[place], terms[place], signature[place]
        for at in range(len(runs)):
            least = min(least, np.uint32(runs[at] * factor + term))
        signature[place] = least


@njit(cache=True, nogil=True)
def mixed_all(values: Hashes) -> Hashes:
    """`mixed` of each value."""
    flat = values.ravel()
    for at in range(len(flat)):
        flat[at] = mixed(flat[at])
    return flat.reshape(values.shape)


@njit(cache=True, nogil=True)
def _common(one: Hashes, other: Hashes) -> int:
    """How many values two sorted sets have in common."""
    common, left, right = 0, 0, 0
    while left < len(one) and right < len(other):
        a, b = one[left], other[right]
        common += a == b
        left += a <= b
        right += b <= a
    return common


@njit(cache=True, nogil=True)
def _joined(pairs: Places, count: int) -> Places:
    """For each of `count` places the least one that a chain of pairs leads to."""
    parents = np.arange(count)
    for pair in range(len(pairs)):
        one, other = pairs[pair]
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        while parents[other] != other:
            parents[other] = parents[parents[other]]
            other = parents[other]
        parents[max(one, other)] = min(one, other)
    for at in range(count):
        parents[at] = parents[parents[at]]
    return parents
