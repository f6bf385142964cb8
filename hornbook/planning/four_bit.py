"""What QLoRA makes of a projection, as far as memory is concerned: 4-bit codes that become a matrix while it is used.

Only for rehearsals: the kernels that compute with codes want numbers, which a rehearsal has none of.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from hornbook.model.attention import compute_dtype
from hornbook.model.transformer import Transformer

BLOCK, GROUP = 64, 256
"""Weights that share a scale, and 8-bit scales that share a 32-bit one (QLoRA, arXiv 2305.14314, section 3)."""


def bytes_of(weights: int) -> int:
    """Of so many weights in 4 bits with double quantization: 4 + 8/64 + 32/(64 * 256) = 4.127 bits each."""
    blocks = ceil(weights / BLOCK)
    return ceil(weights / 2) + blocks + 4 * ceil(blocks / GROUP)


class Codes(nn.Linear):
    """A frozen projection whose matrix is made anew for every product."""

    codes: Tensor

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Product.apply(x, self.codes, self.out_features)  # type: ignore[no-untyped-call]
        return out if self.bias is None else out + self.bias


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(codes)
        ctx.shape, ctx.dtype = (rows, x.shape[-1]), compute_dtype(x)
        return x.to(ctx.dtype) @ codes.new_empty(ctx.shape, dtype=ctx.dtype).T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (codes,) = ctx.saved_tensors
        return gradient @ codes.new_empty(ctx.shape, dtype=ctx.dtype), None, None


def quantize(model: Transformer) -> None:
    """Put codes in the place of the matrix of every projection; what is put on projections stays on them."""
    for module in model.model.layers.modules():
        if isinstance(module, nn.Linear):
            size = bytes_of(module.weight.numel())
            del module.weight
            module.register_buffer("codes", torch.empty(size, dtype=torch.uint8))
            module.__class__ = Codes
