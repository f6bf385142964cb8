from __future__ import annotations

import pytest
import torch

from hornbook.errors import EmptyInput
from hornbook.judge.rewards import conversation_rewards, win_rate
from hornbook.model.reward import reward_model
from tests.model import tiny


@pytest.mark.parametrize("positions", [1, 20, 1000])
def test_a_reward_is_the_score_of_the_last_token_whatever_is_computed_with_it(positions: int) -> None:
    model = reward_model(tiny.model(), seed=0).double().train()
    rows = tiny.prompts([3, 9, 1, 5])
    found = conversation_rewards(model, rows, positions=positions)
    assert found == pytest.approx([model(torch.tensor([row]))[0, -1].item() for row in rows], abs=1e-12)
    assert model.training
    assert conversation_rewards(model, []) == []


def test_a_win_rate_counts_a_tie_half_and_has_wilsons_interval() -> None:
    found = win_rate([1.0, 2.0, 0.0, 5.0], [0.0, 2.0, 1.0, 4.0])
    assert (found.value, found.count) == (0.625, 4)
    z, n, p = 1.959964, 4, 0.625
    for bound, sign in ((found.low, -1), (found.high, 1)):
        # The interval's ends are the rates from which p is just z standard deviations away.
        assert (bound - p) * sign > 0
        assert abs(bound - p) == pytest.approx(z * (bound * (1 - bound) / n) ** 0.5, rel=1e-6)


def test_a_win_rate_needs_a_prompt_and_as_many_of_both() -> None:
    with pytest.raises(EmptyInput):
        win_rate([], [])
    with pytest.raises(ValueError, match="shorter"):
        win_rate([1.0, 2.0], [1.0])
