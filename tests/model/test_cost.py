from __future__ import annotations

from hornbook.model.cost import non_embedding_parameters, parameters, training_flops
from hornbook.model.transformer import Transformer
from tests.model import tiny


def test_parameters_are_those_of_the_model() -> None:
    for tied in (True, False):
        shape = tiny.architecture(tie_word_embeddings=tied)
        assert parameters(shape) == sum(p.numel() for p in Transformer(shape).parameters())


def test_by_hand() -> None:
    shape = tiny.architecture()
    layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32 + 2 * 32
    assert non_embedding_parameters(shape) == 2 * layer + 32
    assert training_flops(shape, length=10) == 6 * (2 * layer + 32 + 61 * 32) + 12 * 2 * 4 * 8 * 10
