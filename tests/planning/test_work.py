"""What a plan takes a run to compute, beside what the run's own code lays out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hornbook.learn.examples import Example, Examples
from hornbook.model.dial import shape
from hornbook.planning import work
from hornbook.planning.data import Data
from hornbook.planning.memory import Cell

CELL = Cell(architecture=shape(1, vocabulary=300, length=32), method="full", rows=1, length=32)
DATA = Data(
    kind="documents",
    files=1,
    documents=200,
    bytes=80_000,
    bytes_per_token=4.0,
    general_bytes_per_token=4.0,
    longest=100,
    languages={"en": 1.0},
    exact_duplicates=0.0,
    near_duplicates=0.0,
    words=100,
    malformed=0,
)


def example(at: int, *, asked: int, answered: int) -> Example:
    tokens = np.arange(asked + answered, dtype=np.int64)
    return Example(f"{at}", tokens, tokens >= asked)


def chats(*sizes: tuple[int, int]) -> Data:
    taken = tuple(example(at, asked=asked, answered=answered) for at, (asked, answered) in enumerate(sizes))
    return replace(DATA, kind="conversations", examples=taken)


def test_a_step_of_conversations_is_laid_out_as_by_sft() -> None:
    data = chats(*((3 + at % 5, 4 + at % 7) for at in range(work.CONVERSATIONS)))
    real = Examples([(one,) for one in data.examples], length=32, groups_per_step=work.CONVERSATIONS, rows=1, seed=0)
    planned = work.micro_batches(data, CELL)
    assert sorted(batch.tokens.shape[1] for batch in planned) == sorted(b.tokens.shape[1] for b in real.step(0))
    assert sum(int(batch.weights.sum()) for batch in planned) == sum(int(one.answer.sum()) for one in data.examples)
    assert work.step_tokens(data, CELL) == sum(batch.tokens.numel() for batch in planned)


def test_what_is_cut_left_out_or_held_out_is_not_computed() -> None:
    """Of 8, 64 and 64 tokens, 8 and 32 are left: the answer of the last begins too late."""
    data = chats((4, 5), (4, 61), (40, 25))
    taken = work.examples(data, length=32)
    assert [len(one.tokens) for one in taken] == [9, 33]
    assert work.share(data, length=32) == pytest.approx(0.95 * (8 + 32) / (8 + 64 + 64))
    assert work.evaluated(data, length=32) == pytest.approx(work.EVALUATIONS * 20 * 0.05 * 200 * 2 / 3)
    assert [len(tokens) for tokens, _ in work.held_out(data, CELL)] == [9, 33]


def test_documents_are_windows_of_which_all_is_learned() -> None:
    (batch,) = work.micro_batches(DATA, replace(CELL, rows=4))
    assert batch.tokens.shape == (4, 32)
    assert batch.weights.all()
    assert batch.documents.amax() == 1
    assert work.share(DATA, length=32) == 1
    assert work.evaluated(DATA, length=32) == pytest.approx(work.EVALUATIONS * 0.02 * 20_000)
    assert all(len(tokens) == 33 and sum(scored) == 32 for tokens, scored in work.held_out(DATA, CELL))
