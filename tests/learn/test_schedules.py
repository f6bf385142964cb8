from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.learn.schedules import warmup_stable_decay


@pytest.mark.parametrize(
    ("step", "multiplier"),
    [(0, 0.1), (4, 0.5), (9, 1.0), (59, 1.0), (60, 1.0), (80, 0.5), (99, 0.025)],
)
def test_warmup_stable_decay(step: int, multiplier: float) -> None:
    assert warmup_stable_decay(step, 100, warmup=0.1, decay=0.4) == pytest.approx(multiplier)


@given(total=st.integers(1, 3000), place=st.floats(0, 1, exclude_max=True))
def test_every_step_learns_and_none_more_than_the_peak(total: int, place: float) -> None:
    step = int(place * total)
    assert 0 < warmup_stable_decay(step, total) <= 1
