"""One layer of the decoder over packed weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from hornbook.model.architecture import Architecture, LayerKind
from hornbook.model.compiled import kernels
from hornbook.model.compiled.kernels import Floats, Whole
from hornbook.model.compiled.panels import Panels, pack, round_up
from hornbook.model.compiled.tile import LANES
from hornbook.model.layers import MLP, Attention, Layer
from hornbook.model.norms import LayerNorm, RMSNorm

EXPRESSED = frozenset({
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings", "tie_word_embeddings", "scale_embeddings",
    "final_logit_softcapping", "norm", "norm_eps", "norm_unit_offset", "pre_norm", "post_norm", "parallel_residual",
    "qk_norm", "qk_norm_across_heads", "attention_bias", "output_bias", "query_pre_attn_scalar",
    "attn_logit_softcapping", "sliding_window", "layer_types", "learned_positions", "rope_theta", "rope_scaling",
    "local_rope_theta", "partial_rotary_factor", "nope_layers", "activation", "gated_mlp", "mlp_bias",
    "fused_projections",
})  # fmt: skip
"""The fields of an Architecture that are computed here; a model that uses another is not compiled."""
ACTIVATIONS = {"silu": kernels.SILU, "gelu": kernels.GELU, "gelu_tanh": kernels.GELU_TANH}
EVERYTHING = np.iinfo(np.int64).max
"""A window that hides nothing."""
NO_CAP = 0.0
Turn = tuple[Floats, Floats]
"""cos and sin [positions, half of the rotated size]."""


@dataclass(frozen=True)
class Places:
    """Whose token each row is, and which one; where the beginning of its text lies, and how long that is: int64[R]."""

    slots: Whole
    positions: Whole
    origins: Whole
    shared: Whole


@dataclass(frozen=True)
class Norm:
    """RMSNorm, or where it has a bias LayerNorm."""

    module: RMSNorm | LayerNorm
    weight: Floats
    bias: Floats

    @classmethod
    def of(cls, module: nn.Module) -> Norm | None:
        """None: of the identity."""
        if isinstance(module, nn.Identity):
            return None
        assert isinstance(module, RMSNorm | LayerNorm)
        norm = cls(module, *np.zeros((2, len(module.weight)), np.float32))
        norm.refresh()
        return norm

    def refresh(self) -> None:
        """Read the weights again."""
        self.weight[:] = self.module.weight.detach().float().numpy()
        if isinstance(self.module, LayerNorm):
            self.bias[:] = self.module.bias.detach().float().numpy()
        else:
            self.weight[:] += np.float32(self.module.unit_offset)

    @property
    def eps(self) -> float:
        return self.module.eps

    @property
    def centered(self) -> bool:
        return isinstance(self.module, LayerNorm)

    def apply(self, x: Floats, out: Floats) -> None:
        """The first D of [R, >= D] into those of out, which may be x."""
        kernels.normalize(x, self.weight, self.bias, self.eps, self.centered, out)

    def apply_to_heads(self, x: Floats, start: int, end: int) -> None:
        """Columns `start` to `end` of x in place, as many as there are weights at a time: a head, or all of them."""
        kernels.normalize_heads(x, start, end, self.weight, self.bias, self.eps, self.centered)


class Scratch:
    """What layers write between their products, one after the other into the same memory: matrices of R rows."""

    def __init__(self, matrices: Sequence[Floats], scores: Floats) -> None:
        self.normed, self.qkv, self.mixed, self.attended, self.up, self.inner, self.expanded = matrices
        self.matrices, self.scores = matrices, scores

    @classmethod
    def make(cls, layer: CompiledLayer, *, rows: int, width: int, capacity: int) -> Scratch:
        attention, mlp = layer.attention, layer.mlp
        mixed = attention.heads * attention.size
        widths = (width, attention.qkv.width, mixed, attention.out.width, mlp.up.width, mlp.size, mlp.down.width)
        matrices = [np.empty((rows, columns), np.float32) for columns in widths]
        return cls(matrices, np.empty(capacity + round_up(attention.size), np.float32))

    def rows(self, count: int) -> Scratch:
        """The first rows of it."""
        return Scratch([matrix[:count] for matrix in self.matrices], self.scores)


class CompiledLayer:
    """x + attention(norm(x)), then x + mlp(norm(x)); or both added at once; norms before, after, or both."""

    def __init__(self, layer: Layer, a: Architecture, kind: LayerKind) -> None:
        self.kind, self.parallel = kind, layer.parallel
        self.attention = CompiledAttention(layer.self_attn, a, kind)
        self.mlp = CompiledMLP(layer.mlp, a)
        self.before_attention, self.before_mlp = Norm.of(layer.input_layernorm), Norm.of(layer.post_attention_layernorm)
        self.after_attention, self.after_mlp = Norm.of(layer.self_attn_output_norm), Norm.of(layer.mlp_output_norm)

    def parts(self) -> Iterator[Panels | Norm]:
        """What holds weights."""
        attention, norms = self.attention, (self.attention.query_norm, self.attention.key_norm)
        yield from (attention.qkv, attention.out, self.mlp.up, self.mlp.down)
        around = (self.before_attention, self.before_mlp, self.after_attention, self.after_mlp)
        yield from (norm for norm in (*norms, *around) if norm is not None)

    def step(self, x: Floats, places: Places, turn: Turn, keys: Floats, values: Floats, work: Scratch) -> None:
        """Rows x [R, D] through the layer, in place."""
        self.attention.step(normed(x, self.before_attention, work), places, turn, keys, values, work)
        if self.after_attention is not None:
            self.after_attention.apply(work.attended, work.attended)
        if not self.parallel:
            kernels.add(x, work.attended)
        self.mlp.step(normed(x, self.before_mlp, work), work)
        if self.after_mlp is not None:
            self.after_mlp.apply(work.expanded, work.expanded)
        if self.parallel:
            kernels.add(x, work.attended)
        kernels.add(x, work.expanded)


def normed(x: Floats, norm: Norm | None, work: Scratch) -> Floats:
    if norm is None:
        return x
    norm.apply(x, work.normed)
    return work.normed


class CompiledAttention:
    """Grouped-query attention with rotary positions, over keys and values by slot."""

    def __init__(self, attention: Attention, a: Architecture, kind: LayerKind) -> None:
        self.heads, self.groups, self.size = a.num_attention_heads, a.num_key_value_heads, a.head_dim
        self.scale, self.cap = attention.scale, attention.softcap or NO_CAP
        self.window = a.window(kind) or EVERYTHING
        apart = ("q_proj", "k_proj", "v_proj")
        names = ("qkv_proj",) if attention.fused else apart
        self.qkv = pack([attention.get_submodule(name) for name in names])
        self.out = pack([attention.o_proj])
        self.query_norm, self.key_norm = Norm.of(attention.q_norm), Norm.of(attention.k_norm)

    def store(self, slots: int, capacity: int) -> tuple[Floats, Floats]:
        """Room for the keys and values of `slots` texts: see `kernels.remember`."""
        panels = capacity // LANES
        keys = np.empty((slots, self.groups, panels, self.size, LANES), np.float32)
        return keys, np.empty((slots, self.groups, capacity, round_up(self.size)), np.float32)

    def step(self, x: Floats, places: Places, turn: Turn, keys: Floats, values: Floats, work: Scratch) -> None:
        """x [R, D] -> work.attended."""
        self.qkv.product(x, work.qkv)
        queries, both = self.heads * self.size, (self.heads + self.groups) * self.size
        if self.query_norm is not None and self.key_norm is not None:
            self.query_norm.apply_to_heads(work.qkv, 0, queries)
            self.key_norm.apply_to_heads(work.qkv, queries, both)
        kernels.remember(work.qkv, self.heads, *turn, places.slots, places.positions, keys, values)
        kernels.attend(
            work.qkv, self.heads, self.scale, self.cap, self.window, places.slots, places.positions, places.origins,
            places.shared, keys, values, work.scores, work.mixed,
        )  # fmt: skip
        self.out.product(work.mixed, work.attended)


class CompiledMLP:
    """down(act(gate x) * up x), or without a gate."""

    def __init__(self, mlp: MLP, a: Architecture) -> None:
        self.size, self.gated, self.activation = a.intermediate_size, a.gated_mlp, ACTIVATIONS[a.activation]
        names = ("gate_up_proj",) if mlp.fused else ("gate_proj", "up_proj") if mlp.gated else ("up_proj",)
        self.up = pack([mlp.get_submodule(name) for name in names])
        self.down = pack([mlp.down_proj])

    def step(self, x: Floats, work: Scratch) -> None:
        """x [R, D] -> work.expanded."""
        self.up.product(x, work.up)
        kernels.activate(work.up, self.size, self.gated, self.activation, work.inner)
        self.down.product(work.inner, work.expanded)
