from __future__ import annotations

import pytest
import torch

from hornbook.model.vocabulary import extend
from tests.learn import tiny

PIECES = {32: [3, 4], 33: [5, 6, 6], 35: [7]}


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_the_mean_of_their_pieces_and_old_ones_stay(tied: bool) -> None:
    model = tiny.model(tied=tied)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wider = extend(model, PIECES)
    assert wider.architecture.vocab_size == 36
    for name, tensor in wider.state_dict().items():
        if tensor.shape == before[name].shape:
            assert torch.equal(tensor, before[name])
            continue
        assert torch.equal(tensor[:32], before[name])
        for token, old in PIECES.items():
            assert torch.allclose(tensor[token], before[name][old].mean(0))
    tokens = torch.tensor([[1, 2, 3, 9]])
    assert torch.allclose(wider(tokens)[..., :32], extend(model, PIECES)(tokens)[..., :32])


def test_spare_rows_are_used() -> None:
    wider = extend(tiny.model(), {30: [3, 4]})
    assert wider.architecture.vocab_size == 32
    table = wider.state_dict()["model.embed_tokens.weight"]
    assert torch.allclose(table[30], table[[3, 4]].mean(0))


def test_logits_of_old_tokens_do_not_change() -> None:
    model = tiny.model()
    tokens = torch.tensor([[1, 2, 3, 9]])
    assert torch.allclose(extend(model, PIECES)(tokens)[..., :32], model(tokens))
