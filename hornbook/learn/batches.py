"""What a step learns from, as a pure function of the step: to resume is to ask for the next one.

Two kinds: windows over a stream of documents (`Pretraining`), and whole examples packed into rows (`Examples`).
B rows, T positions.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hornbook.errors import EmptyInput, InputError
from hornbook.text.document import order_key
from hornbook.text.shards import Split

Integers = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch. Position t of a row sees `tokens` up to t of its own document and is to predict `targets[t]`."""

    tokens: Tensor
    """int64[B, T]"""
    targets: Tensor
    """int64[B, T]"""
    weights: Tensor
    """float32[B, T]: 1 where the target is learned, 0 for prompts, padding and removed documents."""
    documents: Tensor
    """int64[B, T]: index into `document_ids`; padding has the index one past the last."""
    document_ids: tuple[str, ...]
    """Row by row, left to right; a document cut over two rows is named twice."""

    def to(self, device: torch.device) -> Batch:
        moved = (self.tokens, self.targets, self.weights, self.documents)
        tokens, targets, weights, documents = (t.to(device, non_blocking=True) for t in moved)
        return replace(self, tokens=tokens, targets=targets, weights=weights, documents=documents)


# -- windows over a stream of documents -------------------------------------------------------------------------------


class Pretraining:
    """Sequences of `length` tokens, each from one source, drawn by weight; source and epoch fix the order of documents.

    The documents of a source form a stream, epoch after epoch, in each epoch ordered by a keyed hash of (seed, epoch,
    id). Window k of an epoch covers its tokens k*length .. (k+1)*length inclusive; the windows are drawn in an order of
    their own, so that a long document does not fill whole steps. A document in `removed` keeps its place: its tokens
    become separators that are never learned and that no other token sees.
    """

    def __init__(
        self,
        corpus: Split,
        *,
        weights: Mapping[str, float],
        separator: int,
        length: int,
        sequences: int,
        rows: int,
        seed: int,
        removed: frozenset[str] = frozenset(),
    ) -> None:
        self.corpus, self.separator, self.length = corpus, separator, length
        self.sequences, self.rows, self.seed = sequences, rows, seed
        self.removed = removed
        self.streams = _streams(corpus, weights, seed=seed)
        self._draw = _Draw([weights[stream.source] for stream in self.streams], seed=seed)

    def step(self, step: int) -> tuple[Batch, ...]:
        """The micro-batches, of at most `rows` sequences, of one step of `sequences` sequences; steps count from 0."""
        first = step * self.sequences
        windows = [self._window(*self._draw(number)) for number in range(first, first + self.sequences)]
        return tuple(_stack(windows[i : i + self.rows]) for i in range(0, len(windows), self.rows))

    def epochs(self, steps: int) -> dict[str, float]:
        """How often each source will have been read after `steps` steps."""
        counts = self._draw.counts(steps * self.sequences)
        return {s.source: int(n) * self.length / s.total for s, n in zip(self.streams, counts, strict=True)}

    def _window(self, stream_number: int, window: int) -> _Row:
        stream = self.streams[stream_number]
        start, need = stream.start(window, self.length), self.length + 1
        tokens, documents, learned = np.empty(need, np.int64), np.empty(need, np.int64), np.ones(need)
        names: list[str] = []
        filled = 0
        while filled < need:
            document, inside = stream.locate(start + filled)
            size = min(need - filled, int(self.corpus.lengths[document]) - inside)
            piece, name = slice(filled, filled + size), self.corpus.ids[document]
            gone = name in self.removed
            offset = int(self.corpus.offsets[document]) + inside
            tokens[piece] = self.separator if gone else self.corpus.tokens[offset : offset + size]
            documents[piece], learned[piece] = len(names), not gone
            names.append(name)
            filled += size
        # A document's last position learns to end: its target is the separator that the next one begins with.
        within = (documents[1:] == documents[:-1]) | (tokens[1:] == self.separator)
        names = names[: int(documents[-2]) + 1]
        return _Row(tokens[:-1], tokens[1:], learned[:-1] * within, documents[:-1], tuple(names))


