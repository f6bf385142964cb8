"""Ladders: smaller than what they predict, of one recipe, and large enough for a law."""

import pytest

from hornbook.errors import UsageError
from hornbook.learn.ladder import ladder, size
from hornbook.model.cost import parameters, training_flops

COMMON = {"vocabulary": 512, "length": 64}


def test_a_ladder_is_a_part_of_what_it_predicts():
    target = size(6, tokens=3e6, **COMMON)
    sizes = ladder(target, depths=None, shares=(1.0, 0.25, 0.5), **COMMON)
    assert {one.depth for one in sizes} == {2, 3, 4}
    assert len(sizes) == 9
    assert [one.flops for one in sizes] == sorted(one.flops for one in sizes)
    assert sum(one.flops for one in sizes) < 0.5 * target.flops


def test_shares_are_of_tokens_per_parameter():
    target = size(4, tokens=None, **COMMON)
    assert target.tokens == 20 * parameters(target.architecture)
    for one in ladder(target, depths=(1, 2), shares=(0.5, 1.0), **COMMON):
        assert one.tokens / parameters(one.architecture) / 20 in (pytest.approx(0.5), pytest.approx(1.0))
        assert one.flops == pytest.approx(one.tokens * training_flops(one.architecture, length=64))
        assert one.parameters == pytest.approx(training_flops(one.architecture, length=64) / 6)


@pytest.mark.parametrize(
    ("depth", "depths", "shares", "message"),
    [
        (2, None, (0.5, 1.0), "not 1 and 2"),
        (6, (2, 3), (1.0, 1.0), "not 2 and 1"),
        (6, (2, 6), (0.5, 1.0), "6 layers are no fewer than the 6"),
    ],
)
def test_a_ladder_that_can_say_nothing_is_refused(depth, depths, shares, message):
    with pytest.raises(UsageError, match=message):
        ladder(size(depth, tokens=1e6, **COMMON), depths=depths, shares=shares, **COMMON)
