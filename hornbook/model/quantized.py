"""Frozen projections whose weights are kept in few bits and made dense where they are used, a piece at a time.

The dense matrix is never kept: the backward pass, which only the input needs, makes it again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from hornbook.model import nf4
from hornbook.model.names import regroup
from hornbook.model.nf4 import Nested, Nf4

PIECE = 1 << 20
"""Weights that are dense at a time, on a CPU: 4 MB."""


class Quantized(nn.Module, ABC):
    """x -> W x + bias, where W [N, K] is no parameter. Evaluating changes nothing in it."""

    def __init__(
        self, out_features: int, in_features: int, *, bias: nn.Parameter | None, stored_as: torch.dtype
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = out_features, in_features
        self.bias = bias
        self.stored_as = stored_as
        """What the weights were rounded to before, as the rest of the model is in its files."""

    @property
    @abstractmethod
    def device(self) -> torch.device: ...

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Of the weights, as they are stored."""

    @abstractmethod
    def rows(self, begin: int, end: int, dtype: torch.dtype) -> Tensor:
        """[end - begin, K], made anew."""

    @property
    def numel(self) -> int:
        """How many weights."""
        return self.out_features * self.in_features

    @property
    def weight(self) -> Tensor:
        """float32[N, K]: what the codes stand for, made anew each time it is read."""
        return self.rows(0, self.out_features, torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        with torch.autocast(kind, enabled=False):
            out: Tensor = _Product.apply(x.to(dtype), self)  # type: ignore[no-untyped-call]
            return out if self.bias is None else out + self.bias.to(dtype)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Ranges of rows to be dense at a time."""
        step = self.out_features
        if self.device.type == "cpu":
            step = max(1, PIECE // self.in_features)
        return ((begin, min(begin + step, self.out_features)) for begin in range(0, self.out_features, step))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Codes and scales go to another device, but to no other type: `model.to(torch.bfloat16)` is of the rest."""

        def moved(tensor: Tensor) -> Tensor:
            return fn(tensor) if isinstance(tensor, nn.Parameter) else tensor.to(fn(tensor).device)

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self


class _Product(torch.autograd.Function):
    """x [..., K] -> x W' [..., N]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, projection: Quantized) -> Tensor:
        ctx.projection = projection
        flat = x.reshape(-1, projection.in_features)
        out = x.new_empty(len(flat), projection.out_features)
        for begin, end in projection.pieces():
            torch.mm(flat, projection.rows(begin, end, x.dtype).T, out=out[:, begin:end])
        return out.view(*x.shape[:-1], projection.out_features)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Any) -> tuple[Tensor, None]:
        (grad,) = grads
        projection: Quantized = ctx.projection  # type: ignore[attr-defined]
        flat = grad.reshape(-1, projection.out_features)
        out = grad.new_zeros(len(flat), projection.in_features)
        for begin, end in projection.pieces():
            out.addmm_(flat[:, begin:end], projection.rows(begin, end, grad.dtype))
        return out.view(*grad.shape[:-1], projection.in_features), None


class Nf4Linear(Quantized):
    """A projection in 4 bits (`nf4`)."""

    def __init__(
        self, stored: Nf4, *, bias: nn.Parameter | None, stored_as: torch.dtype, heads: int | None = None
    ) -> None:
        super().__init__(*stored.shape, bias=bias, stored_as=stored_as)
        self.heads = heads
        """Rows are stored [heads, 3, C] but mean [3, heads, C]: a block's scale may be of two rows (GPT-NeoX)."""
        self.codes, self.table, self.absmax = (nn.Buffer(t) for t in (stored.codes, stored.table, stored.absmax))
        nested = stored.nested
        self.nested_absmax = None if nested is None else nn.Buffer(nested.absmax)
        self.nested_table = None if nested is None else nn.Buffer(nested.table)
        self.offset = None if nested is None else nested.offset

    @property
    def stored(self) -> Nf4:
        nested = None
        if self.nested_absmax is not None and self.nested_table is not None and self.offset is not None:
            nested = Nested(absmax=self.nested_absmax, table=self.nested_table, offset=self.offset)
        shape = (self.out_features, self.in_features)
        return Nf4(shape=shape, codes=self.codes, table=self.table, absmax=self.absmax, nested=nested)

    @property
    def device(self) -> torch.device:
        return self.codes.device

    @property
    def nbytes(self) -> int:
        return self.stored.nbytes

    def rows(self, begin: int, end: int, dtype: torch.dtype) -> Tensor:
        if self.heads is not None:
            return regroup(nf4.dequantize(self.stored, dtype=dtype), self.heads, 3)[begin:end]
        size = self.in_features
        return nf4.weights(self.stored, begin * size, end * size, dtype=dtype).view(-1, size)

    def pieces(self) -> Iterator[tuple[int, int]]:
        return super().pieces() if self.heads is None else iter([(0, self.out_features)])
