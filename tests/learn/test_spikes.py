from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import InputError
from hornbook.learn.spikes import IN_A_ROW, LEAST, WINDOW, Spikes, ceiling


def noise(count: int, *, seed: int = 0, level: float = 3.0) -> list[tuple[float, float]]:
    """Losses and gradient norms of steps with nothing wrong."""
    dice = random.Random(seed)
    return [(level + dice.gauss(0, 0.1), math.exp(dice.gauss(-1, 0.3))) for _ in range(count)]


def warm(steps: int = 2 * WINDOW) -> Spikes:
    spikes = Spikes()
    assert not any(spikes.verdict(*step) for step in noise(steps))
    return spikes


@pytest.mark.parametrize(
    ("loss", "norm", "words"),
    [
        (9.0, 0.4, "the loss 9 is over"),
        (3.0, 500.0, "the gradient norm 500 is over"),
        (9.0, 500.0, "the loss 9 is over"),
        (math.nan, 0.4, "the loss is not finite"),
        (math.inf, 0.4, "the loss is not finite"),
        (3.0, math.nan, "the gradient is not finite"),
        (3.0, math.inf, "the gradient is not finite"),
    ],
)
def test_one_bad_step_is_left_out_and_no_healthy_one_after_it(loss: float, norm: float, words: str) -> None:
    spikes, clean = warm(), warm()
    reason = spikes.verdict(loss, norm)
    assert reason is not None
    assert reason.startswith(words)
    after = noise(2 * WINDOW, seed=1)
    assert [spikes.verdict(*step) for step in after] == [clean.verdict(*step) for step in after] == [None] * len(after)
    assert spikes.state() == clean.state(), "the bad step left nothing behind"


def test_healthy_steps_are_kept_in_long_runs() -> None:
    spikes = Spikes()
    falling = [(10 * 0.999**n + 2 + loss - 3, norm) for n, (loss, norm) in enumerate(noise(5000))]
    assert [step for step in falling if spikes.verdict(*step)] == []


@pytest.mark.parametrize("bad", [(9.0, 0.4), (math.nan, math.nan)])
def test_nothing_finite_is_left_out_before_there_is_a_window(bad: tuple[float, float]) -> None:
    spikes = warm(LEAST - 1)
    assert (spikes.verdict(*bad) is None) == math.isfinite(bad[0])


def test_a_level_that_stays_is_learned_from() -> None:
    spikes = warm()
    higher = noise(3 * WINDOW, seed=2, level=8.0)
    reasons = [spikes.verdict(*step) for step in higher]
    assert all(reasons[:IN_A_ROW])
    assert not any(reasons[IN_A_ROW:])


def test_steps_in_a_row_are_counted_and_a_healthy_one_ends_the_row() -> None:
    spikes = warm()
    for n in range(1, 4):
        assert spikes.verdict(math.nan, math.nan)
        assert spikes.in_a_row == n
    assert spikes.verdict(3.0, 0.4) is None
    assert spikes.in_a_row == 0


def test_a_window_without_any_spread_takes_no_noise_for_a_spike() -> None:
    spikes = Spikes()
    assert not any(spikes.verdict(2.0, 1.0) for _ in range(LEAST))
    assert spikes.verdict(2.1, 1.1) is None
    assert spikes.verdict(4.0, 1.0) is not None
    assert spikes.verdict(2.0, 0.0) is None, "a gradient of zero is small, not bad"


@given(st.lists(st.floats(-10, 10), min_size=LEAST, max_size=WINDOW), st.data())
def test_less_than_half_of_bad_values_cannot_lift_the_ceiling_out_of_the_good_ones(
    good: list[float], data: st.DataObject
) -> None:
    bad = data.draw(st.lists(st.floats(1e3, 1e9), max_size=(len(good) - 1) // 2))
    # Median and MAD of the mixture stay within the range of the good values: at most 20 from one end to the other.
    assert ceiling([*good, *bad], least=0.1) <= 10 + 10 * 1.4826 * 20


@pytest.mark.parametrize("bad", [[], [(math.nan, 1.0)] * 3])
def test_what_it_knows_survives_json(bad: list[tuple[float, float]]) -> None:
    spikes = warm(70)
    for step in bad:
        spikes.verdict(*step)
    copy = Spikes()
    copy.load_state(json.loads(json.dumps(spikes.state(), allow_nan=False)), where="f")
    after = [*noise(40, seed=3), (9.0, 1.0), *noise(40, seed=4)]
    assert [copy.verdict(*step) for step in after] == [spikes.verdict(*step) for step in after]
    assert copy.state() == spikes.state()


def test_a_missing_part_is_an_error() -> None:
    state = warm(3).state()
    for name in state:
        with pytest.raises(InputError, match=f"f: '{name}' of the window of healthy steps is missing"):
            Spikes().load_state({k: v for k, v in state.items() if k != name}, where="f")
