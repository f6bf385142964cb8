from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hornbook.model.configuration import from_config
from hornbook.model.cost import forward_flops, non_embedding_parameters, parameters, training_flops
from hornbook.model.transformer import Transformer
from tests.model import tiny
from tests.model.published import PUBLISHED


def test_parameters_are_those_of_the_model() -> None:
    for tied in (True, False):
        shape = tiny.architecture(tie_word_embeddings=tied)
        assert parameters(shape) == sum(p.numel() for p in Transformer(shape).parameters())


def test_by_hand() -> None:
    shape = tiny.architecture()
    layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32 + 2 * 32
    assert non_embedding_parameters(shape) == 2 * layer + 32
    norms = 2 * 2 * 32
    assert training_flops(shape, length=10) == 6 * (2 * layer - norms + 61 * 32) + 12 * 2 * 4 * 8 * 10


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models(name: str) -> None:
    config, count = PUBLISHED[name]
    assert parameters(from_config(config)) == count


@pytest.mark.parametrize("changes", tiny.SWITCHES, ids=str)
def test_flops_are_those_that_torch_counts(changes: dict[str, object]) -> None:
    """Of a row longer than no window; matrix products only."""
    shape, length = tiny.architecture(**{**changes, "sliding_window": None, "layer_types": None}), 12
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        Transformer(shape).initialize(0)(tiny.tokens(1, length))
    assert counted.get_total_flops() == length * forward_flops(shape, length=length)


def test_a_window_bounds_what_attention_costs() -> None:
    shape = tiny.architecture(sliding_window=3, layer_types=("full_attention", "sliding_attention"))
    short, long = (training_flops(shape, length=length) for length in (3, 10))
    assert long - short == 12 * 4 * 8 * (10 - 3)
    assert training_flops(tiny.architecture(sliding_window=3), length=10) == short


def test_learned_positions_are_embeddings() -> None:
    learned = tiny.architecture(learned_positions=True)
    assert non_embedding_parameters(learned) == non_embedding_parameters(tiny.architecture())
    assert parameters(learned) - parameters(tiny.architecture()) == 64 * 32
