"""Muon: the momentum of a matrix, orthogonalized (Jordan et al., kellerjordan.github.io/posts/muon).

Shapes: r rows and c columns of a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from hornbook.learn.groups import Group, Part, with_gradient
from hornbook.model.hardware import has_bf16

BEST = ((8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526))
"""Of the quintics a x + b x^3 + c x^5, one after the other: each is that which brings what those before it left of
[0.01, 1] nearest to 1 (Polar Express, arXiv 2505.16932). All of it ends between 0.72 and 1.27."""
ROOM = 1.01
"""Each is taken of x / ROOM: above what it was made for it grows fast, and numbers in few bits are rounded."""
COEFFICIENTS = tuple((a / ROOM, b / ROOM**3, c / ROOM**5) for a, b, c in BEST)
TOGETHER = 2**22
"""Numbers that are orthogonalized at a time, in matrices of one shape: 16 MB in fp32. What takes more than 32 MB malloc
puts beside what activations have left free, not into it."""


class Muon(Part):
    """W <- (1 - lr decay) W - lr sqrt(max(1, r / c)) orthogonal(g + momentum (m - g)), m the average gradient.

    The same as torch's, but that matrices are orthogonalized by other polynomials, those of one shape together, some at
    a time, and in the type of which the device computes products fastest.
    """

    entries = frozenset({"momentum_buffer"})

    def __init__(self, groups: Sequence[Group], *, momentum: float) -> None:
        super().__init__(groups)
        self.momentum = momentum

    @torch.no_grad()
    def step(self) -> None:
        for group in self.groups:
            learned = with_gradient(group)
            for shape in dict.fromkeys(p.shape for p in learned):
                alike, size = [p for p in learned if p.shape == shape], max(1, TOGETHER // shape.numel())
                for start in range(0, len(alike), size):
                    self._update(group, alike[start : start + size])

    def _update(self, group: Group, matrices: Sequence[nn.Parameter]) -> None:
        gradients = [p.grad for p in matrices if p.grad is not None]
        averages = list(self._averages(matrices))
        torch._foreach_lerp_(averages, gradients, 1 - self.momentum)
        direction = orthogonal(torch.stack(torch._foreach_lerp(gradients, averages, self.momentum)))
        rows, columns = matrices[0].shape
        rate = group.lr * math.sqrt(max(1, rows / columns))
        torch._foreach_mul_(list(matrices), 1 - group.lr * group.weight_decay)
        torch._foreach_add_(list(matrices), list(direction.unbind()), alpha=-rate)

    def _averages(self, matrices: Sequence[nn.Parameter]) -> Iterator[Tensor]:
        for matrix in matrices:
            if matrix not in self.state:
                self.state[matrix] = {"momentum_buffer": torch.zeros_like(matrix)}
            yield self.state[matrix]["momentum_buffer"]


def orthogonal(matrices: Tensor) -> Tensor:
    """[n, r, c] -> the nearest (semi-)orthogonal matrices, roughly: singular values end between 0.7 and 1.3.

    X <- a X + (b A + c A^2) X with A = X X', for each of COEFFICIENTS. Before, X is divided by the root of the first
    A's norm, (sum s^4)^(1/4): no singular value is above it, and it is nearer to the largest than X's own norm is.
    """
    dtype = torch.bfloat16 if has_bf16(matrices.device) else torch.promote_types(matrices.dtype, torch.float32)
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = (x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)).to(dtype)
    gram = x @ x.mT
    size = gram.to(torch.promote_types(dtype, torch.float32)).norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    x, gram = x.div(size.sqrt()).to(dtype), gram.div(size).to(dtype)
    for number, (a, b, c) in enumerate(COEFFICIENTS):
        if number:
            gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
