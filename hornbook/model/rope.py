"""Rotary positions (RoFormer, arXiv 2104.09864), and the ways of stretching them to longer texts.

Shapes: B rows, T tokens, R rotated sizes of a head. A scaling changes the R/2 frequencies; names as in Hugging Face's
`rope_scaling`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Every frequency divided by `factor` (position interpolation, arXiv 2306.15595): Gemma 3's global layers."""

    factor: float

    @property
    def attention_factor(self) -> float:
        return 1.0

    def stretch(self, frequencies: Tensor, *, theta: float, length: int) -> Tensor:
        return frequencies / self.factor


@dataclass(frozen=True, kw_only=True)
class Llama3:
    """Llama 3.1: wavelengths past the old context are stretched by `factor`, short ones kept, between them blended."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    @property
    def attention_factor(self) -> float:
        return 1.0

    def stretch(self, frequencies: Tensor, *, theta: float, length: int) -> Tensor:
        turns = self.original_max_position_embeddings * frequencies / (2 * math.pi)
        kept = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        return blend(frequencies, kept.clamp(0, 1), factor=self.factor)


@dataclass(frozen=True, kw_only=True)
class Yarn:
    """YaRN (arXiv 2309.00071): like `Llama3`, blended by index; queries and keys grow by `attention_factor`."""

    factor: float
    original_max_position_embeddings: int
    attention_factor: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True

    def stretch(self, frequencies: Tensor, *, theta: float, length: int) -> Tensor:
        size = 2 * len(frequencies)
        low, high = (self._index(turns, size, theta) for turns in (self.beta_fast, self.beta_slow))
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, size - 1)
        index = torch.arange(len(frequencies), dtype=torch.float32, device=frequencies.device)
        kept = 1 - ((index - low) / max(high - low, 0.001)).clamp(0, 1)
        return blend(frequencies, kept, factor=self.factor)

    def _index(self, turns: float, size: int, theta: float) -> float:
        """Which frequency makes so many turns within the old context (section 3.2)."""
        return size * math.log(self.original_max_position_embeddings / (turns * 2 * math.pi)) / (2 * math.log(theta))


@dataclass(frozen=True, kw_only=True)
class LongRope:
    """LongRoPE (arXiv 2402.13753): each frequency is divided by its own factor, another one past the old context.

    Phi-3 of 128 k. All positions of a row use the same factors: with a cache its capacity decides, since keys that are
    already stored cannot be turned again.
    """

    short_factor: tuple[float, ...]
    long_factor: tuple[float, ...]
    original_max_position_embeddings: int
    attention_factor: float

    def stretch(self, frequencies: Tensor, *, theta: float, length: int) -> Tensor:
        factors = self.long_factor if length > self.original_max_position_embeddings else self.short_factor
        return frequencies / torch.tensor(factors, dtype=frequencies.dtype, device=frequencies.device)


RopeScaling = Linear | Llama3 | Yarn | LongRope


def blend(frequencies: Tensor, kept: Tensor, *, factor: float) -> Tensor:
    """`kept` in 0..1: how much of each frequency stays as it is; the rest is divided by `factor`."""
    return kept * frequencies + (1 - kept) * frequencies / factor


@dataclass(frozen=True, kw_only=True)
class Rope:
    """How a layer turns the first `size` numbers of each head."""

    theta: float
    size: int
    scaling: RopeScaling | None = None

    def frequencies(self, *, length: int, device: torch.device) -> Tensor:
        """float32[R/2] radians per position: theta^(-2i/R) (eq. 15), stretched; `length` is the longest row's."""
        exponent = torch.arange(0, self.size, 2, dtype=torch.int64, device=device).float()
        plain = 1.0 / (self.theta ** (exponent / self.size))
        return plain if self.scaling is None else self.scaling.stretch(plain, theta=self.theta, length=length)


def rotation(positions: Tensor, rope: Rope, *, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin [..., T, 1, R] for int64 positions [..., T]; sin carries the sign of the half rotation."""
    angles = positions[..., None].float() * rope.frequencies(length=length, device=positions.device)
    grown = 1.0 if rope.scaling is None else rope.scaling.attention_factor
    cos, sin = (angles.cos() * grown).to(dtype), (angles.sin() * grown).to(dtype)
    return torch.cat((cos, cos), -1).unsqueeze(-2), torch.cat((-sin, sin), -1).unsqueeze(-2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the first R of [B, T, heads, C] by its positions; pairs are (i, i + R/2) as in Hugging Face's Llama."""
    size = cos.shape[-1]
    if size < x.shape[-1]:
        return torch.cat((rotate(x[..., :size], cos, sin), x[..., size:]), -1)
    return x * cos + x.roll(size // 2, -1) * sin
