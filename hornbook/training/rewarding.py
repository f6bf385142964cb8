"""Options of stages that judge what a model says, and the judge that they make.

Annotations here are types, not strings: a class that inherits them lives where their names mean nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import torch

from hornbook.config import Count, Takes
from hornbook.errors import InputError, UsageError
from hornbook.judge.rewards import conversation_rewards
from hornbook.learn.chat import SPECIAL, TEMPLATE, encode
from hornbook.learn.faults import BadRow, bad_row
from hornbook.learn.rewards import NEEDED, REWARDS, Asked, Judged, Score, judge, named
from hornbook.learn.rollout import Completion, Judge, Prompt
from hornbook.learn.rows import Question
from hornbook.manifest import Input
from hornbook.model.reward import load_reward_model
from hornbook.run import Run
from hornbook.text import bpe
from hornbook.training.opening import Opened, own_template

MODEL = "model"
"""Name of the reward that a reward model gives."""


@dataclass(frozen=True, kw_only=True)
class Rewarded:
    """What answers are rewarded for."""

    rewards: dict[str, float]
    """Weights of gsm8k (final number), exact, regex, length, format, python (tests in a sandbox), model."""
    pattern: str | None = None
    """Of `regex`: an RE2 pattern to be found; a group in it must be the answer."""
    target: Count | None = None
    """Of `length`: characters that an answer should have."""
    tags: tuple[str, ...] = ()
    """Of `format`: tags such as `think` and `answer` that an answer consists of, in order."""
    reward_model: Annotated[Path | None, Takes("reward model")] = None
    """Of `model`: a run of `reward`, or a Hugging Face folder of a sequence classifier with one label."""


def make_judge(
    options: Rewarded, run: Run, opened: Opened, questions: Mapping[str, Question], *, device: torch.device
) -> Judge:
    """What completions earn, given the questions by the ids of their prompts.

    Raises:
        UsageError: no reward, one that does not exist, or one whose option is missing.
    """
    if not options.rewards:
        raise UsageError("there is no reward", hint="rewards = { gsm8k = 1.0 }")
    rewards = {name: (weight, _score(name, options, run, device)) for name, weight in options.rewards.items()}
    return partial(_judge, rewards, opened, questions)


def _judge(
    rewards: Mapping[str, tuple[float, Score]],
    opened: Opened,
    questions: Mapping[str, Question],
    completions: Sequence[Completion],
) -> list[Judged]:
    said = [completion.said(opened.stop) for completion in completions]
    asked = [questions[completion.prompt.id] for completion in completions]
    return judge(rewards, opened.tokenizer.decode_batch(said), asked)


def _score(name: str, options: Rewarded, run: Run, device: torch.device) -> Score:
    if name != MODEL:
        if name not in REWARDS:
            raise UsageError(f"there is no reward {name!r}", hint=f"rewards: {', '.join((*REWARDS, MODEL))}")
        return named(name, pattern=options.pattern, target=options.target, tags=options.tags)
    if options.reward_model is None:
        raise UsageError("the reward 'model' needs 'reward_model'", hint='reward_model = "runs/reward-1a2b3c4d"')
    return _reward_model(run.input("reward_model"), device)


def _reward_model(source: Input, device: torch.device) -> Score:
    """What a reward model thinks of a conversation, which it reads by its own template."""
    folder = source.folder()
    model, tokenizer = load_reward_model(folder).to(device), bpe.load(folder)
    config = bpe.read_config(folder)
    special, template = SPECIAL if config is None else bpe.named_tokens(config), own_template(folder) or TEMPLATE

    def score(completions: Sequence[str], asked: Sequence[Asked]) -> list[float]:
        conversations = [
            [*question.prompt, {"role": "assistant", "content": completion}]
            for completion, question in zip(completions, asked, strict=True)
            if isinstance(question, Question)
        ]
        written = [encode(c, tokenizer, template=template, special=special)[0] for c in conversations]
        return conversation_rewards(model, written)

    return score


def encode_question(question: Question, opened: Opened, options: Rewarded, *, length: int) -> Prompt | BadRow:
    """The prompt with the opening of an answer.

    A bad row where it has more than `length` tokens, since its end would be cut, or lacks what a reward compares with.
    """
    try:
        for needed in (NEEDED[name] for name in options.rewards if name in NEEDED):
            needed(question)
    except InputError as error:
        return bad_row(question.where, error.message.removeprefix(f"{question.where}: "), hint=error.hint)
    ids, _ = encode(question.prompt, opened.tokenizer, template=opened.template, special=opened.special, prompt=True)
    if len(ids) > length:
        hint = f"prompt_length = {len(ids)} would hold it"
        return bad_row(question.where, f"its prompt has {len(ids)} tokens, more than {length}", hint=hint)
    return Prompt(question.id, tuple(ids))
