"""What a step of reinforcement learning computes: shared prompts are computed once, and change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from hornbook.learn.batches import Batch
from hornbook.learn.examples import batched
from hornbook.learn.methods import METHODS, Name
from hornbook.learn.reinforcement import Plan, Reinforcement
from hornbook.learn.rewards import Judged
from hornbook.learn.rollout import Prompt, Sampling
from hornbook.model.adapters.soft import attach_prompt
from tests.model import tiny

STOP = frozenset(range(8))
"""So many that answers end early, each at another length."""


def learning(*, rows: int, method: Name = "grpo", soft: bool = False, **switches: Any) -> Reinforcement:
    """Three questions of 1, 5 and 9 tokens, five answers each, on a model in double precision."""
    model = tiny.model(**switches).double()
    if soft:
        attach_prompt(model, tokens=3, seed=0)
        model.double()
    prompts = [Prompt(f"{size}", tuple(range(10, 10 + size))) for size in (1, 5, 9)]
    return Reinforcement(
        model,
        prompts,
        judge=lambda said: [Judged(float(len(set(one.tokens)))) for one in said],
        method=METHODS[method],
        sampling=Sampling(max_new_tokens=12, stop=STOP),
        plan=Plan(questions=3, samples=5, rows=rows),
        reference=lambda: nullcontext(model),
    )


def gradient(step: Reinforcement, batches: Sequence[Batch]) -> tuple[Tensor, ...]:
    """Of a step's loss, by everything that learns."""
    losses = [step.loss(step.model, batch)[:2] for batch in batches]
    total, count = (torch.stack(column).sum() for column in zip(*losses, strict=True))
    return torch.autograd.grad(total / count, [p for p in step.model.parameters() if p.requires_grad])


UNTURNED = {"learned_positions": True, "nope_layers": (0, 1)}
"""Positions that no place in a row rounds: rotations are in single precision."""


@pytest.mark.parametrize("rows", [1, 3, 5, 16])
@pytest.mark.parametrize(
    ("options", "exact"),
    [
        (UNTURNED, True),
        ({**UNTURNED, "sliding_window": 4, "method": "rloo"}, True),
        ({"method": "dapo"}, False),
        ({"soft": True}, False),
    ],
    ids=str,
)
def test_a_shared_prompt_gives_the_gradient_of_each_answer_by_itself(
    rows: int, options: dict[str, Any], exact: bool
) -> None:
    step = learning(rows=rows, **options)
    shared = step.batches(0)
    assert step._now is not None
    said = step._now[1].completions
    assert sorted(name for batch in shared for name in batch.document_ids) == sorted(one.id for one in said)
    alone = [batch for one in said for batch in batched([(one.example(),)], length=32, rows=1)]
    if rows > 1:
        assert sum(batch.tokens.numel() for batch in shared) < sum(batch.tokens.numel() for batch in alone)
    tolerance = {"atol": 1e-13, "rtol": 1e-10} if exact else {"atol": 1e-8, "rtol": 1e-5}
    torch.testing.assert_close(gradient(step, shared), gradient(step, alone), **tolerance)


def test_under_a_mask_each_answer_has_a_row_of_its_own() -> None:
    step = learning(rows=4)
    step.model.masked = True
    batches = step.batches(0)
    assert all(batch.prefixes is None for batch in batches)
    assert max(len(batch.tokens) for batch in batches) == 4
