"""Weights in 8 bits: projections and embeddings of whole numbers from -127 to 127, with a scale an output.

A quarter of the memory, and decoding reads every weight for every token. Weights are rounded to nearest, symmetrically,
each output by its own largest weight (LLM.int8, arXiv 2208.07339, section 2.1); what flows between them stays as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hornbook.model.transformer import Transformer


class Int8(nn.Module):
    """A matrix [N, K] as int8[N, K] and float32[N], a scale a row."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        whole, scale = to_int8(weight)
        self.whole = nn.Buffer(whole)
        self.scale = nn.Buffer(scale)

    @property
    def weight(self) -> Tensor:
        """float32[N, K]: what the whole numbers stand for, made anew each time it is read."""
        return self.whole * self.scale[:, None]


class Int8Linear(Int8):
    """x -> W x + bias."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.weight.detach())
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias)


class Int8Embedding(Int8):
    """Rows of W by token; tied, its W is the head's too."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__(embedding.weight.detach())

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.whole) * self.scale[tokens][..., None]


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8[N, K] and float32[N] whose product is `weight` up to half a unit of each row's scale."""
    scale = weight.float().abs().amax(1) / 127
    # A row of zeros has scale 0: anything but 0 / 0.
    whole = (weight.float() / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round()
    return whole.to(torch.int8), scale


def quantize(model: Transformer) -> None:
    """Replace every projection and embedding of a float32 model, the head's too; norms and biases stay."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
            model.set_submodule(name, Int8Linear(module))
        elif isinstance(module, nn.Embedding):
            model.set_submodule(name, Int8Embedding(module))
