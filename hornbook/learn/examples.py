"""Whole examples packed into rows, as a pure function of the step: to resume is to ask for the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hornbook.errors import EmptyInput, InputError
from hornbook.learn.batches import Batch, Integers, Row, stack
from hornbook.learn.packing import pack
from hornbook.text.document import order_key

LENGTHS_TRIED = 8
"""Lengths of rows into which the examples of a step are packed, to find the one that pads least."""


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation as tokens and which of them are answers."""

    id: str
    tokens: Integers
    """int64[n]"""
    answer: npt.NDArray[np.bool_]
    """bool[n]: learned."""
    cut: int = 0
    """Tokens left off because the conversation was too long."""


class Examples:
    """Groups of examples (one conversation; or chosen and rejected of a pair) packed into rows of at most `length`.

    A step takes `groups_per_step` groups in the order of a keyed hash of (seed, epoch, id), so what it learns does not
    depend on how they are packed; they fill rows by best fit decreasing, and `rows` rows make a micro-batch. A group
    stays in one row. Inside a row every example is its own document, so no token sees another conversation; what the
    examples of a group have in common before their answers is there once (`shared`), unless each is to stand `alone`.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Example, ...]],
        *,
        length: int,
        groups_per_step: int,
        rows: int,
        seed: int,
        alone: bool = False,
    ) -> None:
        if not groups:
            raise EmptyInput("no examples to train on")
        for group in groups:
            if (size := _size(group, alone=alone)) > length:
                raise InputError(f"{group[0].id}: {size} tokens do not fit a row of {length}")
        self.groups, self.groups_per_step, self.seed, self.alone = groups, groups_per_step, seed, alone
        self.length, self.rows = length, rows
        self._epoch = lru_cache(maxsize=2)(self._order)

    def step(self, step: int) -> tuple[Batch, ...]:
        """The micro-batches of one step; steps count from 0 and go on through the epochs."""
        first = step * self.groups_per_step
        taken = [self.groups[self._at(number)] for number in range(first, first + self.groups_per_step)]
        return batched(taken, length=self.length, rows=self.rows, alone=self.alone)

    def steps(self, epochs: float) -> int:
        """Steps that see every example `epochs` times, rounded up."""
        return max(1, -(-round(epochs * len(self.groups)) // self.groups_per_step))

    def seen(self, steps: int) -> Sequence[tuple[Example, ...]]:
        """The groups that so many steps learn from, each once."""
        if (taken := steps * self.groups_per_step) >= len(self.groups):
            return self.groups
        return [self.groups[self._at(number)] for number in range(taken)]

    def _at(self, number: int) -> int:
        epoch, place = divmod(number, len(self.groups))
        return self._epoch(epoch)[place]

    def _order(self, epoch: int) -> list[int]:
        def key(row: int) -> int:
            return order_key(self.groups[row][0].id, seed=self.seed, purpose=f"epoch {epoch}")

        return sorted(range(len(self.groups)), key=key)


def batched(groups: Sequence[tuple[Example, ...]], *, length: int, rows: int, alone: bool = False) -> tuple[Batch, ...]:
    """Pack groups into rows of at most `length` positions and rows into batches of `rows`; every group once."""
    packed = _tightest([_size(group, alone=alone) for group in groups], length=length, rows=rows)
    laid = [_row([groups[i] for i in row], alone=alone) for row in packed]
    return tuple(stack(laid[i : i + rows]) for i in range(0, len(laid), rows))


def _tightest(sizes: Sequence[int], *, length: int, rows: int) -> list[Integers]:
    """Of packings into rows of several lengths up to `length`, the one with the fewest positions, padding included.

    A few conversations seldom fill full rows: the last is short, and what is beside it in its batch is padding.
    """

    def positions(packed: list[Integers]) -> int:
        filled = [sum(sizes[i] for i in row) for row in packed]
        return sum(len(filled[i : i + rows]) * max(filled[i : i + rows]) for i in range(0, len(filled), rows))

    lengths = np.linspace(max(sizes, default=length), length, LENGTHS_TRIED, dtype=np.int64)
    # Of equal ones the shortest rows: attention is square.
    return min((pack(sizes, length=int(tried)) for tried in lengths), key=positions)


def longest(groups: Sequence[tuple[Example, ...]]) -> int:
    """Positions of the longest group. Attention is square: longer rows spend more on keys that no token sees."""
    return max((_size(group, alone=False) for group in groups), default=0)


def shared(group: tuple[Example, ...]) -> int:
    """Positions at the beginning of all examples of a group that hold the same token and learn nothing."""
    first, *others = (example.tokens for example in group)
    common = min(int(np.argmin([*(first[: len(other)] == other[: len(first)]), False])) for other in others)
    # A position learns the token after its own.
    return max(0, min(common, *(int(example.answer.argmax()) - 1 for example in group)))


def judged(example: Example) -> Example:
    """A conversation of which one number is learned, read at its last token: the only position that has weight.

    What would follow that token is nothing; it takes one position more than when its answers are learned.
    """
    answer = np.zeros(len(example.tokens) + 1, bool)
    answer[-1] = True
    return replace(example, tokens=np.append(example.tokens, 0), answer=answer)


def _size(group: tuple[Example, ...], *, alone: bool) -> int:
    whole = sum(len(example.tokens) - 1 for example in group)
    return whole if alone or len(group) == 1 else whole - (len(group) - 1) * shared(group)


def _row(groups: Sequence[tuple[Example, ...]], *, alone: bool) -> Row:
    """Examples end to end; n tokens take n - 1 positions, as inputs and, one later, as targets.

    The first example of a group is whole, the others are what comes after the positions that they share with it.
    """
    parts: list[tuple[Example, int, int]] = []
    place = 0
    for group in groups:
        start, common = place, 0 if alone or len(group) == 1 else shared(group)
        for example in group:
            left_out = common if example is not group[0] else 0
            parts.append((example, start, left_out))
            place += len(example.tokens) - 1 - left_out
    sizes = [len(example.tokens) - 1 - left_out for example, _, left_out in parts]
    seen = np.array([(start, start + left_out) for _, start, left_out in parts])
    return Row(
        np.concatenate([example.tokens[left_out:-1] for example, _, left_out in parts]),
        np.concatenate([example.tokens[left_out + 1 :] for example, _, left_out in parts]),
        np.concatenate([example.answer[left_out + 1 :] for example, _, left_out in parts]).astype(np.float64),
        np.repeat(np.arange(len(parts)), sizes),
        tuple(example.id for example, _, _ in parts),
        np.repeat(seen, sizes, axis=0) if any(left_out for _, _, left_out in parts) else None,
    )
