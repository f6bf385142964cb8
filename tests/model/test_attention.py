from __future__ import annotations

import pytest
import torch

from hornbook.model.attention import attend, attend_by_matmul, causal_mask, row_mask
from tests.model import tiny


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("window", [None, 3])
def test_matmul_attention_equals_sdpa(groups: int, window: int | None) -> None:
    """In float64, outputs and gradients."""
    torch.manual_seed(0)
    query = torch.randn(2, 4, 6, 8, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(2, groups, 6, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    mask = causal_mask(torch.arange(6), torch.arange(6), window)[None, None]
    bias = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -torch.inf)
    ours, plain = attend_by_matmul(query, key, value, bias, scale=0.3), attend(query, key, value, mask, scale=0.3)
    torch.testing.assert_close(ours, plain)
    for one, other in zip(*(torch.autograd.grad(out.square().sum(), (query, key, value)) for out in (ours, plain)),
                          strict=True):  # fmt: skip
        torch.testing.assert_close(one, other)


def test_row_mask() -> None:
    mask = row_mask(tiny.tokens(1, 4), torch.tensor([[1, 1, 2, 2]]), None)
    assert mask is not None
    assert mask[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
