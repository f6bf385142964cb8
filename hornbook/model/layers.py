"""One layer of the decoder, attention and MLP, and what layers are told in a pass.

Shapes as in `transformer.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from hornbook.model.architecture import Activation, Architecture
from hornbook.model.attention import attend, attend_by_matmul
from hornbook.model.beginning import Begun, BegunLayer, Kept, KeptLayer
from hornbook.model.cache import Cache, LayerCache
from hornbook.model.norms import make_norm
from hornbook.model.rope import rotate
from hornbook.model.segments import Segment, attend_by_segment

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
}


Past = Cache | Begun | Kept
LayerPast = LayerCache | BegunLayer | KeptLayer
"""What a pass, and a layer in it, goes on from."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the layers of one kind share in one forward pass."""

    turn: tuple[Tensor, Tensor] | None
    """cos and sin, [T, 1, R] or, where rows are at different positions, [B, T, 1, R]; None: nothing is rotated."""
    mask: Tensor | None
    """[B or 1, 1, T, S]; bool (True = visible) for SDPA, 0 and -inf for `attend_by_matmul`; None: SDPA's own causal."""
    by_matmul: bool
    segments: tuple[Segment, ...] = ()
    """Who sees whom where no mask says it: rows of several documents on a CPU."""
    places: Tensor | None = None
    """int64[N]: of the B T positions those whose output is wanted, which is [N, D] then; None: all, [B, T, D]."""

    def chosen(self, x: Tensor) -> Tensor:
        """[B, T, D] -> what is wanted of it."""
        return x if self.places is None else x.flatten(0, 1).index_select(0, self.places)


class Attention(nn.Module):
    """Grouped-query attention (arXiv 2305.13245) with rotary positions."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.size, self.across_heads = a.head_dim, a.qk_norm_across_heads
        self.softcap = a.attn_logit_softcapping
        self.scale = (a.query_pre_attn_scalar or a.head_dim) ** -0.5
        queries, keys = a.num_attention_heads * a.head_dim, a.num_key_value_heads * a.head_dim
        self.sizes = (queries, keys, keys)
        self.fused = a.fused_projections
        if self.fused:
            self.qkv_proj = nn.Linear(a.hidden_size, sum(self.sizes), bias=a.attention_bias)
        else:
            self.q_proj = nn.Linear(a.hidden_size, queries, bias=a.attention_bias)
            self.k_proj = nn.Linear(a.hidden_size, keys, bias=a.attention_bias)
            self.v_proj = nn.Linear(a.hidden_size, keys, bias=a.attention_bias)
        self.o_proj = nn.Linear(queries, a.hidden_size, bias=a.output_bias)
        self.q_norm = make_norm(a, queries if self.across_heads else a.head_dim) if a.qk_norm else nn.Identity()
        self.k_norm = make_norm(a, keys if self.across_heads else a.head_dim) if a.qk_norm else nn.Identity()

    def forward(self, x: Tensor, context: Context, cache: LayerPast | None) -> Tensor:
        rows, length, _ = x.shape
        query, key, value = self._project(x)
        query, key = self._normed(query, self.q_norm), self._normed(key, self.k_norm)
        if context.turn is not None:
            query, key = rotate(query, *context.turn), rotate(key, *context.turn)
        query, key = query.transpose(1, 2), key.transpose(1, 2)
        value = value.view(rows, length, -1, self.size).transpose(1, 2)
        if cache is not None:
            key, value = cache.extend(key, value)
        mixed = self._attend(query, key, value, context)
        out: Tensor = self.o_proj(context.chosen(mixed.transpose(1, 2).reshape(rows, length, -1)))
        return out

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        if context.segments:
            return attend_by_segment(query, key, value, context.segments, scale=self.scale)
        if context.by_matmul:
            return attend_by_matmul(query, key, value, context.mask, scale=self.scale, softcap=self.softcap)
        return attend(query, key, value, context.mask, scale=self.scale)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, T, H C], keys and values [B, T, K C]."""
        if not self.fused:
            return self.q_proj(x), self.k_proj(x), self.v_proj(x)
        query, key, value = self.qkv_proj(x).split(self.sizes, -1)
        return query, key, value

    def _normed(self, x: Tensor, norm: nn.Module) -> Tensor:
        """[B, T, heads C] -> [B, T, heads, C], normalized before or after the heads are told apart."""
        heads = (*x.shape[:2], -1, self.size)
        out: Tensor = norm(x).view(heads) if self.across_heads else norm(x.view(heads))
        return out


class MLP(nn.Module):
    """SwiGLU: down(silu(gate x) * up x) (arXiv 2002.05202, eq. 6), other activations, or no gate."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.gated, self.fused = a.gated_mlp, a.gated_mlp and a.fused_projections
        self.act = ACTIVATIONS[a.activation]
        if self.fused:
            self.gate_up_proj = nn.Linear(a.hidden_size, 2 * a.intermediate_size, bias=a.mlp_bias)
        else:
            self.gate_proj = nn.Linear(a.hidden_size, a.intermediate_size, bias=a.mlp_bias) if self.gated else None
            self.up_proj = nn.Linear(a.hidden_size, a.intermediate_size, bias=a.mlp_bias)
        self.down_proj = nn.Linear(a.intermediate_size, a.hidden_size, bias=a.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(self._up(x))
        return out

    def _up(self, x: Tensor) -> Tensor:
        gate: Tensor
        up: Tensor
        if self.fused:
            gate, up = self.gate_up_proj(x).chunk(2, -1)
            return self.act(gate) * up
        if self.gate_proj is None:
            return self.act(self.up_proj(x))
        gate, up = self.gate_proj(x), self.up_proj(x)
        return self.act(gate) * up


class Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); or both added at once; norms before, after, or both."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.parallel = a.parallel_residual
        self.self_attn = Attention(a)
        self.mlp = MLP(a)
        self.input_layernorm = make_norm(a, a.hidden_size) if a.pre_norm else nn.Identity()
        self.post_attention_layernorm = make_norm(a, a.hidden_size) if a.pre_norm else nn.Identity()
        self.self_attn_output_norm = make_norm(a, a.hidden_size) if a.post_norm else nn.Identity()
        self.mlp_output_norm = make_norm(a, a.hidden_size) if a.post_norm else nn.Identity()

    def forward(self, x: Tensor, context: Context, cache: LayerPast | None) -> Tensor:
        attended = self.self_attn_output_norm(self.self_attn(self.input_layernorm(x), context, cache))
        x = context.chosen(x)
        after: Tensor = x + attended
        seen = x if self.parallel else after
        out: Tensor = after + self.mlp_output_norm(self.mlp(self.post_attention_layernorm(seen)))
        return out
