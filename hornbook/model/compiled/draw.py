"""The next token of each row and its log-probability, with nothing as large as the logits in between."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hornbook.model.compiled.kernels import Floats, Whole, exponentials, kernel, summing

NO_CHANCE = np.float32(-80)
"""Tokens less likely than e^-80 of the likeliest are never drawn: float32 is near its end there."""


@kernel
def draw_rows(
    logits: Floats, temperature: float, marks: NDArray[np.float64], tokens: Whole, logs: Floats, chances: Floats
) -> None:
    """tokens [R]: where each row's mark in [0, 1) falls among the sums of softmax(logits / temperature) [R, V].

    Never on a token without a chance. logs [R]: of the probabilities of these tokens, in nats. chances: room for V;
    they are float32, their sums float64.
    """
    slope = np.float32(1 / temperature)
    for row in range(len(logits)):
        largest = greatest(logits[row])
        total = relative(logits[row], largest, slope, chances)
        mark, reached, last = marks[row] * total, 0.0, 0
        for token in range(len(chances)):
            if chances[token] > 0:
                reached, last = reached + chances[token], token
                if reached > mark:
                    break
        tokens[row] = last
        logs[row] = (logits[row, last] - largest) * slope - math.log(total)


@summing
def relative(logits: Floats, largest: np.float32, slope: np.float32, chances: Floats) -> float:
    """chances [V]: each token's probability over that of the likeliest, whose logit is `largest`; their sum."""
    for token in range(len(logits)):
        chances[token] = (logits[token] - largest) * slope
    exponentials(chances, np.float32(0))
    total = 0.0
    for token in range(len(logits)):
        chances[token] = chances[token] if (logits[token] - largest) * slope > NO_CHANCE else np.float32(0)
        total += chances[token]
    return total


@summing
def greatest(x: Floats) -> np.float32:
    found: np.float32 = x[0]
    for number in x:
        found = max(found, number)
    return found
