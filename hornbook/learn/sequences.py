"""The training sequences of one source, one after another without end, in two ways to cut documents into them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np

from hornbook.learn.batches import Integers, Row
from hornbook.learn.order import shuffled
from hornbook.learn.packing import pack
from hornbook.learn.sources import Piece, Source

Packing = Literal["stream", "whole"]


class Sequences(Protocol):
    """A source's sequences: the `number`-th is a function of the number."""

    source: Source
    an_epoch: float
    """Sequences in which every token is read once."""

    def row(self, number: int) -> Row:
        """A sequence; numbers count from 0 and go on through the epochs."""
        ...


def sequences(source: Source, packing: Packing, *, length: int, seed: int) -> Sequences:
    """A source's sequences of at most `length` positions."""
    kind = Stream if packing == "stream" else Whole
    return kind(source, length=length, seed=seed)


class Stream:
    """Windows over the documents end to end, epoch after epoch, in each epoch in another order.

    Window k of an epoch covers its tokens k*length .. (k+1)*length; the windows are drawn in an order of their own, so
    that a long document does not fill whole steps. The last one reaches into the next epoch, so that every token is
    read in every epoch.
    """

    def __init__(self, source: Source, *, length: int, seed: int) -> None:
        self.source, self.length, self.seed = source, length, seed
        self.windows = -(-source.tokens // length)
        self.an_epoch = source.tokens / length
        self._documents = lru_cache(maxsize=2)(self._order)
        self._windows = lru_cache(maxsize=2)(self._window_order)

    def row(self, number: int) -> Row:
        epoch, place = divmod(number, self.windows)
        start = epoch * self.source.tokens + int(self._windows(epoch)[place]) * self.length
        return self.source.row(self._pieces(start))

    def _pieces(self, start: int) -> Iterator[Piece]:
        left = self.length
        while left:
            document, inside = self._locate(start + self.length - left)
            size = min(left, int(self.source.lengths[document]) - inside)
            yield document, inside, size
            left -= size

    def _locate(self, position: int) -> tuple[int, int]:
        """(document, token inside it) of a token of the endless stream."""
        epoch, within = divmod(position, self.source.tokens)
        order, ends = self._documents(epoch)
        place = int(np.searchsorted(ends, within, side="right"))
        return int(order[place]), within - (int(ends[place - 1]) if place else 0)

    def _order(self, epoch: int) -> tuple[Integers, Integers]:
        """Order of the documents in one epoch and where each ends."""
        order = self.source.order(seed=self.seed, epoch=epoch)
        return order, np.cumsum(self.source.lengths[order])

    def _window_order(self, epoch: int) -> Integers:
        return shuffled(self.windows, seed=self.seed, purpose=f"windows {epoch}")


class Whole:
    """Whole documents, as many as fit: none is cut that fits a sequence (Ding et al. 2024, arXiv 2404.10830).

    A longer one is cut into full sequences and a rest. Documents and rests are packed by best fit decreasing, in each
    epoch with other neighbours, and what room is left is padding.
    """

    def __init__(self, source: Source, *, length: int, seed: int) -> None:
        self.source, self.length, self.seed = source, length, seed
        self._packed = lru_cache(maxsize=2)(self._pack)
        self.rows = len(self._packed(0)[0])
        self.an_epoch = float(self.rows)

    def row(self, number: int) -> Row:
        epoch, place = divmod(number, self.rows)
        rows, order, pieces = self._packed(epoch)
        return self.source.row(tuple(map(int, piece)) for piece in pieces[rows[order[place]]])  # type: ignore[misc]

    def _pack(self, epoch: int) -> tuple[list[Integers], Integers, Integers]:
        """Rows of pieces of one epoch, the order in which they come, and the pieces."""
        pieces = self._cut(self.source.order(seed=self.seed, epoch=epoch))
        rows = pack(pieces[:, 2], length=self.length)
        return rows, shuffled(len(rows), seed=self.seed, purpose=f"rows {epoch}"), pieces

    def _cut(self, documents: Integers) -> Integers:
        """int64[pieces, 3]: documents cut into pieces of at most `length`."""
        lengths = self.source.lengths[documents]
        counts = -(-lengths // self.length)
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        first = inside * self.length
        sizes = np.minimum(np.repeat(lengths, counts) - first, self.length)
        return np.stack([np.repeat(documents, counts), first, sizes], axis=1)
