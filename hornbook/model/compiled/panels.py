"""Weights in the order in which the kernels read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from hornbook.model.compiled.kernels import Floats, product
from hornbook.model.compiled.tile import LANES
from hornbook.model.int8 import Int8

STORED = {torch.float32: torch.float32, torch.bfloat16: torch.uint16, torch.int8: torch.int8}
"""The types of weights that the kernels read, and what they read them as."""


@dataclass(frozen=True)
class Panels:
    """A projection, or several that read the same input, their outputs one after the other."""

    weights: NDArray[Any]
    """[P, K, 16]: 16 outputs side by side."""
    scale: Floats
    bias: Floats
    """[16 P]: what comes after the product."""

    @property
    def width(self) -> int:
        """Outputs, rounded up to whole panels."""
        return len(self.scale)

    def product(self, x: Floats, out: Floats) -> None:
        """x [R, >= K] -> out [R, width]."""
        product(x, self.weights, self.scale, self.bias, out)


def round_up(size: int) -> int:
    return -(-size // LANES) * LANES


def pack(modules: Sequence[nn.Module]) -> Panels:
    """Panels of projections that all read the same input; an embedding serves as a head."""
    weight = torch.cat([stored_weight(module) for module in modules])
    scale = torch.cat([output_scale(module) for module in modules])
    bias = torch.cat([output_bias(module) for module in modules])
    rest = round_up(len(weight)) - len(weight)
    lanes = F.pad(weight, (0, 0, 0, rest)).view(-1, LANES, weight.shape[1]).transpose(1, 2).contiguous()
    return Panels(
        lanes.view(STORED[weight.dtype]).numpy(), F.pad(scale, (0, rest)).numpy(), F.pad(bias, (0, rest)).numpy()
    )


def stored_weight(module: nn.Module) -> Tensor:
    """[N, K]"""
    weight = module.whole if isinstance(module, Int8) else module.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def output_scale(module: nn.Module) -> Tensor:
    """float32[N]"""
    return module.scale if isinstance(module, Int8) else torch.ones(len(stored_weight(module)))


def output_bias(module: nn.Module) -> Tensor:
    """float32[N]"""
    bias = getattr(module, "bias", None)
    return torch.zeros(len(stored_weight(module))) if bias is None else bias.detach().float()
