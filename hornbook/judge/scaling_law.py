"""How loss falls with size and data, fitted to a ladder of small models, to say what a larger one would reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from hornbook.errors import InputError

Floats = npt.NDArray[np.float64]

FEWEST = 5
"""The law has five numbers, so it needs as many rungs."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One trained model of a ladder."""

    parameters: float
    """N: those that take part in matrix products (the head, but not the embedding)."""
    tokens: float
    """D: tokens that it was trained on."""
    loss: float
    """What it reached on held-out text, in any unit: the law is in the same."""

    @property
    def flops(self) -> float:
        """6 N D, of the whole training (arXiv 2001.08361)."""
        return 6 * self.parameters * self.tokens


@dataclass(frozen=True, kw_only=True)
class ScalingLaw:
    """L(N, D) = E + A / N^alpha + B / D^beta (Chinchilla, arXiv 2203.15556, eq. 2)."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float

    def loss(self, *, parameters: float, tokens: float) -> float:
        """What a model of that size reaches with that many tokens."""
        return float(self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta)

    def optimum(self, flops: float) -> tuple[float, float]:
        """(N, D) with the least loss of all with 6 N D = flops (arXiv 2203.15556, eq. 4); N = D where a term is 0."""
        if not (self.A and self.B):
            return (flops / 6) ** 0.5, (flops / 6) ** 0.5
        total = self.alpha + self.beta
        balance = (self.alpha * self.A / (self.beta * self.B)) ** (1 / total)
        parameters = balance * (flops / 6) ** (self.beta / total)
        return parameters, flops / 6 / parameters


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A loss that was predicted, and how far the prediction moves when one rung is left out."""

    loss: float
    low: float
    high: float


def fit(rungs: Sequence[Rung]) -> ScalingLaw:
    """The law with the least squared relative error on the rungs.

    For given exponents the law is linear in E, A and B, none of which may be negative; the exponents are searched on a
    grid that closes in on the best.

    Raises:
        InputError: there are fewer rungs than the law has numbers, or all have one size or as many tokens.
    """
    _check(rungs)
    sizes, tokens, losses = (np.array([getattr(r, name) for r in rungs]) for name in ("parameters", "tokens", "loss"))
    best, span = (0.5, 0.5), 0.45
    for _ in range(8):
        axes = [np.linspace(max(0.02, centre - span), centre + span, 13) for centre in best]
        exponents = np.array(list(product(*axes)))
        factors, errors = _solve(exponents, sizes, tokens, losses)
        place = int(errors.argmin())
        best, span = (float(exponents[place, 0]), float(exponents[place, 1])), span / 3
    E, A, B = factors[place].tolist()
    return ScalingLaw(E=E, A=A, alpha=best[0], B=B, beta=best[1])


def predict(rungs: Sequence[Rung], *, parameters: float, tokens: float) -> Prediction:
    """The loss of a model that was not trained, with the least and the most that the law says without any one rung."""
    loss = fit(rungs).loss(parameters=parameters, tokens=tokens)
    others = [[r for r in rungs if r is not left_out] for left_out in rungs] if len(rungs) > FEWEST else []
    spread = [fit(kept).loss(parameters=parameters, tokens=tokens) for kept in others if _spans(kept)]
    return Prediction(loss=loss, low=min([loss, *spread]), high=max([loss, *spread]))


def error_of_largest(rungs: Sequence[Rung]) -> float | None:
    """Relative error, predicted over measured - 1, on the rung with the most FLOPs, from the others alone.

    None where they are too few to say.
    """
    largest = max(rungs, key=lambda rung: rung.flops)
    others = [rung for rung in rungs if rung is not largest]
    if len(others) < FEWEST or not _spans(others):
        return None
    return fit(others).loss(parameters=largest.parameters, tokens=largest.tokens) / largest.loss - 1


def _check(rungs: Sequence[Rung]) -> None:
    if len(rungs) < FEWEST:
        raise InputError(f"a scaling law has {FEWEST} numbers and cannot be fitted to {len(rungs)} models")
    if not _spans(rungs):
        raise InputError("a scaling law needs models of several sizes, trained on several numbers of tokens")


def _spans(rungs: Sequence[Rung]) -> bool:
    return all(len({getattr(rung, name) for rung in rungs}) > 1 for name in ("parameters", "tokens"))


def _solve(exponents: Floats, sizes: Floats, tokens: Floats, losses: Floats) -> tuple[Floats, Floats]:
    """For each of G pairs of exponents [G, 2]: the best E, A and B [G, 3], and their squared relative error [G]."""
    alpha, beta = exponents[:, :1], exponents[:, 1:]
    # In units of the smallest rung the factors are near 1, so that the products are well conditioned.
    terms = [np.ones((len(exponents), len(sizes))), (sizes.min() / sizes) ** alpha, (tokens.min() / tokens) ** beta]
    factors, errors = _nonnegative(np.stack(terms, axis=2) / losses[:, None])
    units = np.concatenate([np.ones_like(alpha), sizes.min() ** alpha, tokens.min() ** beta], axis=1)
    return factors * units, errors


def _nonnegative(columns: Floats) -> tuple[Floats, Floats]:
    """Factors of [G, n, k] columns that sum to 1, none negative: the best of the few ways to hold some of them at 0."""
    best, least = np.zeros(columns.shape[::2]), np.full(len(columns), float(columns.shape[1]))
    for mask in list(product((False, True), repeat=columns.shape[2]))[1:]:
        chosen = np.flatnonzero(mask)
        factors = np.linalg.pinv(columns[:, :, chosen]).sum(axis=2)
        errors = ((np.einsum("gnk,gk->gn", columns[:, :, chosen], factors) - 1) ** 2).sum(axis=1)
        better = (errors < least) & (factors >= 0).all(axis=1)
        least[better] = errors[better]
        best[better] = 0.0
        best[np.ix_(better, chosen)] = factors[better]
    return best, least
