from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.learn.hyperparameters import PEAK, peak_rate, step_sequences, step_tokens, training_tokens

LENGTHS = st.sampled_from([64, 128, 256, 1024])
TOKENS = st.floats(1e4, 1e12)


@pytest.mark.parametrize(("total", "tokens"), [(4e4, 1000), (2.7e6, 8216), (1e10, 500_000)])
def test_the_batch_grows_with_the_root_of_the_tokens(total: float, tokens: float) -> None:
    assert step_tokens(total) == pytest.approx(tokens, rel=1e-3)


@given(total=TOKENS, length=LENGTHS)
def test_sequences_are_the_power_of_two_next_to_the_batch(total: float, length: int) -> None:
    sequences = step_sequences(total, length=length)
    assert sequences.bit_count() == 1
    assert sequences == 1 or 2**-0.5 <= sequences * length / step_tokens(total) <= 2**0.5


@given(total=TOKENS, share=st.floats(0.01, 100))
def test_the_rate_follows_the_root_of_the_batch(total: float, share: float) -> None:
    assert peak_rate(share * step_tokens(total), total=total) == pytest.approx(PEAK * share**0.5)


def test_a_small_batch_in_a_short_training_is_not_cold() -> None:
    """nanochat's rate goes with the root of the batch alone: a fifth at 16,384 tokens, however few there are in all."""
    assert peak_rate(16_384, total=1e6) > PEAK


def test_twenty_tokens_a_parameter() -> None:
    assert training_tokens(5_000_000) == 100_000_000
