"""Adding adapters into the weights of their base, and taking them out again exactly, since the base is kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from hornbook.errors import InputError
from hornbook.model.adapters.attached import Part, Update, parts, updates
from hornbook.model.adapters.projections import bias, matrix
from hornbook.model.quantized import Quantized
from hornbook.model.quantizing import requantize
from hornbook.model.transformer import Transformer


@dataclass(frozen=True)
class Merged:
    """What merging did, and what it replaced."""

    model: Transformer
    base: dict[str, nn.Module]
    """The adapted projections, by path. Whoever drops this drops them."""
    error: float
    """Largest difference of a weight from what it should be, by rounding it to the type that weights are stored in."""
    change: float
    """Largest change of a weight."""

    def undo(self) -> None:
        """The base with its adapters again, bit for bit."""
        for path, projection in self.base.items():
            self.model.set_submodule(path, projection)
        self.model.requires_grad_(False)
        for part in parts(self.model).values():
            part.requires_grad_(True)


def mergeable(model: nn.Module) -> bool:
    """Whether all that the model carries can become part of its weights, and these stay as small as they are."""
    dense = all(isinstance(model.get_submodule(path), nn.Linear) for path in updates(model))
    return dense and all(isinstance(part, Update) for part in parts(model).values())


def merge(model: Transformer) -> Merged:
    """Add the adapters into the weights, each as far as it is on: a plain model, all of it trainable.

    Computed in float64 and rounded once; what was in few bits is put into as few again.

    Raises:
        InputError: an adapter is no change of weights.
    """
    for part in parts(model).values():
        if not isinstance(part, Update):
            raise InputError(f"{_a(part)} is no change of weights, and cannot be merged into them")
    base: dict[str, nn.Module] = {}
    errors, changes = [0.0], [0.0]
    for path, added in updates(model).items():
        base[path] = model.get_submodule(path)
        linear, error, change = merged(base[path], added)
        model.set_submodule(path, linear)
        errors.append(error)
        changes.append(change)
    model.requires_grad_(True)
    return Merged(model, base, max(errors), max(changes))


def merged(projection: nn.Module, added: list[Update]) -> tuple[nn.Module, float, float]:
    """The projection with updates in it, in as many bits; the largest error and the largest change of a weight."""
    before, offset = matrix(projection), bias(projection)
    exact, moved = before.double(), None if offset is None else offset.double()
    for update in added:
        if update.adapter.weight:
            exact, moved = update.applied(exact, moved)
    own_bias = None if moved is None else nn.Parameter(moved.to(before.dtype))
    made: nn.Linear | Quantized
    if isinstance(projection, Quantized):
        made = requantize(projection, exact, own_bias)
    else:
        made = nn.Linear(exact.shape[1], exact.shape[0], bias=own_bias is not None, device="meta", dtype=before.dtype)
        made.weight = nn.Parameter(exact.to(before.dtype))
        if own_bias is not None:
            made.bias = own_bias
    with torch.no_grad():
        error, change = (made.weight - exact).abs().max().item(), (exact - before).abs().max().item()
    return made, error, change


def _a(part: Part) -> str:
    return f"a {type(part).__name__.lower()}"
