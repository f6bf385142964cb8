from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hornbook.learn.groups import Group, Part
from hornbook.learn.muon import COEFFICIENTS, Muon, orthogonal

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


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16), (64, 64)])
def test_it_is_next_to_the_nearest_orthogonal_matrix(shape: tuple[int, int]) -> None:
    given = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(given, full_matrices=False)
    found, nearest = orthogonal(given[None])[0], u @ v
    assert nn.functional.cosine_similarity(found.flatten(), nearest.flatten(), dim=0) > 0.97
    assert 0.73 < found.norm() / nearest.norm() < 1.27


def test_with_the_same_direction_it_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Momentum, rates by shape, decay: all but the polynomials, which are torch's here."""
    monkeypatch.setattr("hornbook.learn.muon.orthogonal", torchs)
    ours, theirs = matrices(), matrices()
    a = stepped(muon(ours, lr=0.02, weight_decay=0.1, momentum=0.9), ours)
    b = stepped(torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.9), theirs)
    for x, y in zip(a, b, strict=True):
        assert (x - y).norm() < 0.02 * y.norm()


def torchs(batch: Tensor) -> Tensor:
    """torch's five steps of one polynomial, to within the rounding of its bfloat16."""
    u, s, v = torch.linalg.svd(batch, full_matrices=False)
    s = s / s.norm(dim=-1, keepdim=True)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ s.diag_embed() @ v


def test_each_singular_value_goes_through_the_polynomials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hornbook.learn.muon.has_bf16", lambda device: False)
    batch = torch.randn(3, 5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for matrix, found in zip(batch, orthogonal(batch), strict=True):
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        s = s / s.pow(4).sum() ** 0.25
        for a, b, c in COEFFICIENTS:
            s = a * s + b * s**3 + c * s**5
        torch.testing.assert_close(found, u @ s.diag() @ v, atol=1e-12, rtol=1e-10)
        torch.testing.assert_close(orthogonal(matrix.mT[None])[0], found.mT, atol=1e-12, rtol=1e-10)


@settings(max_examples=25)
@given(st.lists(st.floats(0.01, 1.0), min_size=4, max_size=12))
def test_singular_values_come_near_to_1(values: list[float]) -> None:
    """Those that are a hundredth of the root of the root of the sum of their fourth powers, or more."""
    s = torch.tensor(values, dtype=torch.float64)
    found = torch.linalg.svdvals(orthogonal(s.diag()[None])[0])
    kept = found[: int((s >= 0.0101 * s.pow(4).sum() ** 0.25).sum())]
    assert ((kept > 0.71) & (kept < 1.28)).all()


@pytest.mark.parametrize("second", [0.0, 1e-3, 0.1, 0.25, 1.0])
@pytest.mark.parametrize("shape", [(8, 8), (64, 96)])
def test_in_bfloat16_the_largest_singular_value_does_not_run_away(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], second: float
) -> None:
    monkeypatch.setattr("hornbook.learn.muon.has_bf16", lambda device: True)
    g = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(32, n, 2, generator=g))[0] for n in shape)
    matrices = u @ torch.tensor([[1.0], [second]]).mul(v.mT) * torch.logspace(-6, 6, 32)[:, None, None]
    assert (torch.linalg.svdvals(orthogonal(matrices).float())[:, 0] < 1.35).all()


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
