"""Weights in 8 bits: projections and embeddings of whole numbers from -127 to 127, with a scale an output.

A quarter of the memory, and decoding reads every weight for every token. Weights are rounded to nearest, symmetrically,
each output by its own largest weight (LLM.int8, arXiv 2208.07339, section 2.1); what flows between them stays as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hornbook.model.quantized import Quantized
from hornbook.model.transformer import Transformer

UNIT = 1 / 127


class Int8Linear(Quantized):
    """A projection as int8[N, K] and float32[N], the largest of each row."""

    def __init__(self, whole: Tensor, largest: Tensor, *, bias: nn.Parameter | None, stored_as: torch.dtype) -> None:
        super().__init__(*whole.shape, bias=bias, stored_as=stored_as)
        self.whole, self.largest = nn.Buffer(whole), nn.Buffer(largest)

    @property
    def device(self) -> torch.device:
        return self.whole.device

    @property
    def nbytes(self) -> int:
        return self.whole.nbytes + self.largest.nbytes

    @property
    def scale(self) -> Tensor:
        """float32[N]"""
        return self.largest * UNIT

    def rows(self, begin: int, end: int, dtype: torch.dtype) -> Tensor:
        return from_int8(self.whole[begin:end], self.largest[begin:end]).to(dtype)


class Int8Embedding(nn.Module):
    """Rows of W [V, D] by token; tied, its W is the head's too."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        whole, largest = to_int8(embedding.weight.detach())
        self.whole, self.largest = nn.Buffer(whole), nn.Buffer(largest)

    @property
    def weight(self) -> Tensor:
        """float32[V, D], made anew each time it is read."""
        return from_int8(self.whole, self.largest)

    @property
    def scale(self) -> Tensor:
        """float32[V]"""
        return self.largest * UNIT

    def forward(self, tokens: Tensor) -> Tensor:
        return from_int8(F.embedding(tokens, self.whole), self.largest[tokens])


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8[N, K] and float32[N], the largest of each row: `weight` up to half a 127th of that."""
    largest = weight.float().abs().amax(1)
    # A row of zeros has scale 0: anything but 0 / 0.
    scale = (largest * UNIT).clamp(min=torch.finfo(torch.float32).tiny)
    return (weight.float() / scale[:, None]).round().clamp(-127, 127).to(torch.int8), largest


def from_int8(whole: Tensor, largest: Tensor) -> Tensor:
    """float32[..., K] of int8[..., K] and float32[...], rounded as bitsandbytes does."""
    return whole * largest[..., None] * UNIT


def quantize(model: Transformer) -> None:
    """Replace every projection and embedding of a model, the head's too; norms and biases stay."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear | Quantized):
            model.set_submodule(name, linear(module))
        elif isinstance(module, nn.Embedding):
            model.set_submodule(name, Int8Embedding(module))


def linear(projection: nn.Linear | Quantized) -> Int8Linear:
    """A projection in 8 bits."""
    if isinstance(projection, Int8Linear):
        return projection
    weight = projection.weight.detach()
    return Int8Linear(*to_int8(weight), bias=projection.bias, stored_as=weight.dtype)
