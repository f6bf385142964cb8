"""A small n-gram language model that is a filter: how surprising is a text?

CCNet (Wenzek et al. 2020, arXiv 1911.00359) sorted the crawl into head, middle and tail by the perplexity under a
5-gram model of Wikipedia. This one is a trigram model of words with interpolated Kneser-Ney smoothing (Chen and
Goodman 1999, section 4.1.6): each order discounts what it has seen and gives what is left to the order below. Below the
single words is their spelling, so that a text of unknown words has a probability too. White space costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hornbook.errors import EmptyInput, InputError
from hornbook.text import stored
from hornbook.text.document import Document
from hornbook.text.ngrams import Bytes, Hashes, Places, extend, next_word, packed

KIND = "perplexity"
ORDERS = 3
END = 256
"""Stands for the end of a word in its spelling."""

Floats = NDArray[np.float32]
SLOT = np.dtype([("run", np.uint64), ("chance", np.float32), ("left", np.float32)])
"""A run where its hash finds it, with its chances: side by side, so that they are one access to memory."""


@dataclass(frozen=True)
class Perplexity:
    """Probabilities of runs of one, two and three words, found by the hash of the run."""

    name: str
    hashes: Hashes
    """Of the runs, sorted, none twice."""
    chances: Floats
    """[runs, 2]: the discounted probability of a run's last word, and what is left for words not seen after the run."""
    spelling: Floats
    """[257, 257]: bits of a byte (or END) after another (after END: of the first) in a word that was not seen."""
    unseen: float
    """The probability that a word is one that was not seen."""
    slots: NDArray[np.void] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "slots", _slots(self.hashes, self.chances))

    def score(self, texts: Sequence[str]) -> Floats:
        """Bits per byte of each text; 0 for one without a word."""
        bits = _bits(*packed(texts), self.slots, self.spelling, self.unseen)
        return np.asarray(np.round(bits, 5), np.float32)

    def judge(self, document: Document, *, min_score: float = 0.0, max_score: float = 8.0) -> str | None:
        """A filter: from `min_score` to `max_score` bits per byte.

        Too few is repetition, too many is a list, a fragment, or another language than the model's.
        """
        bits = float(self.score([document.text])[0])
        if bits < min_score:
            return f"perplexity {self.name}: {bits:.2f} bits per byte, below {min_score:g}"
        return f"perplexity {self.name}: {bits:.2f} bits per byte, above {max_score:g}" if bits > max_score else None


# -- learning -------------------------------------------------------------------------------------------------------


def train(texts: Sequence[str], *, name: str = "reference", least: int = 2) -> Perplexity:
    """Learn from texts of the kind that is wanted, in any order; runs of three words count from `least` times on.

    Takes about 30 bytes of memory for each byte of text.

    Raises:
        EmptyInput: the texts hold too few words.
    """
    text, starts = packed(texts)
    runs = _runs(text, starts)
    if len(runs) < ORDERS or not runs[:, -1].any():
        raise EmptyInput(f"perplexity {name}: the texts hold no three words", hint="give texts of a million words")
    levels = [_level(runs, order) for order in range(ORDERS)]
    chances, left = _smoothed(levels, least)
    once = levels[0].hashes[levels[0].counts == 1]
    hashes, table = np.concatenate([one.hashes for one in levels]), np.stack([chances, left], axis=1)
    order = np.argsort(hashes, kind="stable")
    order = order[(table[order] != (0, 1)).any(axis=1)]
    unseen = max(1e-6, 1 - float(chances[: len(levels[0].hashes)].sum()))
    spelling = _spelling(_spelled(text, starts, once))
    return Perplexity(name, hashes[order], table[order].astype(np.float32), spelling, round(unseen, 9))


@dataclass(frozen=True)
class Level:
    """The runs of one length."""

    hashes: Hashes
    """Sorted, none twice."""
    contexts: Hashes
    """Of each run without its last word."""
    suffixes: Hashes
    """Of each run without its first word."""
    counts: NDArray[np.int64]


def _level(runs: Hashes, order: int) -> Level:
    places = np.flatnonzero(runs[:, order])
    hashes, first, counts = np.unique(runs[places, order], return_index=True, return_counts=True)
    if order == 0:
        return Level(hashes, hashes[:0], hashes[:0], counts)
    return Level(hashes, runs[places[first] - 1, order - 1], runs[places[first], order - 1], counts)


