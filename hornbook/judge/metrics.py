"""Scores made into figures, each with the interval it is known to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hornbook.errors import EmptyInput
from hornbook.judge.score import LogLikelihood
from hornbook.text.rates import wilson


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A fraction of `count` trials with its 95 % Wilson interval."""

    value: float
    count: int
    low: float
    high: float


def accuracy(outcomes: Iterable[float]) -> Accuracy:
    """Mean of outcomes in 0..1 (1 right, 0 wrong, 1/2 a tie). No outcome at all is EmptyInput."""
    values = list(outcomes)
    if not values:
        raise EmptyInput("nothing to measure an accuracy on")
    right = math.fsum(values)
    return Accuracy(right / len(values), len(values), *wilson(right, len(values)))


def preference_accuracy(chosen: Sequence[LogLikelihood], rejected: Sequence[LogLikelihood]) -> Accuracy:
    """How often log p(chosen) > log p(rejected); a tie counts half."""
    return accuracy(preferred(c.nats, r.nats) for c, r in zip(chosen, rejected, strict=True))


def preferred(better: float, worse: float) -> float:
    """1 where `better` is the larger, 1/2 where they are equal, else 0."""
    return 0.5 * ((better > worse) + (better >= worse))


def answer_log_likelihood(answers: Sequence[LogLikelihood]) -> float:
    """Mean log p per answer token, in nats, over all tokens of all answers."""
    tokens = sum(answer.tokens for answer in answers)
    if not tokens:
        raise EmptyInput("no answer token to measure a likelihood on")
    return math.fsum(answer.nats for answer in answers) / tokens
