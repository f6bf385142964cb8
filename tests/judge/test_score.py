from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.judge.score import LogLikelihood, bits_per_byte, evaluating, log_likelihoods
from hornbook.model.transformer import Transformer
from tests.learn import tiny

torch.set_num_threads(1)
MODEL = tiny.model()
TOKENS = st.lists(st.integers(1, 31), min_size=2, max_size=12)


def plainly(model: Transformer, tokens: list[int], scored: list[bool]) -> LogLikelihood:
    """One forward pass, all logits, no batching."""
    with torch.no_grad():
        logs = model(torch.tensor([tokens]))[0].log_softmax(-1)
    picked = [logs[i, tokens[i + 1]].item() for i in range(len(tokens) - 1) if scored[i + 1]]
    return LogLikelihood(sum(picked), len(picked))


@settings(max_examples=25)
@given(st.lists(TOKENS, max_size=6), st.integers(1, 40), st.integers(0, 2**12))
def test_batched_scores_are_those_of_each_alone(rows: list[list[int]], positions: int, bits: int) -> None:
    sequences = [(row, [bool(bits >> i & 1) for i in range(len(row))]) for row in rows]
    found = log_likelihoods(MODEL, sequences, positions=positions)
    for score, (tokens, scored) in zip(found, sequences, strict=True):
        alone = plainly(MODEL, tokens, scored)
        assert score.tokens == alone.tokens
        assert score.nats == pytest.approx(alone.nats, abs=1e-9)


def test_numpy_rows_and_rows_of_one_token() -> None:
    found = log_likelihoods(MODEL, [(np.array([3]), np.array([True])), (np.array([3, 4]), np.array([False, True]))])
    assert found[0] == LogLikelihood(0.0, 0)
    assert found[1].nats == pytest.approx(plainly(MODEL, [3, 4], [False, True]).nats)


@settings(max_examples=20)
@given(st.lists(TOKENS, min_size=1, max_size=4), st.integers(1, 15), st.booleans())
def test_every_token_is_predicted_once_in_windows(documents: list[list[int]], context: int, led: bool) -> None:
    given_ = [([0, *d] if led else d, 3 * len(d)) for d in documents]
    found = bits_per_byte(MODEL, given_, separator=0, context=context)
    nats = 0.0
    for document in documents:
        ids = [0, *document]
        for start in range(0, len(document), context):
            window = ids[start : start + context + 1]
            nats -= plainly(MODEL, window, [True] * len(window)).nats
    assert found.tokens == sum(map(len, documents))
    assert found.bytes == 3 * found.tokens
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / found.bytes)


def test_a_model_that_knows_nothing_needs_log2_of_the_vocabulary() -> None:
    model = tiny.model(vocab=256)
    model.model.embed_tokens.weight.data.zero_()
    text = "hornbook"
    found = bits_per_byte(model, [(list(text.encode()), len(text))], separator=0, context=64)
    assert found.bits_per_byte == pytest.approx(8.0)


def test_the_bits_of_no_text_are_not_a_number() -> None:
    assert math.isnan(bits_per_byte(MODEL, [], separator=0, context=8).bits_per_byte)


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_is_restored_even_after_an_error(training: bool) -> None:
    model = tiny.model().train(training)
    seen = []

    def fail() -> None:
        with evaluating(model):
            seen.append((model.training, torch.is_grad_enabled()))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [(False, False)]
    assert model.training is training


def test_bf16_is_close() -> None:
    model = tiny.model(exact=False)
    rows = [([1, 5, 9, 2], [True] * 4), ([7, 7], [True] * 2)]
    exact, fast = log_likelihoods(model, rows), log_likelihoods(model, rows, autocast=torch.bfloat16)
    assert [s.nats for s in fast] == pytest.approx([s.nats for s in exact], rel=0.02)
