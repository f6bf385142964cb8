from __future__ import annotations

import math

import torch

from hornbook.learn.preferences import bradley_terry


def test_bradley_terry_is_its_equation() -> None:
    chosen, rejected = torch.tensor([2.0, -1.0, 0.5]).double(), torch.tensor([1.0, 1.0, 0.5]).double()
    total, count = bradley_terry(chosen, rejected)
    expected = sum(-math.log(math.exp(c) / (math.exp(c) + math.exp(r))) for c, r in zip(chosen, rejected, strict=True))
    assert (count.item(), total.item()) == (3, expected) or math.isclose(total.item(), expected, rel_tol=1e-14)
    assert math.isfinite(bradley_terry(chosen - 1e4, rejected)[0].item())
