"""A model compiled for decoding on a CPU: kernels over packed weights instead of some twenty torch calls a layer.

Rows are tokens, whoever's they are: the tokens of many prompts go through together, without padding, and then one token
of each text a step. A row's numbers are the same to the bit, whatever else is computed beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from hornbook.model.architecture import Architecture, LayerKind
from hornbook.model.attention import soft_cap
from hornbook.model.compiled.kernels import Floats, Whole
from hornbook.model.compiled.layer import CompiledLayer, Norm, Places, Scratch, Turn
from hornbook.model.compiled.panels import pack, round_up
from hornbook.model.compiled.tile import LANES
from hornbook.model.layers import Layer
from hornbook.model.rope import rotation
from hornbook.model.transformer import Transformer

AT_ONCE = 128
"""Tokens of prompts that go through together: with more they fall out of the cache."""


class CompiledDecoder:
    """Weights packed once, for any number of batches; later changes of the model are seen after `refresh`."""

    def __init__(self, model: Transformer) -> None:
        self.architecture = model.architecture
        self.embed, self.beginning = model.embed, model.beginning
        layers = zip(model.model.layers, model.kinds, strict=True)
        self.layers = [CompiledLayer(cast(Layer, layer), model.architecture, kind) for layer, kind in layers]
        self.norm = Norm.of(model.model.norm)
        self.head = pack([model.model.embed_tokens if model.lm_head is None else model.lm_head])

    @torch.no_grad()
    def refresh(self) -> None:
        """Read the model's weights as they are now, adapters of a low rank included."""
        for layer in self.layers:
            for part in layer.parts():
                part.refresh()
        if self.norm is not None:
            self.norm.refresh()
        self.head.refresh()

    def begin(self, prompts: Sequence[Sequence[int]], *, capacity: int) -> tuple[CompiledRows, Tensor]:
        """Rows that have seen the prompts, with room for `capacity` tokens each, and the logits [B, V] after them."""
        rows = CompiledRows(self, len(prompts), capacity)
        return rows, rows.read(prompts)


