"""What a run computes: the micro-batches of a typical step, laid out as by its stage, and what it measures itself on.

Of conversations there is a sample, encoded as `sft` will: so rows are as long, as full, and as much of them is learned
as in the run. Documents are cut into full windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import torch

from hornbook.judge.score import CPU_POSITIONS, Sequences
from hornbook.learn.batches import Batch
from hornbook.learn.examples import Example, batched
from hornbook.learn.hyperparameters import TOKENS_PER_PARAMETER, step_sequences
from hornbook.model.cost import parameters
from hornbook.planning.data import Data
from hornbook.planning.memory import Cell

CONVERSATIONS = 32
"""In a step of finetuning."""
HELD_OUT = {"documents": 0.02, "conversations": 0.05}
"""Share of the data that is held out (`tokenize`, `training.reading`)."""
EVALUATIONS = 9
"""Times that a run measures itself: before, after, and between."""
MOST_TOKENS, MOST_CONVERSATIONS = 50_000, 200
"""That are measured each time."""
SCORED = 16
"""Held-out conversations of a probe, at most."""


def examples(data: Data, *, length: int) -> list[Example]:
    """The sampled conversations as rows of at most `length` tokens hold them: cut, or left out without an answer."""
    cut = (replace(one, tokens=one.tokens[: length + 1], answer=one.answer[: length + 1]) for one in data.examples)
    return [one for one in cut if one.answer.any()]


def mean_tokens(taken: Sequence[Example]) -> float:
    """Of a conversation, as positions that a step computes."""
    return fmean(len(one.tokens) - 1 for one in taken)


def step_tokens(data: Data, cell: Cell) -> int:
    """Of an update, as the stages choose them."""
    if data.kind == "conversations":
        taken = examples(data, length=cell.length)
        return round(CONVERSATIONS * (mean_tokens(taken) if taken else min(cell.length, data.tokens / data.documents)))
    total = TOKENS_PER_PARAMETER * parameters(cell.architecture) if cell.method == "pretrain" else data.tokens
    return step_sequences(total, length=cell.length) * cell.length


def share(data: Data, *, length: int) -> float:
    """Of the data's tokens those that steps compute in one epoch: of conversations not what is cut or held out.

    Of documents all: `train_tokens` says how many are trained on, whatever is held out.
    """
    if not (taken := examples(data, length=length)):
        return 1.0
    kept = mean_tokens(taken) / mean_tokens(data.examples) * len(taken) / len(data.examples)
    return kept * (1 - HELD_OUT["conversations"])


def evaluated(data: Data, *, length: int) -> float:
    """Tokens that a run measures itself on, in all."""
    if taken := examples(data, length=length):
        left = data.documents * len(taken) / len(data.examples)
        return EVALUATIONS * mean_tokens(taken) * min(MOST_CONVERSATIONS, HELD_OUT["conversations"] * left)
    return EVALUATIONS * min(MOST_TOKENS, HELD_OUT[data.kind] * data.tokens)


def micro_batches(data: Data, cell: Cell) -> tuple[Batch, ...]:
    """Those of a step; of documents one, which stands for all."""
    if taken := examples(data, length=cell.length):
        return batched([(one,) for one in taken[:CONVERSATIONS]], length=cell.length, rows=cell.rows)
    return (windows(cell),)


def windows(cell: Cell) -> Batch:
    """Rows of random tokens; where they are packed, of two documents each."""
    shape = (cell.rows, cell.length)
    tokens = torch.randint(cell.architecture.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    second = torch.arange(cell.length).expand(shape) >= cell.length // 2
    documents = second.long() if cell.packed else torch.zeros(shape, dtype=torch.int64)
    return Batch(tokens, tokens.roll(-1, 1), torch.ones(shape), documents, ("probe",))


def held_out(data: Data, cell: Cell) -> Sequences:
    """Some of what the run measures itself on, as tokens and which of them are scored."""
    if taken := examples(data, length=cell.length):
        most = max(1, min(SCORED, round(HELD_OUT["conversations"] * data.documents)))
        return [(one.tokens.tolist(), one.answer.tolist()) for one in taken[-most:]]
    window = torch.randint(cell.architecture.vocab_size, (cell.length + 1,), generator=torch.Generator().manual_seed(0))
    count = max(1, CPU_POSITIONS // cell.length)
    return [(window.tolist(), [False, *[True] * cell.length])] * count
