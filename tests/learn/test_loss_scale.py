from __future__ import annotations

import json
import math

import pytest

from hornbook.errors import InputError
from hornbook.learn.loss_scale import FIRST, GROWS_AFTER, LARGEST, SMALLEST, LossScale


def test_it_halves_at_an_overflow_and_doubles_after_a_calm_while() -> None:
    scale = LossScale()
    assert scale.halve()
    assert scale.value == FIRST / 2
    for _ in range(GROWS_AFTER - 1):
        scale.keep()
    assert scale.value == FIRST / 2
    scale.keep()
    assert scale.value == FIRST


def test_it_stays_in_bounds_and_a_power_of_two() -> None:
    scale = LossScale()
    halvings = 0
    while scale.halve():
        halvings += 1
    assert scale.value == SMALLEST == FIRST / 2**halvings
    for _ in range(GROWS_AFTER * 60):
        scale.keep()
    assert scale.value == LARGEST
    assert math.frexp(scale.value)[0] == 0.5


def test_its_state_survives_json_and_a_missing_part_is_an_error() -> None:
    scale, copy = LossScale(), LossScale()
    scale.halve()
    for _ in range(GROWS_AFTER - 1):
        scale.keep()
    copy.load_state(json.loads(json.dumps(scale.state())), where="f")
    for one in (scale, copy):
        one.keep()
        assert one.value == FIRST
    for name in scale.state():
        with pytest.raises(InputError, match=f"f: '{name}' of the loss scale is missing"):
            copy.load_state({k: v for k, v in scale.state().items() if k != name}, where="f")
