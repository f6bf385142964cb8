"""Dropout whose randomness is a function of (seed, step, micro-batch, module), never of what was drawn before.

So a run that goes on after a kill draws what it would have drawn, and the backward pass draws the mask of the forward
pass again instead of keeping it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.model.transformer import keyed_seed


@dataclass(frozen=True, slots=True)
class Dropout:
    """x -> x times a mask of 0 and 1 / (1 - p), which `key` names."""

    p: float
    key: str
    seed: int

    def mask(self, x: Tensor) -> Tensor:
        """Of the shape and the type of x."""
        generator = torch.Generator(x.device).manual_seed(keyed_seed(self.seed, self.key))
        kept = torch.empty(x.shape, dtype=x.dtype, device=x.device).bernoulli_(1 - self.p, generator=generator)
        return kept.div_(1 - self.p)
