"""What a new model is trained with where nobody says otherwise: tokens, batch and rates, each by a law of scale.

Tokens by parameters, batch by tokens, rates by width, batch and tokens; `docs/concepts/defaults.md` says why. N
parameters, D tokens of the whole training, B tokens of a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TOKENS_PER_PARAMETER = 20
"""Compute-optimal (Chinchilla, arXiv 2203.15556)."""
BATCH = 5.0
"""Tokens of a step for each square root of a token of the training."""

PEAK = 5e-3
"""The rate of vectors with such a batch."""


def training_tokens(parameters: int) -> int:
    """D = 20 N."""
    return TOKENS_PER_PARAMETER * parameters


def step_tokens(total: float) -> float:
    """B* = 5 sqrt(D): the batch that more data than model allows to grow (arXiv 2410.21676, 2505.13738).

    1024 tokens where 40,000 are trained on, 8192 at 2.7 million, half a million at ten billion.
    """
    return BATCH * math.sqrt(total)


def step_sequences(total: float, *, length: int) -> int:
    """Sequences of a step: the power of two next to B*."""
    return int(2 ** max(0, round(math.log2(step_tokens(total) / length))))


def peak_rate(step: float, *, total: float) -> float:
    """The rate of vectors, PEAK at B*; the root of a batch's share of B* where it is another (arXiv 2405.14578)."""
    return PEAK * math.sqrt(step / step_tokens(total))


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Peak learning rates by kind of parameter."""

    matrices: float
    """Muon, on the hidden matrices."""
    embeddings: float
    """Where they are not the head too."""
    head: float
    vectors: float
    """Norms and biases; AdamW, as the two before."""


def rates(vectors: float) -> Rates:
    """Those of the other kinds by the rate of vectors: ratios that measured best (docs/decisions.md)."""
    return Rates(matrices=6 * vectors, embeddings=10 * vectors, head=3 * vectors, vectors=vectors)
