from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import EmptyInput
from hornbook.judge.metrics import accuracy, answer_log_likelihood, preference_accuracy, preferred, wilson
from hornbook.judge.score import LogLikelihood


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilsons_interval(right: int, count: int, low: float, high: float) -> None:
    """The last row is Newcombe's (1998) example."""
    assert wilson(right, count) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_value(trial: tuple[int, int]) -> None:
    right, count = trial
    low, high = wilson(right, count)
    assert 0 <= low <= right / count + 1e-12
    assert right / count - 1e-12 <= high <= 1


def test_a_tie_counts_half() -> None:
    assert [preferred(-1, -2), preferred(-2, -1), preferred(-1, -1)] == [1, 0, 0.5]
    chosen, rejected = ([LogLikelihood(n, 1) for n in nats] for nats in ([-1, -2, -3, -4], [-2, -1, -3, -9]))
    found = preference_accuracy(chosen, rejected)
    assert (found.value, found.count) == (0.625, 4)


def test_likelihood_is_per_token_of_all_answers() -> None:
    assert answer_log_likelihood([LogLikelihood(-6.0, 2), LogLikelihood(-2.0, 6)]) == -1.0


def test_nothing_to_measure() -> None:
    with pytest.raises(EmptyInput):
        accuracy([])
    with pytest.raises(EmptyInput):
        answer_log_likelihood([LogLikelihood(0.0, 0)])
