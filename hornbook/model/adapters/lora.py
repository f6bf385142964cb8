"""LoRA: W = W0 + (alpha / r) B A, with W0 frozen (Hu et al., arXiv 2106.09685, eq. 3), and its variants.

rsLoRA scales by alpha / sqrt(r) (arXiv 2312.03732, eq. 4). DoRA learns the length m of each row of W too,
W = m (W0 + s B A) / |W0 + s B A| (arXiv 2402.09353, eq. 5). The update is put on a projection as a hook: whatever
computes W0 x, in whatever number of bits, goes on doing so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.model.adapters.attached import Adapter, Update, begin, parts
from hornbook.model.adapters.dropout import Dropout
from hornbook.model.adapters.initial import Init, fill
from hornbook.model.adapters.projections import bias, by_pattern, device, match, matrix, shape
from hornbook.model.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an adapter is, besides its numbers."""

    r: int
    alpha: float
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    """Ranks of some projections (`projections.by_pattern`)."""
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    rslora: bool = False
    dora: bool = False
    dropout: float = 0.0
    loraplus: float = 1.0
    """Learning rate of B in multiples of A's (LoRA+, arXiv 2402.12354, section 4)."""

    def __post_init__(self) -> None:
        for r in (self.r, *self.rank_pattern.values()):
            if r < 1:
                raise InputError(f"lora: r = {r} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise InputError(f"lora: dropout = {self.dropout} must be at least 0 and less than 1")

    def scale(self, r: int, alpha: float) -> float:
        return alpha / math.sqrt(r) if self.rslora else alpha / r


class LowRank(Update):
    """out -> out + weight scale B A x, below a projection; A [r, in], B [out, r].

    PiSSA's start (`initial.py`) is subtracted: scale (B A - B0 A0), so that W0 stays what it is.
    """

    A0: Tensor | None
    B0: Tensor | None

    def __init__(
        self, adapter: Adapter, projection: nn.Module, *, path: str, r: int, alpha: float, settings: Settings
    ) -> None:
        super().__init__(adapter, path)
        (out, size), at = shape(projection), device(projection)
        self.alpha, self.settings = float(alpha), settings
        self.scale = settings.scale(r, alpha)
        self.A = nn.Parameter(torch.zeros(r, size, device=at))
        self.B = nn.Parameter(torch.zeros(out, r, device=at))
        self.magnitude = nn.Parameter(matrix(projection).float().norm(dim=1)) if settings.dora else None
        """float32[out]: DoRA's m."""
        self.register_buffer("A0", None)
        self.register_buffer("B0", None)
        self.blends = not settings.dora

    @property
    def r(self) -> int:
        return self.A.shape[0]

    def put_on(self, projection: nn.Module) -> None:
        super().put_on(projection)
        projection.register_forward_hook(self)

    def begin(self, a: Tensor, b: Tensor) -> None:
        """Learn from here, without changing the output: what B A is now will be subtracted."""
        self.A.data.copy_(a)
        self.B.data.copy_(b)
        self.A0, self.B0 = self.A.detach().clone(), self.B.detach().clone()

    def forward(self, projection: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """The projection's hook: what it was given and gave -> what it gives now."""
        weight = self.adapter.weight
        if weight == 0:
            return out
        out = add_low_rank(out, given[0], self.A, self.B, scale=self.scale * weight, drop=self._dropout())
        if self.A0 is not None and self.B0 is not None:
            out = add_low_rank(out, given[0], self.A0, self.B0, scale=-self.scale * weight)
        return out if self.magnitude is None else self._lengthened(projection, out)

    def _dropout(self) -> Dropout | None:
        if not (self.training and self.settings.dropout):
            return None
        return Dropout(self.settings.dropout, key=f"{self.path}/{self.adapter.place}", seed=self.adapter.seed)

    def _lengthened(self, projection: nn.Module, out: Tensor) -> Tensor:
        """DoRA: each output, without its bias, times the length that its row should have over the one it has."""
        assert self.magnitude is not None
        factor = (self.magnitude / self._norms(matrix(projection))).to(out.dtype)
        offset = bias(projection)
        return out * factor if offset is None else (out - offset) * factor + offset

    def _norms(self, weight: Tensor) -> Tensor:
        """float32[out]: lengths of the rows of W0 + s B A. A constant for the gradient, as in the paper (eq. 11)."""
        norms: Tensor = (weight.float() + self._delta(torch.float32)).norm(dim=1)
        return norms

    def plain(self) -> tuple[Tensor, Tensor, float]:
        """A, B and alpha of the plain update that this is: PiSSA's has twice the rank, at the same scale."""
        a, b = self.A.detach(), self.B.detach()
        if self.A0 is None or self.B0 is None:
            return a, b, self.alpha
        grown = math.sqrt(2) if self.settings.rslora else 2
        return torch.cat((a, self.A0)), torch.cat((b, -self.B0), 1), self.alpha * grown

    def applied(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        whole = weight + self.adapter.weight * self._delta(weight.dtype)
        if self.magnitude is not None:
            whole *= (self.magnitude.detach().to(weight.dtype) / whole.norm(dim=1))[:, None]
        return whole, bias

    def _delta(self, dtype: torch.dtype) -> Tensor:
        """[out, in]: what is added to W0."""
        a, b, _ = self.plain()
        return self.scale * (b.to(dtype) @ a.to(dtype))


def add_low_rank(out: Tensor, x: Tensor, a: Tensor, b: Tensor, *, scale: float, drop: Dropout | None = None) -> Tensor:
    """out [..., out] + scale B A drop(x), x [..., in]; computed in the type of `out`."""
    whole: Tensor = _AddLowRank.apply(out, x, a, b, scale, drop)  # type: ignore[no-untyped-call]
    return whole


class _AddLowRank(torch.autograd.Function):
    """Keeps x, which the projections that read it share, and A x, for the backward pass, and nothing else."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: float, drop: Dropout | None) -> Tensor:
        ctx.scale, ctx.drop = scale, drop
        rows = _rows(x if drop is None else x * drop.mask(x), out.dtype)
        down = rows @ a.to(out.dtype).T
        ctx.save_for_backward(x, a, b, down)
        return torch.addmm(_rows(out, out.dtype), down, b.to(out.dtype).T, alpha=scale).view(out.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, down = ctx.saved_tensors
        whole = gradients[0]
        of_out = _rows(whole, down.dtype)
        of_down = (of_out @ b.to(down.dtype)).mul_(ctx.scale)
        mask = None if ctx.drop is None else ctx.drop.mask(x)
        of_x = of_a = of_b = None
        if ctx.needs_input_grad[1]:
            of_x = (of_down @ a.to(down.dtype)).view(x.shape).to(x.dtype)
            of_x = of_x if mask is None else of_x.mul_(mask)
        if ctx.needs_input_grad[2]:
            of_a = (of_down.T @ _rows(x if mask is None else x * mask, down.dtype)).to(a.dtype)
        if ctx.needs_input_grad[3]:
            of_b = (of_out.T @ down).mul_(ctx.scale).to(b.dtype)
        return whole, of_x, of_a, of_b, None, None


def _rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype).reshape(-1, x.shape[-1])


def attach(
    model: Transformer,
    *,
    r: int,
    alpha: float,
    targets: str | Sequence[str],
    seed: int,
    init: Init = "kaiming",
    **variant: Any,
) -> None:
    """Freeze the model and put an adapter on its projections; the output does not change yet.

    targets: see `projections.match`. init: see `initial.fill`; a function of (seed, name). variant: `Settings`.

    Raises:
        InputError: a target or pattern matches nothing, or options do not go together.
    """
    settings = Settings(r=r, alpha=alpha, **variant)
    if init == "pissa" and settings.dora:
        raise InputError("lora: pissa and dora do not go together", hint='init = "kaiming"')
    for name, update in put(model, match(model, targets, method="lora"), settings, seed=seed).items():
        fill(update, matrix(model.get_submodule(name)), init=init, seed=seed)


def put(
    model: Transformer,
    names: Sequence[str],
    settings: Settings,
    *,
    adapter: str = "default",
    seed: int = 0,
    where: str = "lora",
) -> dict[str, LowRank]:
    """Freeze the model and put updates of zeros on the named projections: path -> update."""
    ranks = by_pattern(model, names, settings.rank_pattern, settings.r, key=f"{where}: rank_pattern")
    alphas = by_pattern(model, names, settings.alpha_pattern, settings.alpha, key=f"{where}: alpha_pattern")
    shared = begin(model, adapter, seed=seed)
    added: dict[str, LowRank] = {}
    for name, r, alpha in zip(names, ranks, alphas, strict=True):
        projection = model.get_submodule(name)
        added[name] = LowRank(shared, projection, path=name, r=r, alpha=alpha, settings=settings)
        added[name].put_on(projection)
    return added


def faster(model: nn.Module) -> dict[str, float]:
    """Parameters that learn at another rate than the rest, by name: its multiple."""
    return {
        f"{name}.B": part.settings.loraplus
        for name, part in parts(model).items()
        if isinstance(part, LowRank) and part.settings.loraplus != 1
    }
