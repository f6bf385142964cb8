"""Weights in the order in which the kernels read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from hornbook.model.adapters.attached import CHILD, Update
from hornbook.model.compiled.kernels import Floats, product
from hornbook.model.compiled.tile import LANES
from hornbook.model.int8 import Int8Embedding, Int8Linear

INT8 = (Int8Linear, Int8Embedding)
STORED = {torch.float32: torch.float32, torch.bfloat16: torch.uint16, torch.int8: torch.int8}
"""The types of weights that the kernels read, and what they read them as."""


@dataclass(frozen=True)
class Panels:
    """A projection, or several that read the same input, their outputs one after the other."""

    modules: Sequence[nn.Module]
    lanes: Tensor
    """[P, K, 16]: 16 outputs side by side."""
    scale: Floats
    bias: Floats
    """[16 P]: what comes after the product."""

    @cached_property
    def weights(self) -> NDArray[Any]:
        """The lanes as the kernels read them, in the same memory."""
        return self.lanes.view(STORED[self.lanes.dtype]).numpy()

    @property
    def width(self) -> int:
        """Outputs, rounded up to whole panels."""
        return len(self.scale)

    def product(self, x: Floats, out: Floats) -> None:
        """x [R, >= K] -> out [R, width]."""
        product(x, self.weights, self.scale, self.bias, out)

    def refresh(self) -> None:
        """Read the weights again, into the same memory: several times as fast as new panels."""
        weights, filled = [stored_weight(module) for module in self.modules], 0
        # Only where one ends within a panel: to put them together is a copy as long as the one into the panels.
        if any(len(weight) % LANES for weight in weights):
            weights = [F.pad(torch.cat(weights), (0, 0, 0, self.width - sum(map(len, weights))))]
        for weight in weights:
            panels = len(weight) // LANES
            self.lanes[filled : filled + panels].copy_(weight.reshape(panels, LANES, -1).transpose(1, 2))
            filled += panels
        for held, read in ((self.scale, output_scale), (self.bias, output_bias)):
            found = torch.cat([read(module) for module in self.modules])
            held[: len(found)] = found.numpy()


def round_up(size: int) -> int:
    return -(-size // LANES) * LANES


def pack(modules: Sequence[nn.Module]) -> Panels:
    """Panels of projections that all read the same input; an embedding serves as a head."""
    weights = [own_weight(module) for module in modules]
    width = round_up(sum(map(len, weights)))
    lanes = torch.empty(width // LANES, weights[0].shape[1], LANES, dtype=weights[0].dtype)
    panels = Panels(modules, lanes, np.zeros(width, np.float32), np.zeros(width, np.float32))
    panels.refresh()
    return panels


def stored_weight(module: nn.Module) -> Tensor:
    """[N, K], with the updates of adapters that are on it."""
    weight = own_weight(module)
    return adapted(module)[0].to(weight.dtype) if updates_of(module) else weight


def adapted(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    """float32[N, K] and float32[N]: weight and bias with the updates of adapters that are on them."""
    weight, bias = own_weight(module).float(), getattr(module, "bias", None)
    bias = None if bias is None else bias.detach().float()
    for update in updates_of(module):
        weight, bias = update.applied(weight, bias)
    return weight, bias


def own_weight(module: nn.Module) -> Tensor:
    """[N, K]"""
    weight = module.whole if isinstance(module, INT8) else module.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def updates_of(module: nn.Module) -> list[Update]:
    """Updates that are on a projection."""
    held = module.get_submodule(CHILD).children() if hasattr(module, CHILD) else ()
    return [part for part in held if isinstance(part, Update) and part.adapter.weight]


def output_scale(module: nn.Module) -> Tensor:
    """float32[N]"""
    return module.scale if isinstance(module, INT8) else torch.ones(len(own_weight(module)))


def output_bias(module: nn.Module) -> Tensor:
    """float32[N]"""
    bias = adapted(module)[1] if updates_of(module) else getattr(module, "bias", None)
    return torch.zeros(len(own_weight(module))) if bias is None else bias.detach().float()
