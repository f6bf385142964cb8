"""What every document of a row begins with: positions whose keys and values are given, not computed from tokens.

A prefix or a prompt that was learned (`adapters/`) is such a beginning. It is there once, however many documents a row
holds: all of them see it, none sees another. P positions; other shapes as in `transformer.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hornbook.model.attention import causal_mask, document_positions, row_mask


class Begun:
    """Rows all of whose documents go on from the same beginning; a pass reads it as it would read a cache.

    beginning: [L, 2, K, P, C], keys and values of each layer. documents, prefixes: see `Transformer.hidden`.
    """

    def __init__(self, beginning: Tensor, tokens: Tensor, documents: Tensor | None, prefixes: Tensor | None) -> None:
        self.tokens, self.documents, self.prefixes = tokens, documents, prefixes
        self.longest = beginning.shape[3]
        self.capacity = self.longest + tokens.shape[1]
        self._positions = document_positions(tokens, documents, prefixes) + self.longest
        self.layers = [BegunLayer(keys, values) for keys, values in beginning]

    def positions(self, length: int) -> Tensor:
        """int64[T] or [B, T], counted from the beginning's first."""
        return self._positions

    def mask(self, positions: Tensor, window: int | None) -> Tensor:
        """bool[B or 1, 1, T, P + T]: a token sees the beginning, and what is before it in its document."""
        length = positions.shape[-1]
        own = row_mask(self.tokens, self.documents, window, self.prefixes)
        if own is None:
            own = torch.ones(1, 1, length, length, dtype=torch.bool, device=positions.device).tril()
        given = causal_mask(positions, torch.arange(self.longest, device=positions.device), window)
        given = given.view(-1, 1, length, self.longest)
        rows = max(len(given), len(own))
        return torch.cat((given.expand(rows, -1, -1, -1), own.expand(rows, -1, -1, -1)), -1)

    def advance(self, length: int) -> None:
        """Nothing is kept."""


class BegunLayer:
    """Keys and values [K, P, C] of one layer."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """[B, K, T, C] -> [B, K, P + T, C]."""
        before = (given.to(key.dtype).expand(len(key), -1, -1, -1) for given in (self.keys, self.values))
        keys, values = (torch.cat(pair, 2) for pair in zip(before, (key, value), strict=True))
        return keys, values


class Kept:
    """A pass over the first `length` tokens of a row that keeps their keys and values, for documents to begin with.

    A layer that is computed again for its gradient (`recompute.py`) sees the same as before, which it would not with a
    cache that has grown.
    """

    def __init__(self, *, layers: int, length: int, device: torch.device) -> None:
        self.longest, self.capacity = 0, length
        self._places = torch.arange(length, device=device)
        self.layers = [KeptLayer() for _ in range(layers)]

    def positions(self, length: int) -> Tensor:
        """int64[T]"""
        return self._places

    def mask(self, positions: Tensor, window: int | None) -> Tensor | None:
        """bool[1, 1, T, T], or None where plain causal attention says the same."""
        if window is None or self.capacity <= window:
            return None
        return causal_mask(positions, positions, window)[None, None]

    def advance(self, length: int) -> None:
        """Nothing grows."""

    def beginning(self) -> Tensor:
        """[L, 2, K, P, C]"""
        return torch.stack([torch.stack((layer.keys[0], layer.values[0])) for layer in self.layers])


class KeptLayer:
    """Keys and values [1, K, P, C] of one layer."""

    keys: Tensor
    values: Tensor

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        self.keys, self.values = key, value
        return key, value
