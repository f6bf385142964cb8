from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.errors import EmptyInput, UsageError
from hornbook.learn.curriculum import Draw, Phase, check, last, stretches

NAMES = ("a", "b", "c")


def plan(*phases: tuple[float, dict[str, float]], total: int, **limits: float) -> list[tuple[int, dict[str, float]]]:
    found = stretches([Phase(*phase) for phase in phases], total=total, limits=limits)
    return [(stretch.end, dict(stretch.shares)) for stretch in found]


def test_weights_are_shares() -> None:
    assert plan((1.0, {"a": 3.0, "b": 1.0, "c": 0.0}), total=100) == [(100, {"a": 0.75, "b": 0.25})]


def test_what_a_limited_source_lacks_the_others_give() -> None:
    assert plan((1.0, {"a": 2.0, "b": 1.0, "c": 1.0}), total=100, a=20) == [(100, {"a": 0.2, "b": 0.4, "c": 0.4})]


def test_a_limit_holds_over_all_phases() -> None:
    halves = ((0.5, {"a": 1.0, "b": 1.0}), (1.0, {"a": 1.0, "b": 1.0}))
    assert plan(*halves, total=100, a=40) == [(50, {"a": 0.5, "b": 0.5}), (100, {"a": 0.3, "b": 0.7})]


def test_a_phase_whose_sources_are_used_up_is_refused() -> None:
    with pytest.raises(EmptyInput, match="the phase until 1 takes 100 sequences, and its sources may give no more"):
        plan((1.0, {"a": 1.0, "b": 1.0}), total=100, a=20, b=30)


@pytest.mark.parametrize(
    ("ends", "words"),
    [((0.5, 0.4, 1.0), "one ends at 0.4, after one that ends at 0.5"), ((0.5,), "the last one ends at 0.5")],
)
def test_phases_follow_one_another_to_the_end(ends: tuple[float, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check([Phase(end, {"a": 1.0}) for end in ends])


def test_what_is_named_comes_last_and_as_often_as_before() -> None:
    phases = last({"a": 2.0, "b": 1.0, "c": 1.0}, ["c", "b"])
    assert phases == [Phase(0.5, {"a": 2.0}), Phase(0.75, {"c": 1.0}), Phase(1.0, {"b": 1.0})]
    assert last({"a": 1.0}, ["a", "b"]) == [Phase(1.0, {"a": 1.0})]


@settings(max_examples=40)
@given(
    weights=st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(any), min_size=1, max_size=3),
    total=st.integers(1, 300),
    seed=st.integers(0, 9),
)
def test_draws_are_exact_and_the_same_wherever_one_begins(weights: list[list[int]], total: int, seed: int) -> None:
    phases = [
        Phase((n + 1) / len(weights), dict(zip(NAMES, map(float, row), strict=True))) for n, row in enumerate(weights)
    ]
    planned = stretches(phases, total=total, limits={})

    class Small(Draw):
        BLOCK = 16

    draw = Small(planned, NAMES, seed=seed)
    drawn = [draw(number) for number in range(total)]
    for source in range(3):
        assert [k for s, k in drawn if s == source] == list(range(sum(s == source for s, _ in drawn)))
    assert Small(planned, NAMES, seed=seed)(total - 1) == drawn[-1]
    counts = draw.counts(total)
    assert counts.tolist() == [sum(s == source for s, _ in drawn) for source in range(3)]
    due: Any = np.zeros(3)
    start = 0
    for stretch in planned:
        due += (stretch.end - start) * np.array([stretch.shares.get(name, 0.0) for name in NAMES])
        assert all(stretch.shares.get(NAMES[s], 0) > 0 for s, _ in drawn[start : stretch.end])
        start = stretch.end
    assert np.abs(counts - due).max() <= 1 + 1e-6 + len(weights)