def _smoothed(levels: Sequence[Level], least: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For all runs, level by level: the discounted probability of the last word, and what is left after the run."""
    chances, left = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    for order, level in enumerate(levels):
        counts: NDArray[np.int64] = level.counts
        if order + 1 < len(levels):  # Kneser-Ney: how many different words stand before the run
            above = levels[order + 1].suffixes
            counts = np.maximum(1, np.bincount(np.searchsorted(level.hashes, above), minlength=len(level.hashes)))
        places = np.searchsorted(levels[order - 1].hashes, level.contexts) if order else np.zeros(len(counts), np.int64)
        chance = np.asarray(np.maximum(0, counts - _discount(counts)) / np.bincount(places, counts)[places], np.float64)
        if order + 1 == len(levels):
            chance[level.counts < least] = 0.0
        if order:
            taken = np.bincount(places, chance, minlength=len(levels[order - 1].hashes))
            left.append(1 - taken.astype(np.float64))
        chances.append(chance)
    left.append(np.ones(len(levels[-1].hashes)))
    return np.concatenate(chances), np.concatenate(left)


def _discount(counts: NDArray[np.int64]) -> float:
    """What is taken from each count (Ney et al. 1994): the share of once among once and twice two times."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return min(0.95, max(0.1, once / (once + 2 * twice))) if once else 0.5


def _spelling(counts: NDArray[np.float64]) -> Floats:
    smooth = counts + 0.05
    return np.asarray(np.round(np.log2(smooth.sum(axis=1, keepdims=True) / smooth), 5), np.float32)


# -- on disk --------------------------------------------------------------------------------------------------------


def save(model: Perplexity, folder: Path) -> None:
    """Write the model as `config.json` and `model.safetensors`."""
    arrays: stored.Arrays = {"hashes": model.hashes, "chances": model.chances, "spelling": model.spelling}
    stored.save(folder, {"kind": KIND, "name": model.name, "unseen": model.unseen}, arrays)


def load(folder: Path) -> Perplexity:
    """Read what `save` wrote.

    Raises:
        InputError: a file is missing, damaged, or of another kind of model.
    """
    types = {"hashes": "uint64", "chances": "float32", "spelling": "float32"}
    config, arrays = stored.load(folder, KIND, {"unseen": float}, types)
    hashes, chances, spelling = (arrays[name] for name in types)
    path = folder / stored.WEIGHTS
    if hashes.ndim != 1 or (hashes[1:] <= hashes[:-1]).any() or not hashes.all():
        raise InputError(f"{path}: hashes are not in order")
    if chances.shape != (len(hashes), 2) or spelling.shape != (END + 1, END + 1):
        raise InputError(f"{path}: chances {chances.shape} or spelling {spelling.shape} do not fit {len(hashes)} runs")
    if not 0 < config["unseen"] <= 1 or (chances < 0).any() or (chances > 1).any():
        raise InputError(f"{path}: a probability is not between 0 and 1")
    return Perplexity(config["name"], hashes, chances, spelling, config["unseen"])


# -- kernels --------------------------------------------------------------------------------------------------------


def _slots(hashes: Hashes, chances: Floats) -> NDArray[np.void]:
    """A table in which each run is at its hash modulo the size, or at the next place that was free."""
    table = np.zeros(1 << max(4, (3 * len(hashes) // 2).bit_length()), SLOT)
    _fill(hashes, chances, table)
    return table


@njit(cache=True, nogil=True)
def _fill(hashes: Hashes, chances: Floats, table: NDArray[np.void]) -> None:
    for at in range(len(hashes)):
        slot = _slot(table, hashes[at])
        table[slot]["run"] = hashes[at]
        table[slot]["chance"] = chances[at, 0]
        table[slot]["left"] = chances[at, 1]


@njit(cache=True, nogil=True)
def _slot(table: NDArray[np.void], run: np.uint64) -> np.int64:
    """The place of a run, or the free place where it would be."""
    mask = np.uint64(len(table) - 1)
    slot = (run >> np.uint64(20)) & mask
    while table[slot]["run"] != 0 and table[slot]["run"] != run:
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)


@njit(cache=True, nogil=True)
def _runs(text: Bytes, starts: Places) -> Hashes:
    """[words, ORDERS]: the hashes of the runs that end at each word; 0 where the text has too few words before it."""
    found = np.zeros((len(text), ORDERS), np.uint64)
    count = 0
    for document in range(len(starts) - 1):
        at, end, known = starts[document], starts[document + 1], 0
        while True:
            word, at = next_word(text, at, end)
            if word == 0:
                break
            if known:
                found[count] = found[count - 1]
            known = extend(found[count], known, word)
            count += 1
    return found[:count].copy()


@njit(cache=True, nogil=True)
def _spelled(text: Bytes, starts: Places, once: Hashes) -> NDArray[np.float64]:
    """How often a byte follows another in the words of `once`, which is sorted: they are like those never seen."""
    counts = np.zeros((END + 1, END + 1))
    for document in range(len(starts) - 1):
        at, end = starts[document], starts[document + 1]
        while True:
            word, behind = next_word(text, at, end)
            if word == 0:
                break
            place = np.searchsorted(once, word)
            if place < len(once) and once[place] == word:
                last = np.int64(END)
                for byte in text[at:behind]:
                    if byte > 32:
                        counts[last, byte] += 1
                        last = np.int64(byte)
                counts[last, END] += 1
            at = behind
    return counts


@njit(cache=True, nogil=True)
def _bits(
    text: Bytes, starts: Places, table: NDArray[np.void], spelling: Floats, unseen: float
) -> NDArray[np.float64]:
    found = np.zeros(len(starts) - 1)
    runs = np.zeros(ORDERS, np.uint64)
    left, before = np.ones(ORDERS), np.ones(ORDERS)  # after the runs that end at this word, and at the one before
    for document in range(len(starts) - 1):
        at, end, known, bits = starts[document], starts[document + 1], 0, 0.0
        while True:
            word, behind = next_word(text, at, end)
            if word == 0:
                break
            known = extend(runs, known, word)
            chance, seen = 0.0, True
            for length in range(known):
                chance *= before[length - 1]
                left[length] = 1.0
                if not seen:
                    continue
                slot = _slot(table, runs[length])
                seen = table[slot]["run"] == runs[length]
                if seen:
                    chance += table[slot]["chance"]
                    left[length] = table[slot]["left"]
                elif length == 0:
                    chance = unseen
                    bits += _spelling_bits(text[at:behind], spelling)
            bits -= np.log2(chance)
            before[:] = left
            at = behind
        if end > starts[document]:
            found[document] = bits / (end - starts[document])
    return found


@njit(cache=True, nogil=True)
def _spelling_bits(word: Bytes, spelling: Floats) -> float:
    """Bits of a word's bytes, each after the one before it, and of its end; white space before the word is nothing."""
    bits, last = 0.0, np.int64(END)
    for byte in word:
        if byte > 32:
            bits += spelling[last, byte]
            last = np.int64(byte)
    return float(bits + spelling[last, END])
