"""Putting questions to models, and measuring what they answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hornbook.errors import InputError
from hornbook.judge import answers as judged
from hornbook.judge.metrics import Accuracy
from hornbook.judge.rewards import win_rate
from hornbook.judge.tasks.instructions import Told, instructions, read_checks
from hornbook.learn.chat import encode
from hornbook.learn.faults import BadRow
from hornbook.learn.rows import read_questions
from hornbook.learn.turns import Message
from hornbook.model.sample import complete
from hornbook.text import bpe
from hornbook.training.judging import Judge
from hornbook.training.opening import Opened

Answers = Mapping[str, Sequence[str]]
"""By the models' labels, in the order of the questions."""


@dataclass(frozen=True)
class Asked:
    """A question, and what its answer was told to be."""

    prompt: list[Message]
    told: tuple[Told, ...] = ()


def read_asked(path: Path, *, control: Sequence[str]) -> Iterator[Asked | BadRow]:
    """Questions in any format that `read_questions` knows; `checks` says what an answer must be."""
    for row in read_questions(path, control=control):
        if isinstance(row, BadRow):
            yield row
        else:
            checks = row.columns.get("checks")
            yield Asked(row.prompt, () if checks is None else read_checks(checks, where=row.where))


def answers(opened: Opened, prompts: Sequence[Sequence[Message]], *, max_new_tokens: int) -> list[str]:
    """Greedy answers, so that they show the model and not the dice.

    Raises:
        InputError: a question leaves no room for an answer.
    """
    ids = [_asked(opened, prompt, number) for number, prompt in enumerate(prompts, 1)]
    return _completed(opened, ids, max_new_tokens=max_new_tokens)


def continuations(opened: Opened, texts: Sequence[str], *, max_new_tokens: int) -> list[str]:
    """What the model goes on with after the beginnings of texts."""
    ids = [[opened.separator, *bpe.encode_texts(opened.tokenizer, [text])[0]] for text in texts]
    return _completed(opened, ids, max_new_tokens=max_new_tokens)


def measured(asked: Sequence[Asked], said: Sequence[str]) -> tuple[dict[str, Accuracy], dict[str, Accuracy]]:
    """Of a model's answers: refusals, abuse, and how often they are as told; and the last by kind of check."""
    found = judged.kinds(said)
    checked = [(one.told, answer) for one, answer in zip(asked, said, strict=True) if one.told]
    if not checked:
        return found, {}
    result = instructions([told for told, _ in checked], [answer for _, answer in checked])
    return {**found, "instructions": result.prompts}, result.by_check


def win_rates(
    judge: Judge, asked: Sequence[Asked], said: Answers, *, autocast: torch.dtype | None
) -> tuple[dict[str, float], dict[str, Accuracy]]:
    """Mean reward of every model's answers; and how often each model but the first beats the first's answer."""
    rewards = {label: judge.rewards(_conversations(asked, texts), autocast=autocast) for label, texts in said.items()}
    first = next(iter(rewards.values()))
    means = {label: sum(values) / len(values) for label, values in rewards.items()}
    return means, {label: win_rate(values, first) for label, values in list(rewards.items())[1:]}


def _conversations(asked: Sequence[Asked], said: Sequence[str]) -> list[list[Message]]:
    return [[*one.prompt, {"role": "assistant", "content": answer}] for one, answer in zip(asked, said, strict=True)]


def _asked(opened: Opened, prompt: Sequence[Message], number: int) -> list[int]:
    ids, _ = encode(prompt, opened.tokenizer, template=opened.template, special=opened.special, prompt=True)
    most = opened.model.architecture.max_position_embeddings
    if len(ids) >= most:
        raise InputError(f"question {number} has {len(ids)} tokens, and {opened.folder} {most} positions")
    return ids


def _completed(opened: Opened, ids: Sequence[list[int]], *, max_new_tokens: int) -> list[str]:
    completions = complete(opened.model, ids, max_new_tokens=max_new_tokens, stop=opened.stop) if ids else []
    return [opened.tokenizer.decode(list(completion)) for completion in completions]
