"""The decoder: one pre-norm Transformer, of which every family is a value (`families.py`).

Shapes: B rows, T tokens, S keys, D hidden size, H query heads, K key/value heads, C head size, V vocabulary.
Module names are Hugging Face's Llama names, so that a state dict here is a `model.safetensors` there.
The transformer knows no adapters, no losses and no files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.model.attention import attend, attend_by_matmul, compute_dtype, plan_attention, row_mask
from hornbook.model.cache import Cache, LayerCache


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Llama 3.1's stretch of the low rotary frequencies; names as in Hugging Face's `rope_scaling`."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of a decoder, in Hugging Face's names. Raises InputError where the numbers do not fit together."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    tie_word_embeddings: bool = True
    qk_norm: bool = False
    """RMSNorm over each head's query and key before the rotation (Qwen3)."""
    attention_bias: bool = False
    """Biases on the query, key and value projections (Qwen2); the output projection never has one."""
    max_position_embeddings: int = 2048
    sliding_window: int | None = None
    """A token sees itself and the `sliding_window - 1` tokens before it; None: all of them."""

    def __post_init__(self) -> None:
        for name in SIZES:
            if not 1 <= getattr(self, name) <= LARGEST:
                raise InputError(f"architecture: {name} = {getattr(self, name)} must be at least 1, at most {LARGEST}")
        if self.num_attention_heads * self.head_dim > LARGEST:
            raise InputError(f"architecture: num_attention_heads * head_dim must be at most {LARGEST}")
        if self.sliding_window is not None and self.sliding_window < 1:
            raise InputError(f"architecture: sliding_window = {self.sliding_window} must be at least 1")
        if self.num_attention_heads % self.num_key_value_heads:
            raise InputError(
                f"architecture: num_attention_heads = {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads = {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise InputError(f"architecture: head_dim = {self.head_dim} must be even, rotary embeddings turn pairs")


SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
LARGEST = 2**24
"""No size is larger: a foreign config must not make products overflow."""


def inverse_frequencies(architecture: Architecture, *, device: torch.device) -> Tensor:
    """float32[C/2] radians per position: theta^(-2i/C) (RoFormer, arXiv 2104.09864, eq. 15)."""
    exponent = torch.arange(0, architecture.head_dim, 2, dtype=torch.int64, device=device).float()
    frequencies = 1.0 / (architecture.rope_theta ** (exponent / architecture.head_dim))
    return frequencies if architecture.rope_scaling is None else stretch(frequencies, architecture.rope_scaling)


def stretch(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Llama 3.1: wavelengths past the old context are stretched by `factor`, short ones kept, between them blended."""
    turns = scaling.original_max_position_embeddings * frequencies / (2 * math.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = kept.clamp(0, 1)
    return kept * frequencies + (1 - kept) * frequencies / scaling.factor


def rotation(positions: Tensor, architecture: Architecture, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin [..., T, 1, C] for int64 positions [..., T]; sin carries the sign of the half rotation."""
    angles = positions[..., None].float() * inverse_frequencies(architecture, device=positions.device)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    return torch.cat((cos, cos), -1).unsqueeze(-2), torch.cat((-sin, sin), -1).unsqueeze(-2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn [B, T, heads, C] by its positions; pairs are (i, i + C/2) as in Hugging Face's Llama."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every layer of one forward pass shares."""

    cos: Tensor
    sin: Tensor
    """[T, 1, C] or, where rows are at different positions, [B, T, 1, C]."""
    mask: Tensor | None
    """[B or 1, 1, T, S]; bool (True = visible) for SDPA, 0 and -inf for `attend_by_matmul`; None: SDPA's own causal."""
    by_matmul: bool


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight (arXiv 1910.07467); the result is in the type of matrix products."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, self.eps)
        # One cast here instead of one in each projection that reads it.
        return out.to(compute_dtype(out))


class Attention(nn.Module):
    """Grouped-query attention (arXiv 2305.13245) with rotary positions."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.heads, self.groups, self.size = a.num_attention_heads, a.num_key_value_heads, a.head_dim
        self.q_proj = nn.Linear(a.hidden_size, self.heads * self.size, bias=a.attention_bias)
        self.k_proj = nn.Linear(a.hidden_size, self.groups * self.size, bias=a.attention_bias)
        self.v_proj = nn.Linear(a.hidden_size, self.groups * self.size, bias=a.attention_bias)
        self.o_proj = nn.Linear(self.heads * self.size, a.hidden_size, bias=False)
        self.q_norm = RMSNorm(self.size, a.rms_norm_eps) if a.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(self.size, a.rms_norm_eps) if a.qk_norm else nn.Identity()

    def forward(self, x: Tensor, context: Context, cache: LayerCache | None) -> Tensor:
        rows, length, _ = x.shape
        query = self.q_norm(self.q_proj(x).view(rows, length, self.heads, self.size))
        key = self.k_norm(self.k_proj(x).view(rows, length, self.groups, self.size))
        value = self.v_proj(x).view(rows, length, self.groups, self.size).transpose(1, 2)
        query = rotate(query, context.cos, context.sin).transpose(1, 2)
        key = rotate(key, context.cos, context.sin).transpose(1, 2)
        if cache is not None:
            key, value = cache.extend(key, value)
        mixed = (attend_by_matmul if context.by_matmul else attend)(query, key, value, context.mask)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(rows, length, -1))
        return out


class MLP(nn.Module):
    """SwiGLU: down(silu(gate x) * up x) (arXiv 2002.05202, eq. 6)."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(a.hidden_size, a.intermediate_size, bias=False)
        self.up_proj = nn.Linear(a.hidden_size, a.intermediate_size, bias=False)
        self.down_proj = nn.Linear(a.intermediate_size, a.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.self_attn = Attention(a)
        self.mlp = MLP(a)
        self.input_layernorm = RMSNorm(a.hidden_size, a.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(a.hidden_size, a.rms_norm_eps)

    def forward(self, x: Tensor, context: Context, cache: LayerCache | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), context, cache)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Decoder(nn.Module):
    """Embedding, layers and last norm; what Hugging Face names `model`."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(a.vocab_size, a.hidden_size)
        self.layers = nn.ModuleList(Layer(a) for _ in range(a.num_hidden_layers))
        self.norm = RMSNorm(a.hidden_size, a.rms_norm_eps)


class Transformer(nn.Module):
    """A decoder-only language model. A new one is filled by `initialize` or by `weights.load_model`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.model = Decoder(architecture)
        tied = architecture.tie_word_embeddings
        self.lm_head = None if tied else nn.Linear(architecture.hidden_size, architecture.vocab_size, bias=False)

    def initialize(self, seed: int) -> Transformer:
        """Matrices from N(0, 0.02), those that write into the residual stream scaled by 1/sqrt(2 layers) (GPT-2).

        The numbers are a function of (seed, parameter name): same seed, same bytes, and no layer depends on another.
        """
        for name, parameter in self.named_parameters():
            fill(name, parameter.data, seed=seed, layers=self.architecture.num_hidden_layers)
        return self

    def hidden(self, tokens: Tensor, *, documents: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """int64[B, T] -> [B, T, D], after the last norm.

        documents, int64[B, T]: a token sees only earlier tokens of the same id; None is one document a row. Padding on
        the right needs no mask: no real token sees it. With a cache the rows go on from what it holds, which grows.
        """
        if cache is not None and documents is not None:
            raise ValueError("a cached row holds one document")
        x = self.model.embed_tokens(tokens)
        context = self._context(x, tokens, documents, cache)
        for index, layer in enumerate(self.model.layers):
            x = layer(x, context, None if cache is None else cache.layers[index])
        if cache is not None:
            cache.advance(tokens.shape[1])
        out: Tensor = self.model.norm(x)
        return out

    def _context(self, x: Tensor, tokens: Tensor, documents: Tensor | None, cache: Cache | None) -> Context:
        length, window = tokens.shape[1], self.architecture.sliding_window
        if cache is None:
            positions, keys = torch.arange(length, device=tokens.device), length
            mask = row_mask(tokens, documents, window)
        else:
            positions, keys = cache.positions(length), cache.longest + length
            mask = cache.mask(positions, window)
        cos, sin = rotation(positions, self.architecture, compute_dtype(x))
        planned, by_matmul = plan_attention(mask, queries=length, keys=keys, like=x)
        return Context(cos=cos, sin=sin, mask=planned, by_matmul=by_matmul)

    @property
    def head_weight(self) -> Tensor:
        """[V, D]: logits are hidden @ head_weight.T; the embedding where the head is tied."""
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return head.weight

    def head(self, hidden: Tensor) -> Tensor:
        """[..., D] -> logits [..., V]."""
        return F.linear(hidden, self.head_weight)

    def forward(self, tokens: Tensor, *, documents: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """int64[B, T] -> logits [B, T, V]; see `hidden`."""
        return self.head(self.hidden(tokens, documents=documents, cache=cache))


def fill(name: str, tensor: Tensor, *, seed: int, layers: int) -> None:
    """Starting values of one parameter, in place."""
    if tensor.ndim == 1:
        tensor.fill_(0.0 if name.endswith("bias") else 1.0)
        return
    residual = name.endswith(("o_proj.weight", "down_proj.weight"))
    generator = torch.Generator().manual_seed(keyed_seed(seed, name))
    std = 0.02 / math.sqrt(2 * layers) if residual else 0.02
    tensor.copy_(torch.empty(tensor.shape).normal_(0.0, std, generator=generator))


def keyed_seed(seed: int, name: str) -> int:
    """A 63-bit seed for one named use of randomness."""
    return int.from_bytes(blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "big") >> 1
