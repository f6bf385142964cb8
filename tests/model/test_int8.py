from __future__ import annotations

import pytest
import torch

from hornbook.model.int8 import Int8Embedding, Int8Linear, from_int8, quantize, to_int8
from tests.model import tiny


def test_rounding_is_to_half_a_unit_of_each_row() -> None:
    weight = torch.randn(7, 30, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 4, 7)[:, None]
    whole, largest = to_int8(weight)
    assert whole.dtype == torch.int8
    assert whole.abs().amax(1).tolist() == [127] * 7
    assert ((from_int8(whole, largest) - weight).abs() <= 0.501 * largest[:, None] / 127).all()


def test_a_row_of_zeros() -> None:
    assert from_int8(*to_int8(torch.zeros(2, 3))).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("tied", [True, False])
def test_the_forward_pass_is_that_of_the_rounded_weights(tied: bool) -> None:
    model, rounded = (tiny.model(tie_word_embeddings=tied, attention_bias=True) for _ in range(2))
    quantize(model)
    for name, module in model.named_modules():
        if isinstance(module, (Int8Linear, Int8Embedding)):
            rounded.get_submodule(name).weight = torch.nn.Parameter(module.weight)
    rows = tiny.tokens(2, 9)
    with torch.no_grad():
        torch.testing.assert_close(model(rows), rounded(rows))
        assert (model(rows) - tiny.model(tie_word_embeddings=tied, attention_bias=True)(rows)).abs().max() > 1e-3


def test_a_quarter_of_the_memory() -> None:
    model = tiny.model(hidden_size=256, intermediate_size=512)
    before = sum(p.nbytes for p in model.parameters())
    quantize(model)
    assert sum(t.nbytes for t in model.state_dict().values()) < 0.27 * before
    assert all(p.ndim == 1 for p in model.parameters())