class CompiledRows:
    """What a batch has seen: keys and values by slot, and for each row its slot and length.

    Rows that began with the same prompt read it in the slot of the first of them, but for its last positions, which are
    no whole panel.
    """

    @torch.inference_mode()
    def __init__(self, decoder: CompiledDecoder, count: int, capacity: int) -> None:
        beginning = decoder.beginning()
        self.begun = 0 if beginning is None else beginning.shape[3]
        self.decoder, self.capacity = decoder, self.begun + capacity
        capacity = self.capacity
        self.slots = self.origins = np.arange(count)
        self.lengths = np.full(count, self.begun)
        self.shared = np.zeros(count, np.int64)
        self.stores = [layer.attention.store(count, round_up(capacity)) for layer in decoder.layers]
        kinds = dict.fromkeys(layer.kind for layer in decoder.layers)
        self.turns = {kind: rotation_tables(decoder.architecture, kind, capacity) for kind in kinds}
        width, room = decoder.architecture.hidden_size, round_up(capacity)
        self.work = Scratch.make(decoder.layers[0], rows=max(count, AT_ONCE), width=width, capacity=room)
        if beginning is not None:
            for store, given in zip(self.stores, beginning.float().numpy(), strict=True):
                begin_with(*store, *given)

    def read(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """The prompts' tokens, each different prompt once: logits [B, V] after the last of each."""
        firsts = {tuple(prompt): row for row, prompt in reversed(list(enumerate(prompts)))}
        same = np.array([firsts[tuple(prompt)] for prompt in prompts])
        last = np.empty((len(prompts), self.decoder.architecture.hidden_size), np.float32)
        for tokens, slots, positions in batches(prompts, sorted(firsts.values())):
            hidden = self._through(tokens, Places(slots, self.begun + positions, slots, np.zeros_like(slots)))
            for row, (slot, position) in enumerate(zip(slots, positions, strict=True)):
                if position == len(prompts[slot]) - 1:
                    last[slot] = hidden[row]
        self.origins, self.lengths = same, self.begun + np.array([len(prompt) for prompt in prompts])
        self.shared = self.lengths // LANES * LANES
        for row, origin in enumerate(same):
            panel, rest = divmod(int(self.lengths[row]), LANES)
            if rest and row != origin:
                at = slice(panel * LANES, panel * LANES + rest)
                for keys, values in self.stores:
                    keys[row, :, panel], values[row, :, at] = keys[origin, :, panel], values[origin, :, at]
        return self._logits(last[same])

    def advance(self, tokens: Sequence[int]) -> Tensor:
        """One more token a row: logits [B, V]. Raises ValueError where a row has no room left."""
        if (longest := int(self.lengths.max())) >= self.capacity:
            raise ValueError(f"{longest} + 1 tokens in room for {self.capacity}")
        hidden = self._through(np.array(tokens), Places(self.slots, self.lengths, self.origins, self.shared))
        self.lengths = self.lengths + 1
        return self._logits(hidden)

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        kept = list(rows)
        self.slots, self.lengths = self.slots[kept], self.lengths[kept]
        self.origins, self.shared = self.origins[kept], self.shared[kept]

    @torch.inference_mode()
    def _through(self, tokens: Whole, places: Places) -> Floats:
        """All layers: [R, D] before the last norm."""
        embedded = self.decoder.embed(torch.from_numpy(tokens), torch.from_numpy(places.positions))
        x: Floats = embedded.float().numpy()
        work = self.work.rows(len(tokens))
        for layer, (keys, values) in zip(self.decoder.layers, self.stores, strict=True):
            layer.step(x, places, self.turns[layer.kind], keys, values, work)
        return x

    def _logits(self, hidden: Floats) -> Tensor:
        decoder = self.decoder
        if decoder.norm is not None:
            decoder.norm.apply(hidden, hidden)
        logits = np.empty((len(hidden), decoder.head.width), np.float32)
        decoder.head.product(hidden, logits)
        found, cap = (
            torch.from_numpy(logits)[:, : decoder.architecture.vocab_size],
            decoder.architecture.final_logit_softcapping,
        )
        return found if cap is None else soft_cap(found, cap)


def batches(prompts: Sequence[Sequence[int]], rows: Sequence[int]) -> Iterator[tuple[Whole, Whole, Whole]]:
    """The tokens of the prompts at `rows`, one prompt after the other, AT_ONCE at a time: whose they are, and which."""
    tokens = np.concatenate([np.array(prompts[row]) for row in rows])
    slots = np.concatenate([np.full(len(prompts[row]), row) for row in rows])
    positions = np.concatenate([np.arange(len(prompts[row])) for row in rows])
    for start in range(0, len(tokens), AT_ONCE):
        piece = slice(start, start + AT_ONCE)
        yield tokens[piece], slots[piece], positions[piece]


def begin_with(keys: Floats, values: Floats, given_keys: Floats, given_values: Floats) -> None:
    """Let every slot (`kernels.remember`) hold the keys and values [G, P, C] of positions that all texts begin with."""
    length, size = given_keys.shape[1:]
    places = np.arange(length)
    keys[:, :, places // LANES, :, places % LANES] = given_keys.transpose(1, 0, 2)[:, None]
    values[:, :, :length, :size] = given_values


def rotation_tables(a: Architecture, kind: LayerKind, capacity: int) -> Turn:
    """Of layers of one kind; those that rotate nothing have tables of no columns."""
    if not kind.rotary:
        return np.empty((capacity, 0), np.float32), np.empty((capacity, 0), np.float32)
    cos, sin = rotation(torch.arange(capacity), a.rope(kind), length=capacity, dtype=torch.float32)
    half = cos.shape[-1] // 2
    return cos[:, 0, :half].contiguous().numpy(), sin[:, 0, half:].contiguous().numpy()
