"""A micro-batch: rows of tokens with what each position is to predict, side by side.

B rows, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Integers = npt.NDArray[np.int64]


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
    prefixes: Tensor | None = None
    """int64[B, T, 2], where documents share a beginning: [start, end) in the row of what a token sees before its own
    document, which goes on from there; start = end where that is nothing."""

    @property
    def learned(self) -> Tensor:
        """int64[N]: which of the B T positions have weight."""
        return self.weights.flatten().nonzero().squeeze(1)

    def to(self, device: torch.device) -> Batch:
        moved = (self.tokens, self.targets, self.weights, self.documents)
        tokens, targets, weights, documents = (t.to(device, non_blocking=True) for t in moved)
        prefixes = None if self.prefixes is None else self.prefixes.to(device, non_blocking=True)
        return replace(self, tokens=tokens, targets=targets, weights=weights, documents=documents, prefixes=prefixes)


@dataclass(frozen=True, slots=True)
class Row:
    """One row, not yet padded: tokens, what each is to predict, whether that is learned, and whose token it is."""

    tokens: Integers
    targets: Integers
    weights: npt.NDArray[np.float64]
    documents: Integers
    """Index into `names`, ascending."""
    names: tuple[str, ...]
    prefixes: Integers | None = None
    """int64[T, 2], as in `Batch`; None where no document goes on from another's beginning."""


def stack(rows: Sequence[Row], *, width: int = 0) -> Batch:
    """Rows side by side, padded on the right to the longest, at least to `width`; documents numbered through."""
    shape = (len(rows), max(width, *(len(row.tokens) for row in rows)))
    names = tuple(name for row in rows for name in row.names)
    tokens, targets, weights = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    documents, first = np.full(shape, len(names)), 0
    prefixes = None if all(row.prefixes is None for row in rows) else np.zeros((*shape, 2), np.int64)
    for place, row in enumerate(rows):
        size = len(row.tokens)
        tokens[place, :size], targets[place, :size], weights[place, :size] = row.tokens, row.targets, row.weights
        documents[place, :size] = row.documents + first
        if prefixes is not None and row.prefixes is not None:
            prefixes[place, :size] = row.prefixes
        first += len(row.names)
    t = torch.from_numpy
    return Batch(t(tokens), t(targets), t(weights), t(documents), names, None if prefixes is None else t(prefixes))
