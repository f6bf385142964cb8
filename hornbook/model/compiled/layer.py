"""One layer of the decoder over packed weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from hornbook.model.compiled import kernels
from hornbook.model.compiled.kernels import Floats, Whole
from hornbook.model.compiled.panels import pack, round_up
from hornbook.model.compiled.tile import LANES
from hornbook.model.transformer import Architecture, Layer, RMSNorm

EXPRESSED = frozenset({
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling",
    "tie_word_embeddings", "qk_norm", "attention_bias", "sliding_window",
})  # fmt: skip
"""The fields of an Architecture that are computed here; a model that uses another is not compiled."""
EVERYTHING = np.iinfo(np.int64).max
"""A window that hides nothing."""


@dataclass(frozen=True)
class Places:
    """Whose token each row is, and which one: int64[R]."""

    slots: Whole
    positions: Whole


@dataclass(frozen=True)
class Norm:
    """RMSNorm, or where `centered` LayerNorm."""

    weight: Floats
    bias: Floats
    eps: float
    centered: bool

    @classmethod
    def of(cls, module: nn.Module) -> Norm:
        assert isinstance(module, RMSNorm)
        weight = module.weight.detach().float().numpy()
        return cls(weight, np.zeros_like(weight), module.eps, centered=False)

    def apply(self, x: Floats, out: Floats) -> None:
        """[R, D] -> [R, D]."""
        kernels.normalize(x, self.weight, self.bias, self.eps, self.centered, out)

    def apply_to_heads(self, x: Floats, start: int, end: int) -> None:
        """Columns `start` to `end` of x in place, each head (as many numbers as there are weights) by itself."""
        kernels.normalize_heads(x, start, end, self.weight, self.bias, self.eps, self.centered)


class Scratch:
    """What layers write between their products, one after the other into the same memory: matrices of R rows."""

    def __init__(self, matrices: Sequence[Floats], scores: Floats) -> None:
        self.normed, self.qkv, self.mixed, self.change, self.up, self.inner = self.matrices = matrices
        self.scores = scores

    @classmethod
    def make(cls, layer: CompiledLayer, *, rows: int, width: int, capacity: int) -> Scratch:
        attention = layer.heads * layer.size
        widths = (width, layer.qkv.width, attention, layer.out.width, layer.up.width, layer.inner)
        matrices = [np.empty((rows, columns), np.float32) for columns in widths]
        return cls(matrices, np.empty(capacity + round_up(layer.size), np.float32))

    def rows(self, count: int) -> Scratch:
        """The first rows of it."""
        return Scratch([matrix[:count] for matrix in self.matrices], self.scores)


class CompiledLayer:
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, layer: Layer, a: Architecture) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.heads, self.groups, self.size = attention.heads, attention.groups, attention.size
        self.inner = a.intermediate_size
        self.window = EVERYTHING if a.sliding_window is None else a.sliding_window
        self.scale = self.size**-0.5
        self.qkv = pack([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out = pack([attention.o_proj])
        self.up = pack([mlp.gate_proj, mlp.up_proj])
        self.down = pack([mlp.down_proj])
        self.before_attention, self.before_mlp = Norm.of(layer.input_layernorm), Norm.of(layer.post_attention_layernorm)
        self.head_norms = (Norm.of(attention.q_norm), Norm.of(attention.k_norm)) if a.qk_norm else None

    def store(self, slots: int, capacity: int) -> tuple[Floats, Floats]:
        """Room for the keys and values of `slots` texts: see `kernels.remember`."""
        panels = capacity // LANES
        keys = np.empty((slots, self.groups, panels, self.size, LANES), np.float32)
        return keys, np.empty((slots, self.groups, capacity, round_up(self.size)), np.float32)

    def step(
        self, x: Floats, places: Places, turn: tuple[Floats, Floats], keys: Floats, values: Floats, work: Scratch
    ) -> None:
        """Rows x [R, D] through the layer, in place."""
        self._attend(x, places, turn, keys, values, work)
        kernels.add(x, work.change)
        self._expand(x, work)
        kernels.add(x, work.change)

    def _attend(
        self, x: Floats, places: Places, turn: tuple[Floats, Floats], keys: Floats, values: Floats, work: Scratch
    ) -> None:
        self.before_attention.apply(x, work.normed)
        self.qkv.product(work.normed, work.qkv)
        queries, both = self.heads * self.size, (self.heads + self.groups) * self.size
        if self.head_norms is not None:
            self.head_norms[0].apply_to_heads(work.qkv, 0, queries)
            self.head_norms[1].apply_to_heads(work.qkv, queries, both)
        kernels.remember(work.qkv, self.heads, *turn, places.slots, places.positions, keys, values)
        kernels.attend(
            work.qkv, self.heads, self.scale, 0.0, self.window, places.slots, places.positions, keys, values,
            work.scores, work.mixed,
        )  # fmt: skip
        self.out.product(work.mixed, work.change)

    def _expand(self, x: Floats, work: Scratch) -> None:
        self.before_mlp.apply(x, work.normed)
        self.up.product(work.normed, work.up)
        kernels.activate(work.up, self.inner, True, kernels.SILU, work.inner)
        self.down.product(work.inner, work.change)
