"""The documents of one source as a training sequence meets them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hornbook.learn.batches import Integers, Row
from hornbook.learn.order import Keys, salted
from hornbook.text.shards import Split

Piece = tuple[int, int, int]
"""(document, first position, positions): a stretch of a document."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The documents of one source that have tokens.

    A document in `removed` keeps its place: its tokens become separators that are never learned and that no other
    token sees.
    """

    name: str
    corpus: Split
    rows: Integers
    """Its documents, as rows of the corpus; elsewhere here documents are counted from 0."""
    separator: int
    removed: frozenset[str] = frozenset()

    @cached_property
    def lengths(self) -> Integers:
        """Tokens of each document, which are positions too: each predicts the next, the last the separator."""
        return self.corpus.lengths[self.rows]

    @cached_property
    def keys(self) -> Keys:
        return self.corpus.keys[self.rows]

    @cached_property
    def tokens(self) -> int:
        """Of one epoch."""
        return int(self.lengths.sum())

    def order(self, *, seed: int, epoch: int) -> Integers:
        """The documents in the order of an epoch: by a keyed hash of their ids, so that one less moves no other."""
        return np.argsort(salted(self.keys, seed=seed, purpose=f"epoch {epoch}"), kind="stable")

    def row(self, pieces: Iterable[Piece]) -> Row:
        """Stretches of documents end to end; a document's last position learns to end."""
        parts = [self._part(number, *piece) for number, piece in enumerate(pieces)]
        tokens, targets, weights, documents = (np.concatenate([part[at] for part in parts]) for at in range(4))
        return Row(tokens, targets, weights, documents, tuple(name for *_, name in parts))

    def _part(
        self, number: int, document: int, first: int, size: int
    ) -> tuple[Integers, Integers, np.ndarray, Integers, str]:
        row = int(self.rows[document])
        name, read = self.corpus.ids[row], np.full(size + 1, self.separator, np.int64)
        gone = name in self.removed
        if not gone:
            tokens = self.corpus.read(row, first, first + size + 1)
            read[: len(tokens)] = tokens
        return read[:-1], read[1:], np.full(size, float(not gone)), np.full(size, number), name


def sources_of(corpus: Split, *, separator: int, removed: frozenset[str] = frozenset()) -> dict[str, Source]:
    """The sources of a corpus that have tokens, by name."""
    found = {}
    for code, name in enumerate(corpus.sources):
        rows = np.flatnonzero((corpus.source == code) & (corpus.lengths > 0))
        if len(rows):
            found[name] = Source(name=name, corpus=corpus, rows=rows, separator=separator, removed=removed)
    return found
