from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from hornbook.learn.groups import Group, Part
from hornbook.learn.muon import COEFFICIENTS, STEPS, Muon, orthogonal

torch.set_num_threads(1)
SHAPES = ((8, 8), (8, 8), (24, 8), (8, 24), (24, 8))


def matrices(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    g = torch.Generator().manual_seed(0)
    made = [nn.Parameter(torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)) for shape in SHAPES]
    for matrix in made:
        matrix.grad = torch.randn(matrix.shape, generator=g, dtype=torch.float64).to(dtype)
    return made


def muon(params: list[nn.Parameter], *, lr: float, weight_decay: float = 0.0, momentum: float) -> Muon:
    return Muon([Group(name="hidden", params=params, lr=lr, weight_decay=weight_decay)], momentum=momentum)


def stepped(optimizer: Part | torch.optim.Optimizer, of: Sequence[nn.Parameter]) -> list[Tensor]:
    before = [p.detach().clone() for p in of]
    for _ in range(3):
        optimizer.step()
    return [p.detach() - b for p, b in zip(of, before, strict=True)]


def test_it_is_torchs_up_to_the_rounding_of_bfloat16() -> None:
    ours, theirs = matrices(), matrices()
    a = stepped(muon(ours, lr=0.02, weight_decay=0.1, momentum=0.9), ours)
    b = stepped(torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.9), theirs)
    for x, y in zip(a, b, strict=True):
        assert (x - y).norm() < 0.02 * y.norm()


def test_each_singular_value_goes_through_the_polynomial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hornbook.learn.muon.has_bf16", lambda device: False)
    batch = torch.randn(3, 5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for matrix, found in zip(batch, orthogonal(batch), strict=True):
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        s = s / matrix.norm()
        a, b, c = COEFFICIENTS
        for _ in range(STEPS):
            s = a * s + b * s**3 + c * s**5
        torch.testing.assert_close(found, u @ s.diag() @ v, atol=1e-12, rtol=1e-10)
        torch.testing.assert_close(orthogonal(matrix.mT[None])[0], found.mT, atol=1e-12, rtol=1e-10)


def test_a_zero_gradient_moves_nothing_and_a_missing_one_is_left_out() -> None:
    still, absent = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4, 4))
    still.grad = torch.zeros(4, 4)
    optimizer = muon([still, absent], lr=0.1, momentum=0.9)
    optimizer.step()
    assert torch.equal(still, torch.ones(4, 4))
    assert absent not in optimizer.state


def test_tall_matrices_move_further_by_the_root_of_their_ratio() -> None:
    tall = nn.Parameter(torch.zeros(16, 4))
    tall.grad = torch.randn(16, 4, generator=torch.Generator().manual_seed(2))
    optimizer = muon([tall], lr=1.0, momentum=0.0)
    optimizer.step()
    expected = -math.sqrt(16 / 4) * orthogonal(tall.grad[None])[0]
    torch.testing.assert_close(tall.detach(), expected)
