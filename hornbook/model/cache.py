"""Keys and values of the tokens already seen, so that decoding costs one token a step.

Rows may hold different numbers of tokens. A slot's index is its token's position: what lies at or after a row's length
is free and gets overwritten, so prompts are padded on the right and nothing has to be shifted.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hornbook.model.attention import causal_mask


class LayerCache:
    """Keys and values [B, K, capacity, C] of one layer."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store [B, K, T, C] after what each row holds; all slots up to the longest row's new end, [B, K, S, C]."""
        if self.keys is None or self.values is None:
            shape = (*key.shape[:2], self.cache.capacity, key.shape[3])
            self.keys, self.values = key.new_zeros(shape), value.new_zeros(shape)
        end = self.cache.longest + key.shape[2]
        self.cache.store(self.keys, key)
        self.cache.store(self.values, value)
        return self.keys[:, :, :end], self.values[:, :, :end]

    def select(self, rows: Tensor) -> None:
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


class Cache:
    """What a batch of rows has seen: `lengths` int64[B] tokens a row, at most `capacity`."""

    def __init__(self, *, layers: int, rows: int, capacity: int, device: torch.device | str = "cpu") -> None:
        self.capacity = capacity
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)
        self.longest = 0
        self.begun = 0
        """Positions that every row began with (`begin`), and keeps."""
        self.even = True
        self.layers = [LayerCache(self) for _ in range(layers)]

    def begin(self, beginning: Tensor) -> None:
        """Let every row begin with these keys and values, [L, 2, K, P, C] (`beginning.py`)."""
        rows, self.begun = len(self.lengths), beginning.shape[3]
        for layer, (keys, values) in zip(self.layers, beginning, strict=True):
            layer.extend(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))
        self.advance(self.begun)

    def positions(self, length: int) -> Tensor:
        """int64[T] where all rows are equally long, else int64[B, T]: positions of the next `length` tokens."""
        steps = torch.arange(length, device=self.lengths.device)
        return steps + self.longest if self.even else self.lengths[:, None] + steps

    def mask(self, positions: Tensor, window: int | None) -> Tensor | None:
        """bool[B or 1, 1, T, S] for queries at `positions`, or None where `attend` needs none."""
        length = positions.shape[-1]
        end = self.longest + length
        plain = self.even and (self.longest == 0 or length == 1)
        if plain and (window is None or end <= window):
            return None
        visible = causal_mask(positions, torch.arange(end, device=positions.device), window)
        return visible.view(-1, 1, length, end)

    def store(self, slots: Tensor, new: Tensor) -> None:
        """Write [B, K, T, C] into [B, K, capacity, C] at each row's end."""
        length = new.shape[2]
        if self.longest + length > self.capacity:
            raise ValueError(f"{self.longest} + {length} tokens in a cache of {self.capacity}")
        if self.even:
            slots[:, :, self.longest : self.longest + length] = new
            return
        index = self.positions(length)[:, None, :, None].expand(new.shape)
        slots.scatter_(2, index, new)

    def advance(self, length: int) -> None:
        """Every row now holds `length` tokens more."""
        self.lengths += length
        self.longest += length

    def resize(self, lengths: Tensor) -> None:
        """Set what each row holds after its beginning, int64[B]: what comes later is forgotten, padding or a draft."""
        self.lengths = lengths + self.begun
        self._measure()

    def select(self, rows: Tensor) -> None:
        """Keep only these rows, int64[N]."""
        self.lengths = self.lengths[rows]
        for layer in self.layers:
            layer.select(rows)
        self._measure()

    def _measure(self) -> None:
        lengths = self.lengths.tolist()
        self.longest = max(lengths, default=0)
        self.even = len(set(lengths)) <= 1
