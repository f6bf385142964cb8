"""The beginning that two examples share is computed once, and nothing that is learned changes by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.learn.examples import Example, batched, judged, shared
from hornbook.learn.loop import answer_log_probabilities, rewards
from hornbook.model.reward import reward_model
from tests.model import tiny

LENGTH = 64
VOCABULARY = tiny.SHAPE["vocab_size"]


def example(name: str, prompt: list[int], answer: list[int]) -> Example:
    tokens = np.array([*prompt, *answer], np.int64)
    return Example(name, tokens, np.arange(len(tokens)) >= len(prompt))


def group(sizes: tuple[int, ...], *, seed: int, prompt: int = 11) -> tuple[Example, ...]:
    """Answers of some sizes to one prompt."""
    rng = np.random.default_rng(seed)
    asked = rng.integers(0, VOCABULARY, prompt).tolist()
    answers = [rng.integers(0, VOCABULARY, size).tolist() for size in sizes]
    return tuple(example(f"{seed}/{i}", asked, answer) for i, answer in enumerate(answers))


@pytest.mark.parametrize("switches", tiny.SWITCHES, ids=str)
def test_log_probabilities_and_gradients_are_those_of_each_alone(switches: dict[str, Any]) -> None:
    model = tiny.model(**switches).double()
    pair = group((9, 6), seed=1)
    assert batched([pair], length=LENGTH, rows=1, alone=True)[0].tokens.shape == (1, 19 + 16)
    (batch,) = batched([pair], length=LENGTH, rows=1)
    assert batch.tokens.shape == (1, 19 + 16 - 10)
    found = answer_log_probabilities(model, batch)
    single = [answer_log_probabilities(model, batched([(one,)], length=LENGTH, rows=1)[0]) for one in pair]
    torch.testing.assert_close(found, torch.cat(single), atol=1e-10, rtol=1e-10)
    ours, theirs = (
        torch.autograd.grad(chosen - 2 * rejected, list(model.parameters())) for chosen, rejected in (found, single)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


def test_several_groups_in_rows_of_several_are_told_apart() -> None:
    model = tiny.model(sliding_window=7, learned_positions=True).double()
    groups = [group(sizes, seed=seed) for seed, sizes in enumerate([(3, 8), (5, 5, 4), (2,), (9, 1), (6, 6)])]
    alone: dict[str, float] = {}
    for one in (one for members in groups for one in members):
        (batch,) = batched([(one,)], length=LENGTH, rows=1)
        alone[one.id] = answer_log_probabilities(model, batch).item()
    together: dict[str, float] = {}
    for batch in batched(groups, length=LENGTH, rows=2):
        together |= zip(batch.document_ids, answer_log_probabilities(model, batch).tolist(), strict=True)
    assert together == pytest.approx(alone, rel=1e-7)


def test_what_follows_a_prompt_does_not_see_the_other_answer() -> None:
    model = tiny.model().double()
    first, second = group((5, 5), seed=0)
    other = example("other", first.tokens[:11].tolist(), [1, 2, 3, 4, 5])
    values = [
        answer_log_probabilities(model, batched([(one, second)], length=LENGTH, rows=1)[0])[1] for one in (first, other)
    ]
    torch.testing.assert_close(*values, atol=1e-12, rtol=1e-12)


def test_rewards_are_those_of_each_alone() -> None:
    model = reward_model(tiny.model(), seed=0).double()
    pair = tuple(judged(one) for one in group((9, 6), seed=1))
    (batch,) = batched([pair], length=LENGTH, rows=1)
    assert batch.prefixes is not None
    by_itself = [model(torch.from_numpy(one.tokens[:-1])[None])[0, -1] for one in pair]
    torch.testing.assert_close(rewards(model, batch), torch.stack(by_itself), atol=1e-12, rtol=1e-12)


@settings(max_examples=60)
@given(
    answers=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=2, max_size=4),
    prompt=st.integers(0, 5),
)
def test_what_is_shared_is_equal_and_learns_nothing(answers: list[list[int]], prompt: int) -> None:
    """Answers that begin alike, or are each other's beginning, still have all of their positions."""
    members = tuple(example(str(i), [3] * (prompt + 1), answer) for i, answer in enumerate(answers))
    common = shared(members)
    assert common == prompt
    assert len({tuple(member.tokens[:common]) for member in members}) == 1
    assert not any(member.answer[: common + 1].any() for member in members)
    batch = batched([members], length=200, rows=1)[0]
    assert batch.weights.sum().item() == sum(map(len, answers))
    assert batch.tokens.shape[1] == common + sum(len(answer) + 1 + prompt - common - 1 for answer in answers)
    assert sorted(batch.targets[batch.weights > 0].tolist()) == sorted(token for answer in answers for token in answer)