class _Stream:
    """One source's documents, epoch after epoch."""

    def __init__(self, source: str, rows: Integers, keys: Keys, lengths: Integers, *, seed: int) -> None:
        self.source, self.rows, self.keys, self.lengths, self.seed = source, rows, keys, lengths, seed
        self.total = int(lengths.sum())
        self._epoch = lru_cache(maxsize=2)(self._order)
        self._windows = lru_cache(maxsize=2)(self._window_order)

    def start(self, number: int, length: int) -> int:
        """Where in the endless stream the `number`-th window of `length` tokens begins.

        The last window of an epoch reaches into the next one, so that every token is read in every epoch.
        """
        epoch, place = divmod(number, -(-self.total // length))
        return epoch * self.total + int(self._windows(epoch, length)[place]) * length

    def _window_order(self, epoch: int, length: int) -> Integers:
        numbers = np.arange(-(-self.total // length), dtype=np.uint64)
        return np.argsort(_mix(numbers ^ _salt(self.seed, epoch)), kind="stable")

    def locate(self, position: int) -> tuple[int, int]:
        """(document, token inside it) of a token of the endless stream."""
        epoch, within = divmod(position, self.total)
        order, ends = self._epoch(epoch)
        place = int(np.searchsorted(ends, within, side="right"))
        before = int(ends[place - 1]) if place else 0
        return int(self.rows[order[place]]), within - before

    def _order(self, epoch: int) -> tuple[Integers, Integers]:
        """Order of the documents in one epoch and where each ends."""
        order = np.argsort(_mix(self.keys ^ _salt(self.seed, epoch)), kind="stable")
        return order, np.cumsum(self.lengths[order])


def _streams(corpus: Split, weights: Mapping[str, float], *, seed: int) -> list[_Stream]:
    """The sources with weight, by name; a weight for a source that has no tokens is an error."""
    sources, lengths = np.asarray(corpus.sources), np.asarray(corpus.lengths)
    there = sorted(set(corpus.sources))
    streams = []
    for source in sorted(name for name, weight in weights.items() if weight > 0):
        rows = np.flatnonzero((sources == source) & (lengths > 0))
        if not len(rows):
            raise InputError(f"no tokens of source {source!r} to train on", hint=f"the sources are: {', '.join(there)}")
        keys = np.array([order_key(corpus.ids[int(row)], seed=seed, purpose="epoch") for row in rows], np.uint64)
        streams.append(_Stream(source, rows, keys, lengths[rows], seed=seed))
    if not streams:
        raise EmptyInput("no source has a weight above 0", hint=f"the sources are: {', '.join(there)}")
    return streams


class _Draw:
    """Sequence number -> (source, how many sequences that source has given before): by hash, so the same on resume."""

    BLOCK = 65536

    def __init__(self, weights: Sequence[float], *, seed: int) -> None:
        self.limits = np.cumsum(weights) / np.sum(weights)
        self.salt = np.uint64(order_key("source", seed=seed, purpose="salt"))
        self.before: list[Integers] = [np.zeros(len(weights), np.int64)]
        self._block = lru_cache(maxsize=2)(self._drawn)

    def __call__(self, number: int) -> tuple[int, int]:
        block, inside = divmod(number, self.BLOCK)
        drawn = self._block(block)
        source = int(drawn[inside])
        return source, int(self._before(block)[source]) + int((drawn[:inside] == source).sum())

    def counts(self, number: int) -> Integers:
        """Sequences of each source among the first `number`."""
        block, inside = divmod(number, self.BLOCK)
        return self._before(block) + self._count(self._block(block)[:inside])

    def _before(self, block: int) -> Integers:
        for done in range(len(self.before) - 1, block):
            self.before.append(self.before[done] + self._count(self._block(done)))
        return self.before[block]

    def _count(self, drawn: Integers) -> Integers:
        return np.bincount(drawn, minlength=len(self.limits)).astype(np.int64)

    def _drawn(self, block: int) -> Integers:
        numbers = np.arange(block * self.BLOCK, (block + 1) * self.BLOCK, dtype=np.uint64)
        uniform = (_mix(numbers ^ self.salt) >> np.uint64(11)) * 2.0**-53
        return np.minimum(np.searchsorted(self.limits, uniform, side="right"), len(self.limits) - 1).astype(np.int64)


def _salt(seed: int, epoch: int) -> np.uint64:
    return np.uint64(order_key(str(epoch), seed=seed, purpose="salt"))


def _mix(keys: Keys) -> Keys:
    """splitmix64's finalizer (Steele et al., 2014): a bijection of 64-bit numbers that looks random."""
    mixed = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


# -- whole examples, packed -------------------------------------------------------------------------------------------


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
    stays in one row. Inside a row every example is its own document, so no token sees another conversation.
    """

    def __init__(
        self, groups: Sequence[tuple[Example, ...]], *, length: int, groups_per_step: int, rows: int, seed: int
    ) -> None:
        if not groups:
            raise EmptyInput("no examples to train on")
        for group in groups:
            if _size(group) > length:
                raise InputError(f"{group[0].id}: {_size(group)} tokens do not fit a row of {length}")
        self.groups, self.groups_per_step, self.seed = groups, groups_per_step, seed
        self.length, self.rows = length, rows
        self._epoch = lru_cache(maxsize=2)(self._order)

    def step(self, step: int) -> tuple[Batch, ...]:
        """The micro-batches of one step; steps count from 0 and go on through the epochs."""
        first = step * self.groups_per_step
        taken = [self.groups[self._at(number)] for number in range(first, first + self.groups_per_step)]
        return batched(taken, length=self.length, rows=self.rows)

    def steps(self, epochs: float) -> int:
        """Steps that see every example `epochs` times, rounded up."""
        return max(1, -(-round(epochs * len(self.groups)) // self.groups_per_step))

    def _at(self, number: int) -> int:
        epoch, place = divmod(number, len(self.groups))
        return self._epoch(epoch)[place]

    def _order(self, epoch: int) -> list[int]:
        def key(row: int) -> int:
            return order_key(self.groups[row][0].id, seed=self.seed, purpose=f"epoch {epoch}")

        return sorted(range(len(self.groups)), key=key)


def batched(groups: Sequence[tuple[Example, ...]], *, length: int, rows: int) -> tuple[Batch, ...]:
    """Pack groups into rows of at most `length` positions and rows into batches of `rows`; every group once."""
    packed = pack([_size(group) for group in groups], length=length)
    laid = [[example for i in row for example in groups[i]] for row in packed]
    return tuple(_lay(laid[i : i + rows]) for i in range(0, len(laid), rows))


def pack(sizes: Sequence[int], *, length: int) -> list[list[int]]:
    """Best fit decreasing: rows of indices whose sizes sum to at most `length` (11/9 of the optimum at worst)."""
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        place = bisect.bisect_left(free, (sizes[index], 0))
        left, row = free.pop(place) if place < len(free) else (length, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(index)
        bisect.insort(free, (left - sizes[index], row))
    return rows


@dataclass(frozen=True, slots=True)
class _Row:
    tokens: Integers
    targets: Integers
    weights: npt.NDArray[np.float64]
    documents: Integers
    names: tuple[str, ...]


def _size(group: tuple[Example, ...]) -> int:
    return sum(len(example.tokens) - 1 for example in group)


def _lay(rows: Sequence[Sequence[Example]]) -> Batch:
    """Examples end to end in each row; n tokens take n - 1 positions, as inputs and, one later, as targets."""
    return _stack([_row(examples) for examples in rows])


def _row(examples: Sequence[Example]) -> _Row:
    sizes = [len(example.tokens) - 1 for example in examples]
    return _Row(
        np.concatenate([example.tokens[:-1] for example in examples]),
        np.concatenate([example.tokens[1:] for example in examples]),
        np.concatenate([example.answer[1:] for example in examples]).astype(np.float64),
        np.repeat(np.arange(len(examples)), sizes),
        tuple(example.id for example in examples),
    )


def _stack(rows: Sequence[_Row]) -> Batch:
    """Rows of a batch side by side, padded on the right to the longest, documents numbered through."""
    shape = (len(rows), max(len(row.tokens) for row in rows))
    names = tuple(name for row in rows for name in row.names)
    tokens, targets, weights = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    documents, first = np.full(shape, len(names)), 0
    for place, row in enumerate(rows):
        size = len(row.tokens)
        tokens[place, :size], targets[place, :size], weights[place, :size] = row.tokens, row.targets, row.weights
        documents[place, :size] = row.documents + first
        first += len(row.names)
    t = torch.from_numpy
    return Batch(t(tokens), t(targets), t(weights), t(documents), names)
