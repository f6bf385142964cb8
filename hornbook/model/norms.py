"""Normalization of the residual stream, queries and keys.

Results are in the type of matrix products: one cast here instead of one in each projection that reads them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hornbook.model.architecture import Architecture
from hornbook.model.attention import compute_dtype


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight (arXiv 1910.07467), or * (1 + weight)."""

    def __init__(self, size: int, eps: float, *, unit_offset: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps, self.unit_offset = eps, unit_offset

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(x, self.weight)

    def scaled(self, x: Tensor, weight: Tensor) -> Tensor:
        """With a weight in place of its own."""
        factor = self.factor(weight)
        out: Tensor = F.rms_norm(x.to(factor.dtype), factor.shape, factor, self.eps)
        return out.to(compute_dtype(out))

    def factor(self, weight: Tensor) -> Tensor:
        """What a weight stands for."""
        return 1 + weight if self.unit_offset else weight


class LayerNorm(nn.LayerNorm):
    """(x - mean x) / sqrt(var x + eps) * weight + bias (arXiv 1607.06450)."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x.to(self.weight.dtype))
        return out.to(compute_dtype(out))


def make_norm(a: Architecture, size: int) -> nn.Module:
    if a.norm == "layer":
        return LayerNorm(size, a.norm_eps)
    return RMSNorm(size, a.norm_eps, unit_offset=a.norm_unit_offset)
