"""NormalFloat: weights in 4 bits, and what scales them in 8 (QLoRA, arXiv 2305.14314, section 3).

Each block of 64 weights is divided by its largest, and each becomes the nearest of 16 values, the quantiles of a normal
distribution. With double quantization the blocks' scales, less their mean, become 8-bit numbers in blocks of 256:
4 + 8/64 + 32/(64 * 256) = 4.127 bits a weight.

Codes, scales and what they stand for are those of bitsandbytes to the bit (0.50, on a CPU): the format is the bytes.
Shapes: W weights, flat, by rows; B = W / 64 blocks; G = B / 256 groups, each rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from math import ceil, prod

import numpy as np
import torch
from torch import Tensor

from hornbook.model import bnb_kernels
from hornbook.model.blocks import BLOCK, NESTED

VALUES = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
ZERO = VALUES.index(0.0)
STEPS = 65535
"""bitsandbytes rounds a scale to one of so many steps from -1 to 1 before it looks for the nearest 8-bit value."""


@dataclass(frozen=True, kw_only=True)
class Nested:
    """What 8-bit scales of blocks stand for: table[scale] * absmax of its group + offset."""

    absmax: Tensor
    """float32[G]"""
    table: Tensor
    """float32[256]"""
    offset: float
    """The mean of all scales."""


@dataclass(frozen=True, kw_only=True)
class Nf4:
    """A matrix in 4 bits."""

    shape: tuple[int, ...]
    codes: Tensor
    """uint8[W / 2, rounded up]: two codes a byte, the first in the upper half."""
    table: Tensor
    """float32[16]"""
    absmax: Tensor
    """The blocks' scales: uint8[B] where they are nested, else float32[B]."""
    nested: Nested | None

    @property
    def nbytes(self) -> int:
        """Of codes and scales; the tables are the same for all."""
        nested = 0 if self.nested is None else self.nested.absmax.nbytes
        return self.codes.nbytes + self.absmax.nbytes + nested

    def to(self, device: torch.device) -> Nf4:
        nested = self.nested
        if nested is not None:
            nested = replace(nested, absmax=nested.absmax.to(device), table=nested.table.to(device))
        moved = {name: getattr(self, name).to(device) for name in ("codes", "table", "absmax")}
        return replace(self, **moved, nested=nested)


@cache
def table() -> Tensor:
    """float32[16], ascending."""
    return torch.tensor(VALUES)


@cache
def dynamic_table() -> Tensor:
    """float32[256], ascending: the 8-bit dynamic data type (Dettmers, arXiv 1511.04561).

    Of each power of ten below 1, the middles of 2^i equal parts of [0.1, 1], of either sign; and 0, and 1.
    """
    numbers = [0.0, 1.0]
    for power in range(7):
        edges = torch.linspace(0.1, 1, 2**power + 1)
        middles = 10 ** (power - 6) * ((edges[:-1] + edges[1:]) / 2)
        numbers += [*middles.tolist(), *(-middles).tolist()]
    return torch.tensor(sorted(numbers))


@cache
def nearest_dynamic() -> Tensor:
    """uint8[STEPS + 1]: the code of the dynamic value that is nearest to each step from -1 to 1."""
    values = dynamic_table().double()
    steps = torch.arange(STEPS + 1, dtype=torch.float64) * 2 / STEPS - 1
    return torch.bucketize(steps, (values[:-1] + values[1:]) / 2).to(torch.uint8)


