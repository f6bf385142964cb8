"""A ladder of small models, all of one recipe, from which the loss of a larger one can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hornbook.errors import UsageError
from hornbook.learn.hyperparameters import training_tokens
from hornbook.model.architecture import Architecture
from hornbook.model.cost import parameters, training_flops
from hornbook.model.dial import shape

PARTS = (1 / 3, 1 / 2, 2 / 3)
"""Of the depth to predict. At two thirds a model costs a fifth of the larger one, at a third a hundredth or two."""
FEWEST = 2
"""Depths, and shares of tokens, by which alone the two terms of a law can be told apart."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model to train or to predict: its shape, for how many tokens, and what that takes."""

    depth: int
    architecture: Architecture
    tokens: float
    flops: float
    """Of the whole training."""

    @property
    def parameters(self) -> float:
        """N of a scaling law, FLOPs per token / 6: attention and the head count, an embedding does not."""
        return self.flops / self.tokens / 6

    def seeing(self, tokens: float) -> Size:
        """The same model on another number of tokens."""
        return replace(self, tokens=tokens, flops=tokens * self.flops / self.tokens)


def size(depth: int, *, tokens: float | None, vocabulary: int, length: int) -> Size:
    """A model of the dial, on so many tokens (None: as many as are compute-optimal) in rows of `length`."""
    architecture = shape(depth, vocabulary=vocabulary, length=length)
    total = tokens or training_tokens(parameters(architecture))
    flops = total * training_flops(architecture, length=length)
    return Size(depth=depth, architecture=architecture, tokens=total, flops=flops)


def ladder(
    target: Size, *, depths: Sequence[int] | None, shares: Sequence[float], vocabulary: int, length: int
) -> list[Size]:
    """The models to train, the cheapest first: each depth with several numbers of tokens for each parameter.

    Args:
        depths: layers; None: a third, a half and two thirds of the target's.
        shares: of the tokens that the target sees for each of its parameters.

    Raises:
        UsageError: they are too few for a law, or one is as deep as what they are to predict.
    """
    chosen = sorted(set(depths or (max(1, round(target.depth * part)) for part in PARTS)))
    if min(len(chosen), len(set(shares))) < FEWEST:
        raise UsageError(
            f"a ladder needs {FEWEST} depths and {FEWEST} shares of tokens, not {len(chosen)} and {len(set(shares))}",
            hint="depths = [2, 3, 4], shares = [0.25, 0.5, 1.0]; a deeper model to predict has a longer ladder",
        )
    if chosen[-1] >= target.depth:
        raise UsageError(
            f"depths: {chosen[-1]} layers are no fewer than the {target.depth} of the model to predict",
            hint="predict a deeper one, or leave the largest out",
        )
    ratio = target.tokens / parameters(target.architecture)
    wholes = [size(depth, tokens=None, vocabulary=vocabulary, length=length) for depth in chosen]
    sizes = [one.seeing(share * ratio * parameters(one.architecture)) for one in wholes for share in set(shares)]
    return sorted(sizes, key=lambda one: one.flops)
