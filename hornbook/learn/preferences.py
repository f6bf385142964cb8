"""Losses on preferences: pure functions laid out like their equations, each returning `(sum, count)`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bradley_terry(chosen: Tensor, rejected: Tensor) -> tuple[Tensor, Tensor]:
    """-log sigmoid(r(chosen) - r(rejected)), the likelihood that Bradley and Terry (1952) give a choice between two.

    Two [pairs] tensors of rewards -> (sum, count of pairs): eq. 1 of arXiv 2203.02155.
    """
    margin = chosen - rejected
    return -F.logsigmoid(margin).sum(), margin.new_tensor(margin.numel())
