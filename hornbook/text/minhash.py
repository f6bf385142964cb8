"""Near duplicates by MinHash (Broder 1997) with bands, each pair of a band confirmed by its real Jaccard similarity.

Without the confirmation, chains of chance collisions pull unrelated documents, and whole sources, into one cluster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]


def shingles(text: str, *, words: int = 5) -> Hashes:
    """The set of hashes of all runs of `words` words, as a sorted array of 64-bit integers; empty for an empty text."""
    found = text.casefold().split()
    if not found:
        return np.empty(0, np.uint64)
    runs = {" ".join(found[at : at + words]) for at in range(max(1, len(found) - words + 1))}
    digests = b"".join(hashlib.blake2b(run.encode("utf-8", "replace"), digest_size=8).digest() for run in runs)
    return np.sort(np.frombuffer(digests, np.uint64))


def signature(hashes: Hashes, *, permutations: int = 112, seed: int = 1) -> Hashes:
    """The MinHash signature [permutations] of a set of hashes: its least value under each of many linear maps.

    Two sets agree at a place with a probability that is their Jaccard similarity.
    """
    factors, terms = _maps(permutations, seed)
    least = np.full(permutations, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(hashes), 4096):
        mapped = hashes[start : start + 4096, None] * factors + terms  # modulo 2^64
        np.minimum(least, (mapped >> np.uint64(32)).min(axis=0), out=least)
    return least


def _maps(permutations: int, seed: int) -> tuple[Hashes, Hashes]:
    random = np.random.Generator(np.random.PCG64(seed))
    factors = random.integers(0, 2**63, permutations, np.uint64) * np.uint64(2) + np.uint64(1)
    return factors, random.integers(0, 2**63, permutations, np.uint64)


def jaccard(one: Hashes, other: Hashes) -> float:
    """The share of two sorted sets of hashes that they have in common."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    union = len(one) + len(other) - common
    return common / union if union else 0.0


def clusters(
    sets: Iterable[Hashes], *, threshold: float = 0.8, bands: int = 14, rows: int = 8, seed: int = 1
) -> list[int]:
    """For each set the place of its cluster's survivor: the earliest of a chain of pairs at least `threshold` alike.

    `bands` of `rows` values each find a pair of similarity s with probability 1 - (1 - s^rows)^bands.
    """
    permutations = bands * rows
    signed = [(one, signature(one, permutations=permutations, seed=seed)) for one in sets]
    signatures = np.array([row for _, row in signed], np.uint64).reshape(-1, permutations)
    parents = list(range(len(signed)))
    for one, other in _pairs(signatures, bands, rows):
        first, second = _root(parents, one), _root(parents, other)
        if first != second and jaccard(signed[one][0], signed[other][0]) >= threshold:
            parents[max(first, second)] = min(first, second)
    return [_root(parents, at) for at in range(len(signed))]


def _pairs(signatures: Hashes, bands: int, rows: int) -> Iterator[tuple[int, int]]:
    """Pairs that agree in a band. Members of a bucket are compared with its first and with the one before them."""
    for band in range(bands):
        keys = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows]).view(f"V{8 * rows}").ravel()
        _, labels = np.unique(keys, return_inverse=True)
        order = np.argsort(labels, kind="stable")
        starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
        for start, end in pairwise([*starts, len(order)]):
            bucket = order[start:end].tolist()
            for before, member in pairwise(bucket):
                yield bucket[0], member
                if before != bucket[0]:
                    yield before, member


def _root(parents: list[int], at: int) -> int:
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = parents[at]
    return at
