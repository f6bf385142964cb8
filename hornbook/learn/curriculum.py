"""Which source each training sequence is from: by weights that change from phase to phase, within limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from hornbook.errors import EmptyInput, UsageError
from hornbook.learn.batches import Integers
from hornbook.learn.order import salted


@dataclass(frozen=True)
class Phase:
    """A stretch of training and how its sequences are shared out among the sources."""

    until: float
    """Where it ends, as a fraction of training."""
    weights: dict[str, float]
    """Of each source."""


def check(phases: Sequence[Phase]) -> None:
    """That phases follow one another to the end of training, and weights are weights.

    Raises:
        UsageError: they do not.
    """
    for name, weight in (item for phase in phases for item in phase.weights.items()):
        if not 0 <= weight < np.inf:
            raise UsageError(f"phases: the weight of {name} is {weight:g}", hint="0 or more is possible")
    ends = [0.0, *(phase.until for phase in phases)]
    for before, end in pairwise(ends):
        if not before < end <= 1:
            raise UsageError(
                f"phases: one ends at {end:g}, after one that ends at {before:g}",
                hint="`until` grows from phase to phase, up to 1",
            )
    if ends[-1] != 1:
        raise UsageError(f"phases: the last one ends at {ends[-1]:g}", hint="its `until` is 1")


def last(weights: Mapping[str, float], names: Sequence[str]) -> list[Phase]:
    """Phases that see what `weights` sees, but `names` at the end and one after another, the first of them first.

    Taking a document out of a model means to train again from the last checkpoint that had not seen it: the later a
    source comes, the less that is.
    """
    whole = sum(weights.values())
    late = [name for name in names if weights.get(name, 0) > 0]
    first = {name: weight for name, weight in weights.items() if name not in late and weight > 0}
    parts = [part for part in (first, *({name: weights[name]} for name in late)) if part]
    ends = np.cumsum([sum(part.values()) / whole for part in parts]).tolist()
    return [Phase(until, part) for until, part in zip([*ends[:-1], 1.0], parts, strict=True)]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sequences up to `end`, and the share of each source in them."""

    end: int
    shares: Mapping[str, float]


def stretches(phases: Sequence[Phase], *, total: int, limits: Mapping[str, float]) -> list[Stretch]:
    """Phases of a training of `total` sequences in which no source gives more than its limit.

    What a source can no longer give is shared out among the others of the phase by their weights; what it gives is
    spread evenly over the phase.

    Raises:
        EmptyInput: the sources of a phase may not give as much as it takes.
    """
    left, start, found = dict(limits), 0, []
    for phase in phases:
        end = round(phase.until * total)
        given = _shared(end - start, phase, left)
        left = {name: room - given.get(name, 0.0) for name, room in left.items()}
        if end > start:
            found.append(Stretch(end, {name: number / (end - start) for name, number in given.items()}))
        start = end
    return found


def _shared(wanted: int, phase: Phase, left: Mapping[str, float]) -> dict[str, float]:
    """Sequences of each source: in proportion to the weights, as far as what is left of them allows."""
    weights = {name: weight for name, weight in phase.weights.items() if weight > 0}
    given: dict[str, float] = {}
    while weights:
        rest = wanted - sum(given.values())
        whole = sum(weights.values())
        used_up = [name for name, weight in weights.items() if rest * weight / whole > left.get(name, np.inf)]
        if not used_up:
            return given | {name: rest * weight / whole for name, weight in weights.items()}
        for name in used_up:
            given[name] = max(0.0, left[name])
            del weights[name]
    if given and sum(given.values()) >= wanted - 1:
        return given
    raise EmptyInput(
        f"the phase until {phase.until:g} takes {wanted:,} sequences, and its sources may give no more than "
        f"{sum(given.values()):,.0f}",
        hint="raise `epochs` or `caps`, add a source, or train on fewer tokens",
    )


class Draw:
    """Sequence number -> (source, how many sequences that source has given before): the same whenever it is asked.

    Sequences are drawn in blocks. In a block each source has its share, to within one sequence, in an order by hash;
    what rounding left over is made up for in the next block.
    """

    BLOCK = 4096

    def __init__(self, stretches: Sequence[Stretch], names: Sequence[str], *, seed: int) -> None:
        self.seed = seed
        self._ends = np.array([stretch.end for stretch in stretches])
        self._shares = np.array([[stretch.shares.get(name, 0.0) for name in names] for stretch in stretches])
        self._starts = [0]
        self._before: list[Integers] = [np.zeros(len(names), np.int64)]
        self._due = np.zeros(len(names))
        self._block = lru_cache(maxsize=2)(self._drawn)

    def __call__(self, number: int) -> tuple[int, int]:
        block = self._reach(number)
        inside = number - self._starts[block]
        drawn = self._block(block)
        source = int(drawn[inside])
        return source, int(self._before[block][source]) + int((drawn[:inside] == source).sum())

    def counts(self, number: int) -> Integers:
        """Sequences of each source among the first `number`."""
        block = self._reach(number)
        drawn = self._block(block)[: number - self._starts[block]]
        return self._before[block] + np.bincount(drawn, minlength=self._shares.shape[1])

    def _reach(self, number: int) -> int:
        """The block that a sequence is in, once the counts of all before it and of it are known."""
        while self._starts[-1] <= number:
            self._add_block()
        return int(np.searchsorted(self._starts, number, side="right")) - 1

    def _add_block(self) -> None:
        """Share out the next sequences, as many as a block has, or as there are up to the next phase."""
        start = self._starts[-1]
        phase = min(int(np.searchsorted(self._ends, start, side="right")), len(self._ends) - 1)
        size = self.BLOCK if start >= self._ends[phase] else min(self.BLOCK, int(self._ends[phase]) - start)
        self._due += size * self._shares[phase]
        counts = _rounded(self._due - self._before[-1], size, allowed=self._shares[phase] > 0)
        self._starts.append(start + size)
        self._before.append(self._before[-1] + counts)

    def _drawn(self, block: int) -> Integers:
        numbers = np.arange(self._starts[block], self._starts[block + 1], dtype=np.uint64)
        counts = self._before[block + 1] - self._before[block]
        order = np.argsort(salted(numbers, seed=self.seed, purpose="source"), kind="stable")
        drawn = np.empty(len(numbers), np.int64)
        drawn[order] = np.repeat(np.arange(len(counts)), counts)
        return drawn


def _rounded(due: np.ndarray, size: int, *, allowed: np.ndarray) -> Integers:
    """Whole numbers near `due` that sum to `size`: what is missing goes to those that are owed most."""
    counts = np.where(allowed, np.maximum(np.floor(due + 1e-9), 0), 0).astype(np.int64)
    while (missing := size - int(counts.sum())) != 0:
        owed = np.where(allowed, due - counts, -np.inf)
        step = 1 if missing > 0 else -1
        candidates = owed if step > 0 else np.where(counts > 0, -owed, -np.inf)
        counts[int(np.argmax(candidates))] += step
    return counts
