"""Projections in 4 bits without numbers: the modules that train (`model.quantized`), but for the kernel that decodes.

Only for rehearsals. That kernel reads numbers, which a rehearsal has none of; what it allocates is allocated here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import ceil

import torch
from torch import Tensor

from hornbook.model.blocks import BLOCK, NESTED
from hornbook.model.nf4 import Nested, Nf4, by_torch
from hornbook.model.quantized import Nf4Linear
from hornbook.model.quantizing import dense_projections
from hornbook.model.transformer import Transformer


class Numberless(Nf4Linear):
    """A projection whose rows are made anew for every product, and hold nothing."""

    whole = False
    """Decoded at once and by torch's operations, as on a GPU."""

    def rows(self, begin: int, end: int, dtype: torch.dtype) -> Tensor:
        size = (end - begin) * self.in_features
        scales = torch.empty(ceil(size / BLOCK))
        if self.whole:
            return by_torch(self.stored, scales, 0, size).to(dtype).view(-1, self.in_features)
        # As in `nf4.weights`: scales and weights live in fp32 until these are rounded.
        decoded = torch.empty(size)
        return decoded.to(dtype).view(-1, self.in_features)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """All on a GPU; else two, since others take as much and free it again."""
        return iter([(0, self.out_features)]) if self.whole else islice(super().pieces(), 2)


def quantize(model: Transformer, *, whole: bool) -> None:
    """Put codes without numbers in the place of the matrix of every projection."""
    for path, linear in dense_projections(model).items():
        stored = _stored(linear.out_features, linear.in_features)
        made = Numberless(stored, bias=linear.bias, stored_as=torch.bfloat16)
        made.whole = whole
        model.set_submodule(path, made)


def _stored(rows: int, columns: int) -> Nf4:
    """In the layout of `nf4.quantize`, doubly quantized: 4 + 8/64 + 32/(64 * 256) = 4.127 bits a weight."""
    weights = rows * columns
    blocks = ceil(weights / BLOCK)
    nested = Nested(absmax=torch.empty(ceil(blocks / NESTED)), table=torch.empty(256), offset=0.0)
    codes = torch.empty(ceil(weights / 2), dtype=torch.uint8)
    absmax = torch.empty(blocks, dtype=torch.uint8)
    return Nf4(shape=(rows, columns), codes=codes, table=torch.empty(16), absmax=absmax, nested=nested)
