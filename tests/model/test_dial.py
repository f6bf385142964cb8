from __future__ import annotations

import pytest

from hornbook.model.configuration import family_of
from hornbook.model.cost import non_embedding_parameters
from hornbook.model.dial import shape
from hornbook.model.families import QWEN3


@pytest.mark.parametrize("depth", [1, 2, 6, 12])
def test_one_dial_sets_a_shape_that_is_a_qwen3(depth: int) -> None:
    made = shape(depth, vocabulary=4096, length=256)
    assert (made.num_hidden_layers, made.hidden_size) == (depth, 64 * depth)
    assert made.num_attention_heads * made.head_dim == made.hidden_size
    assert family_of(made) is QWEN3


def test_an_mlp_has_the_weights_of_one_of_four_times_the_width() -> None:
    made = shape(12, vocabulary=4096, length=256)
    assert non_embedding_parameters(made) == pytest.approx(12 * 12 * made.hidden_size**2, rel=0.01)


def test_a_longer_row_has_a_place() -> None:
    assert shape(2, vocabulary=64, length=256).max_position_embeddings == 2048
    assert shape(2, vocabulary=64, length=4096).max_position_embeddings == 4096
