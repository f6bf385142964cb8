"""LoRA: W = W0 + (alpha / r) B A, with W0 frozen (Hu et al., arXiv 2106.09685, eq. 3).

The update is put on a projection as a hook: whatever computes W0 x, in whatever number of bits, goes on doing so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.model.adapters.attached import Adapter, Part, adapters
from hornbook.model.adapters.projections import bias, by_pattern, match, matrix
from hornbook.model.transformer import Transformer, keyed_seed

CHILD = "lora"
"""Name of the module that holds a projection's updates, one an adapter."""


class LowRank(Part):
    """out -> out + weight scale B A x, below a projection; A [r, in], B [out, r]."""

    def __init__(self, adapter: Adapter, projection: nn.Module, *, r: int, alpha: float, scale: float) -> None:
        super().__init__(adapter)
        weight = matrix(projection)
        self.alpha, self.scale = alpha, scale
        self.A = nn.Parameter(torch.zeros(r, weight.shape[1], device=weight.device))
        self.B = nn.Parameter(torch.zeros(weight.shape[0], r, device=weight.device))

    @property
    def r(self) -> int:
        return self.A.shape[0]

    def forward(self, projection: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """The projection's hook: what it was given and gave -> what it gives now."""
        if self.adapter.weight == 0:
            return out
        down = F.linear(given[0].to(self.A.dtype), self.A)
        update = F.linear(down * (self.scale * self.adapter.weight), self.B)
        return out + update.to(out.dtype)

    def delta(self) -> Tensor:
        """float32[out, in]: what is added to W0."""
        return self.scale * self.adapter.weight * (self.B.detach().float() @ self.A.detach().float())


def attach(
    model: Transformer,
    *,
    r: int,
    alpha: float,
    targets: str | Sequence[str],
    seed: int,
    rank_pattern: Mapping[str, int] | None = None,
    alpha_pattern: Mapping[str, float] | None = None,
) -> None:
    """Freeze the model and put adapters of rank `r` on its projections; the output does not change yet (B = 0).

    targets, rank_pattern and alpha_pattern: see `projections.match` and `by_pattern`. Raises InputError for a name that
    matches nothing. A is uniform in +-1/sqrt(in) as in PEFT, a function of (seed, name).
    """
    if r < 1:
        raise InputError(f"lora: r = {r} must be at least 1")
    names = match(model, targets, method="lora")
    ranks = by_pattern(model, names, rank_pattern or {}, r, key="rank_pattern")
    alphas = by_pattern(model, names, alpha_pattern or {}, alpha, key="alpha_pattern")
    added = put(model, names, ranks=ranks, alphas=alphas, scales=[a / r for a, r in zip(alphas, ranks, strict=True)])
    for name, update in added.items():
        bound = 1 / math.sqrt(update.A.shape[1])
        generator = torch.Generator().manual_seed(keyed_seed(seed, name))
        update.A.data.copy_(torch.empty(update.A.shape).uniform_(-bound, bound, generator=generator))


def put(
    model: Transformer,
    names: Sequence[str],
    *,
    ranks: Sequence[int],
    alphas: Sequence[float],
    scales: Sequence[float],
    adapter: str = "default",
) -> dict[str, LowRank]:
    """Freeze the model and put updates of zeros on the named projections: path -> update."""
    if adapter in adapters(model):
        raise InputError(f"lora: the model already carries an adapter {adapter!r}", hint="merge it first")
    model.requires_grad_(False)
    shared = Adapter(adapter)
    added: dict[str, LowRank] = {}
    for name, r, alpha, scale in zip(names, ranks, alphas, scales, strict=True):
        projection = model.get_submodule(name)
        added[name] = LowRank(shared, projection, r=r, alpha=alpha, scale=scale)
        if not hasattr(projection, CHILD):
            projection.add_module(CHILD, nn.ModuleDict())
        projection.get_submodule(CHILD).add_module(adapter, added[name])
        projection.register_forward_hook(added[name])
    return added


def updates(model: nn.Module) -> dict[str, list[LowRank]]:
    """The updates of each adapted projection, by its path."""
    held = {name: module for name, module in model.named_modules() if name.endswith(f".{CHILD}")}
    return {name.removesuffix(f".{CHILD}"): list(module.children()) for name, module in held.items()}


def merge(model: Transformer) -> None:
    """Add the updates into the weights, each as far as its adapter is on: a plain model again, all of it trainable."""
    for name, added in updates(model).items():
        model.set_submodule(name, merged(model.get_submodule(name), added))
    model.requires_grad_(True)


def merged(projection: nn.Module, added: Sequence[LowRank]) -> nn.Linear:
    """The plain projection with updates added in, computed in float32."""
    weight, offset = matrix(projection), bias(projection)
    out, size = weight.shape
    linear = nn.Linear(size, out, bias=offset is not None, device="meta")
    linear.weight = nn.Parameter((weight.float() + sum(update.delta() for update in added)).to(weight.dtype))
    if offset is not None:
        linear.bias = nn.Parameter(offset)
    return linear
