from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from hornbook.learn.examples import Example, Examples, batched
from hornbook.learn.loop import answer_log_probabilities, train
from hornbook.learn.mismatch import Drift, mismatched
from hornbook.learn.optim import adamw
from hornbook.learn.parallel import processes, sharded
from hornbook.learn.preferences import kto
from hornbook.training.preferring import judged_loss
from tests import ranks
from tests.learn import tiny


def examples(number: int) -> list[Example]:
    """Prompts of 2 to 5 tokens that all are the example's number, and answers that all are 20 more."""
    made = []
    for i in range(number):
        prompt, answer = [i] * (2 + i % 4), [20 + i] * (1 + i % 3)
        tokens = np.array([*prompt, *answer])
        made.append(Example(str(i), tokens, np.arange(len(tokens)) >= len(prompt)))
    return made


def test_every_prompt_has_the_answer_to_another_and_every_answer_is_given_once() -> None:
    made = mismatched(examples(9), length=20, seed=0)
    assert made.keys() == {str(i) for i in range(9)}
    answers = []
    for name, example in made.items():
        prompt, answer = example.tokens[~example.answer], example.tokens[example.answer]
        assert example.id == f"{name}/mismatched"
        assert prompt.tolist() == [int(name)] * (2 + int(name) % 4)
        (given,) = set(answer.tolist())
        assert given != 20 + int(name)
        answers.append(given)
    assert sorted(answers) == [20 + i for i in range(9)]
    assert [m.tokens.tolist() for m in mismatched(examples(9), length=20, seed=1).values()] != [
        m.tokens.tolist() for m in made.values()
    ]


def test_who_is_answered_by_whom_does_not_depend_on_the_order_of_the_rows() -> None:
    there, back = (mismatched(rows, length=20, seed=0) for rows in (examples(9), examples(9)[::-1]))
    assert {name: m.tokens.tolist() for name, m in there.items()} == {n: m.tokens.tolist() for n, m in back.items()}


def test_it_is_cut_to_the_length_and_something_of_the_answer_is_left() -> None:
    for example in mismatched(examples(9), length=5, seed=0).values():
        assert len(example.tokens) <= 6
        assert example.answer.any()


@pytest.mark.parametrize("rows", [1, 4])
def test_the_estimate_is_the_mean_log_ratio_of_the_whole_step(rows: int) -> None:
    policy, before = tiny.model(seed=1), tiny.model(seed=0)
    own = examples(8)
    others = mismatched(own, length=20, seed=0)
    single = {
        name: [
            answer_log_probabilities(model, batched([(m,)], length=20, rows=1)[0]).item() for model in (policy, before)
        ]
        for name, m in others.items()
    }
    known = {f"{name}/mismatched": reference for name, (_, reference) in single.items()}
    data = Examples([(example,) for example in own], length=8, groups_per_step=4, rows=rows, seed=0)
    drift = Drift(policy, data, others, known, autocast=None)
    for step in (0, 1):
        taken = [name for batch in drift.step(step) for name in batch.document_ids]
        assert drift.kl == pytest.approx(np.mean([single[name][0] - single[name][1] for name in taken]), abs=1e-6)
        assert drift.kl != 0
    assert all(parameter.grad is None for parameter in policy.parameters())


def estimate(path: Path) -> None:
    """The loss and the estimates of two steps of KTO, the model shared out among the processes there are."""
    policy, own = tiny.model(exact=False, layers=2), examples(8)
    others = mismatched(own, length=20, seed=0)
    known = {example.id: -5.0 for example in (*own, *others.values())}
    data = Examples([(example,) for example in own], length=8, groups_per_step=4, rows=1, seed=0)
    found: list[float] = []
    with sharded(policy, torch.device("cpu")):
        drift = Drift(policy, data, others, known, autocast=None)
        good = {example.id: int(example.id) % 2 == 0 for example in own}
        loss = partial(judged_loss, function=kto, reference=known, good=good, drift=drift, beta=0.1)
        optimizer = adamw(policy, learning_rate=1e-2)
        for done in train(policy, batches=drift.step, loss=loss, optimizer=optimizer, schedule=lambda _: 1.0, steps=2):
            found += [done.loss, done.measured["kl"], drift.kl]
    if processes().rank == 0:
        path.write_text(json.dumps(found))


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    estimate(tmp_path / "alone")
    ranks.run(2, ranks.joined, estimate, tmp_path / "two", folder=tmp_path)
    alone, two = (json.loads((tmp_path / name).read_text()) for name in ("alone", "two"))
    assert two == pytest.approx(alone, rel=1e-5)
    assert alone[2] != alone[5]