def quantize(weight: Tensor, *, double: bool = True, rounded_to: torch.dtype | None = None) -> Nf4:
    """A matrix of finite numbers of any shape on a CPU in 4 bits; `double`: its scales in 8.

    rounded_to: a type that the weights are rounded to before.
    """
    flat = weight.detach().reshape(-1)
    codes = torch.empty(ceil(flat.numel() / 2), dtype=torch.uint8)
    scales = torch.empty(ceil(flat.numel() / BLOCK))
    # In pieces, so that there is no second copy of a large matrix in float32; of whole blocks, so of whole bytes.
    for begin in range(0, flat.numel(), PIECE):
        piece = flat[begin : begin + PIECE].to(rounded_to).float()
        to_codes(piece, codes[begin // 2 :], scales[begin // BLOCK : (begin + PIECE) // BLOCK])
    held, nested = nest(scales) if double else (scales, None)
    return Nf4(shape=tuple(weight.shape), codes=codes, table=table(), absmax=held, nested=nested)


PIECE = 1 << 18
"""Weights in float32 at a time: 1 MB."""


def to_codes(flat: Tensor, codes: Tensor, scales: Tensor) -> None:
    """float32[W] into uint8[W / 2] and float32[B]."""
    # Imported where it is needed, here and below: numba takes a third of a second, and most models are not in 4 bits.
    from hornbook.model.compiled import four_bit

    bounds = ((table()[:-1] + table()[1:]) / 2).numpy()
    four_bit.encode(flat.numpy(), bounds, ZERO, codes.numpy(), scales.numpy())


def nest(scales: Tensor) -> tuple[Tensor, Nested]:
    """float32[B] -> uint8[B] and what they stand for."""
    offset = mean(scales)
    groups = torch.zeros(ceil(len(scales) / NESTED), NESTED)
    centered = groups.view(-1)[: len(scales)]
    torch.sub(scales, offset, out=centered)
    largest = groups.abs().amax(1)
    # A group of zeros: bitsandbytes gives it code 0 and a scale of 0.
    steps = (groups / largest.where(largest > 0, 1.0)[:, None] + 1) * (STEPS / 2) + 0.5
    codes = nearest_dynamic()[steps.int()]
    codes[largest == 0] = 0
    nested = Nested(absmax=largest, table=dynamic_table(), offset=float(offset))
    return codes.view(-1)[: len(scales)].clone(), nested


def mean(scales: Tensor) -> Tensor:
    """Summed by one thread, so that the bytes do not depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return scales.mean()
    finally:
        torch.set_num_threads(threads)


def dequantize(stored: Nf4, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """The matrix that the codes stand for, computed in float32 and rounded to `dtype`."""
    return weights(stored, 0, prod(stored.shape), dtype=dtype).view(stored.shape)


def weights(stored: Nf4, begin: int, end: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights `begin` to `end` of the flat matrix, computed in float32 and rounded to `dtype`."""
    scales = block_scales(stored, begin // BLOCK, ceil(end / BLOCK))
    if (begin, end) == (0, prod(stored.shape)) and bnb_kernels.serve(stored.codes, dtype):
        return bnb_kernels.dequantize(stored.codes, scales, stored.shape, dtype=dtype).view(-1)
    if stored.codes.device.type != "cpu":
        return by_torch(stored, scales, begin, end).to(dtype)
    from hornbook.model.compiled import four_bit

    out = torch.empty(end - begin)
    four_bit.decode(stored.codes.numpy(), stored.table.numpy(), scales.numpy(), begin, out.numpy())
    return out.to(dtype)


def by_torch(stored: Nf4, scales: Tensor, begin: int, end: int) -> Tensor:
    """`weights` on any device."""
    bytes_ = stored.codes[begin // 2 : ceil(end / 2)]
    codes = torch.stack([bytes_ >> 4, bytes_ & 15], 1).view(-1)[begin % 2 :][: end - begin]
    blocks = torch.arange(begin, end, device=codes.device) // BLOCK - begin // BLOCK
    return stored.table[codes.int()] * scales[blocks]


def block_scales(stored: Nf4, first: int, last: int) -> Tensor:
    """float32[last - first]"""
    absmax, nested = stored.absmax[first:last], stored.nested
    if nested is None:
        return absmax
    if absmax.device.type != "cpu":
        groups = torch.arange(first, last, device=absmax.device) // NESTED
        return nested.table[absmax.int()] * nested.absmax[groups] + nested.offset
    from hornbook.model.compiled import four_bit

    out = torch.empty(len(absmax))
    offset = np.float32(nested.offset)
    four_bit.unnest(stored.absmax.numpy(), nested.table.numpy(), nested.absmax.numpy(), offset, first, out.numpy())
    return out
