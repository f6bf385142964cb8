"""Where the factors of a low-rank update begin: the output of the model is in every case what it was."""

from __future__ import annotations

import math
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.model.transformer import keyed_seed

Init = Literal["kaiming", "gaussian", "pissa"]


class Factors(Protocol):
    """An update scale B A of a projection, of zeros so far."""

    path: str
    scale: float
    A: nn.Parameter
    B: nn.Parameter

    def begin(self, a: Tensor, b: Tensor) -> None: ...


def fill(update: Factors, weight: Tensor, *, init: Init, seed: int) -> None:
    """Starting values, a function of (seed, path).

    kaiming: A uniform in +-1/sqrt(in), B = 0, as in PEFT. gaussian: A normal with deviation 1/r, B = 0. pissa: B A are
    the r largest singular values and vectors of W0, which are taken out of it (arXiv 2404.02948, eq. 2 and 3).
    """
    if init == "pissa":
        update.begin(*principal(weight, r=update.A.shape[0], scale=update.scale))
        return
    r, size = update.A.shape
    generator = torch.Generator().manual_seed(keyed_seed(seed, update.path))
    drawn = torch.empty(r, size)
    if init == "kaiming":
        bound = 1 / math.sqrt(size)
        drawn.uniform_(-bound, bound, generator=generator)
    else:
        drawn.normal_(0, 1 / r, generator=generator)
    update.A.data.copy_(drawn)


def principal(weight: Tensor, *, r: int, scale: float) -> tuple[Tensor, Tensor]:
    """A [r, in] and B [out, r] with scale B A the best approximation of W [out, in] of rank r, both equally large."""
    if r > min(weight.shape):
        raise InputError(f"lora: r = {r} is more than the {min(weight.shape)} singular values of a projection")
    left, values, right = torch.linalg.svd(weight.float(), full_matrices=False)
    root = (values[:r] / scale).sqrt()
    return root[:, None] * right[:r], left[:, :r] * root
