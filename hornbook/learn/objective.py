"""The loss of a method over the completions of a micro-batch, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.learn.lessons import Lesson
from hornbook.learn.methods import Method
from hornbook.learn.policy import grpo, k3, ppo, rloo

VALUE_WEIGHT = 0.1
"""Of the value head's loss beside the policy's."""


@dataclass(frozen=True)
class Joined:
    """Lessons one after the other: [N], N their tokens."""

    share: float
    weights: Tensor
    advantages: Tensor
    sampled: Tensor
    old: Tensor
    reference: Tensor | None
    values: Tensor | None
    returns: Tensor | None
    owners: Tensor
    """int64: whose token."""
    firsts: Tensor
    """int64[completions]: where each begins."""


def joined(held: Sequence[Lesson], *, like: Tensor) -> Joined:
    """On the device and in the type of the policy's log-probabilities, which stand in for older ones that are not."""

    def column(name: str) -> Tensor | None:
        parts = [getattr(lesson, name) for lesson in held]
        return None if parts[0] is None else torch.cat(parts).to(like)

    def needed(name: str) -> Tensor:
        return torch.cat([getattr(lesson, name) for lesson in held]).to(like)

    old, sizes = column("old"), torch.tensor([lesson.tokens for lesson in held], device=like.device)
    return Joined(
        share=sum(lesson.share for lesson in held),
        weights=needed("weights"),
        advantages=needed("advantages"),
        sampled=needed("sampled"),
        old=like.detach() if old is None else old,
        reference=column("reference"),
        values=column("values"),
        returns=column("returns"),
        owners=torch.arange(len(held), device=like.device).repeat_interleave(sizes),
        firsts=sizes.cumsum(0) - sizes,
    )


def objective(lesson: Joined, policy: Tensor, values: Tensor | None, *, method: Method) -> Tensor:
    """The sum of the method's loss, which the step divides by its count."""
    old, advantages = lesson.old, lesson.advantages
    if values is not None and lesson.values is not None and lesson.returns is not None:
        before, returns = lesson.values, lesson.returns
        return ppo(policy, old, advantages, values, before, returns, clip=method.low, value_weight=VALUE_WEIGHT)[0]
    low, high = method.low, method.high
    if method.whole:
        each, count = advantages[lesson.firsts], len(lesson.firsts)
        return rloo(policy, old, each, lesson.owners, count=count, low=low, high=high)[0]
    reference, beta = lesson.reference, method.beta
    return grpo(policy, old, reference, advantages, lesson.weights, count=1, beta=beta, low=low, high=high)[0]


@torch.no_grad()
def told(
    held: Sequence[Lesson], lesson: Joined, policy: Tensor, entropy: Tensor, *, method: Method
) -> dict[str, Tensor]:
    """Sums that, over the step's count, are means over its tokens, or over its completions.

    clip_fraction and stale_kl say how far the policy has gone from the one that spoke; sampler_gap, how far the
    decoder's log-probabilities are from those of training.
    """
    ratio, advantages = (policy - lesson.old).exp(), lesson.advantages
    clipped = ((ratio < 1 - method.low) & (advantages < 0)) | ((ratio > 1 + method.high) & (advantages > 0))
    tokens = {
        "entropy": entropy,
        "clip_fraction": clipped.float(),
        "stale_kl": k3(lesson.old, policy),
        "sampler_gap": (lesson.old - lesson.sampled).abs(),
        **({} if lesson.reference is None else {"kl": k3(policy, lesson.reference)}),
    }
    means = {name: held[0].token_share * column.sum() for name, column in tokens.items()}
    facts = {name: policy.new_tensor(sum(each.share * each.facts[name] for each in held)) for name in held[0].facts}
    return means | facts
