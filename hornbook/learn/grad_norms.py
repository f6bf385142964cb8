"""The size of the gradient: of all of it, and of each kind of parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hornbook.learn.parallel import copies, local, processes

KINDS = {"embed_tokens": "embedding", "lm_head": "head", "self_attn": "attention", "mlp": "mlp"}
"""A module's name in the path of a parameter, and what parameters below it are called; all others are norms."""


def kind(name: str) -> str:
    """The kind of parameter: `model.layers.0.mlp.up_proj.weight` is of the `mlp`, as its adapter is.

    A norm within the attention or the MLP is a norm.
    """
    parts = name.split(".")
    if any(part.endswith("norm") for part in parts):
        return "norms"
    return next((KINDS[part] for part in parts if part in KINDS), "norms")


def norms(gradients: Mapping[str, Tensor]) -> tuple[float, dict[str, float]]:
    """L2 norms of gradients by parameter name: of all of them, and by kind; one transfer from the device."""
    sizes = torch.stack(list(torch._foreach_norm([local(gradient) for gradient in gradients.values()])))
    of = [kind(name) for name in gradients]
    kinds = sorted(set(of))
    held = torch.tensor([copies(gradient) for gradient in gradients.values()], device=sizes.device)
    squares = processes().sum(sizes.double().square() / held)
    total = squares.sum().sqrt().item()
    return total, {k: _root(squares, [i for i, name in enumerate(of) if name == k]) for k in kinds}


def _root(squares: Tensor, chosen: Sequence[int]) -> float:
    return squares[chosen].sum().sqrt().item()
