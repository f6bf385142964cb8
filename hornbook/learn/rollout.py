"""What a policy says to prompts, several times each: sampled in batches by the fastest decoder that the model has.

A draw is a function of (seed, prompt, sample, token) and of nothing else, so that neither the batch nor a resume
nor the number of processes changes what is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hornbook.learn.examples import Example
from hornbook.learn.parallel import processes
from hornbook.learn.rewards import Judged
from hornbook.model.decode import Decoder
from hornbook.model.sample import generate
from hornbook.model.transformer import keyed_seed


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How completions are drawn."""

    max_new_tokens: int
    stop: frozenset[int]
    temperature: float = 1.0
    top_p: float = 1.0
    at_once: int = 64
    """Completions decoded together."""


@dataclass(frozen=True, slots=True)
class Prompt:
    id: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer to a prompt."""

    prompt: Prompt
    sample: int
    tokens: tuple[int, ...]
    """Up to and with the token that ended it."""
    sampled: tuple[float, ...]
    """log p of each token in nats, by the decoder, at the temperature and without a nucleus."""
    cut: bool
    """It did not end by itself: it reached `max_new_tokens`, or the model's last position."""

    @property
    def id(self) -> str:
        return f"{self.prompt.id}/{self.sample}"

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Completion:
        """What `asdict` made of one, or JSON of that."""
        prompt = Prompt(kept["prompt"]["id"], tuple(kept["prompt"]["tokens"]))
        return cls(prompt, kept["sample"], tuple(kept["tokens"]), tuple(kept["sampled"]), kept["cut"])

    def said(self, stop: frozenset[int]) -> list[int]:
        """The tokens without the one that ended it."""
        return list(self.tokens[:-1] if self.tokens[-1] in stop else self.tokens)

    def example(self) -> Example:
        """To be learned from: the prompt is given, every token of the completion is learned."""
        tokens = np.array((*self.prompt.tokens, *self.tokens), np.int64)
        return Example(self.id, tokens, np.arange(len(tokens)) >= len(self.prompt.tokens))


Judge = Callable[[Sequence[Completion]], list[Judged]]
Group = list[tuple[Completion, Judged]]
"""The completions of one prompt, and what each earned."""


def roll_out(
    decoder: Decoder, prompts: Sequence[Prompt], *, samples: int, seed: int, sampling: Sampling
) -> list[list[Completion]]:
    """`samples` completions of every prompt, in the order of the prompts.

    The completions of a prompt are decoded together, so that it is read once. The decoder sees what its model was when
    it was last refreshed.
    """
    found: dict[int, list[Completion]] = {}
    for group in _together(prompts, samples, sampling.at_once):
        completions = _complete(decoder, [prompts[at] for at in group], samples, seed, sampling)
        found |= {at: completions[i * samples : (i + 1) * samples] for i, at in enumerate(group)}
    return [found[at] for at in range(len(prompts))]


def answer(
    decoder: Decoder, prompts: Sequence[Prompt], *, judge: Judge, samples: int, seed: int, sampling: Sampling
) -> list[Group]:
    """The completions of `roll_out` with what they earn. Each process answers its share, and hears of the others'."""
    us = processes()
    mine = prompts[us.rank :: us.size]
    said = [one for group in roll_out(decoder, mine, samples=samples, seed=seed, sampling=sampling) for one in group]
    judged = judge(said) if said else []
    if us.size == 1:
        pairs = list(zip(said, judged, strict=True))
        return [pairs[at : at + samples] for at in range(0, len(pairs), samples)]
    told = us.exchange([(asdict(one), asdict(earned)) for one, earned in zip(said, judged, strict=True)])
    shares = [[(Completion.of(one), Judged(**earned)) for one, earned in share] for share in told]
    places = (divmod(at, us.size) for at in range(len(prompts)))
    return [shares[rank][turn * samples : (turn + 1) * samples] for turn, rank in places]


def _together(prompts: Sequence[Prompt], samples: int, at_once: int) -> Iterator[list[int]]:
    """Prompts of like length, so many that their completions are at most `at_once`, or one."""
    order = sorted(range(len(prompts)), key=lambda at: (len(prompts[at].tokens), at))
    size = max(1, at_once // samples)
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _complete(
    decoder: Decoder, prompts: Sequence[Prompt], samples: int, seed: int, sampling: Sampling
) -> list[Completion]:
    rows = [(prompt, sample) for prompt in prompts for sample in range(samples)]
    tokens: list[list[int]] = [[] for _ in rows]
    logs: list[list[float]] = [[] for _ in rows]
    steps = generate(
        decoder,
        [prompt.tokens for prompt, _ in rows],
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        stop=sampling.stop,
        seed=seed,
        indices=[keyed_seed(seed, f"{prompt.id}/{sample}") for prompt, sample in rows],
    )
    for step in steps:
        values = step.log_probabilities().tolist()
        for row, token, value in zip(step.rows, step.tokens, values, strict=True):
            tokens[row].append(token)
            logs[row].append(value)
    return [
        Completion(prompt, sample, tuple(said), tuple(values), said[-1] not in sampling.stop)
        for (prompt, sample), said, values in zip(rows, tokens, logs, strict=True)
    ]
