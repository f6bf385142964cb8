"""From what was said and what it earned to what a loss needs of every token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from hornbook.learn.methods import Method, correlation
from hornbook.learn.policy import averaged, gae, k3, overlong, whiten
from hornbook.learn.rewards import Judged
from hornbook.learn.rollout import Completion

DECAY = 0.95
"""Of generalized advantage estimation; rewards are not discounted."""

Logs = list[Tensor]
"""float32[n] for each completion, n its tokens."""


@dataclass(frozen=True)
class Rollout:
    """Completions, what they earned, and what models say of them."""

    completions: Sequence[Completion]
    """Those of a question together."""
    judged: Sequence[Judged]
    samples: int
    """Completions of a question."""
    replaced: int = 0
    """Questions that others took the place of."""
    old: Logs | None = None
    """log p by the policy that said it, as training computes it; None: the policy has not changed since."""
    reference: Logs | None = None
    values: Logs | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """One completion as a loss needs it; tensors are float32[n]."""

    tokens: int
    share: float
    """Of what the step's loss is divided by, this completion's part; all parts are equal."""
    token_share: float
    """The same of one token; those of all tokens are equal."""
    weights: Tensor
    """Of each token in the loss."""
    advantages: Tensor
    sampled: Tensor
    old: Tensor | None
    reference: Tensor | None
    values: Tensor | None
    returns: Tensor | None
    facts: Mapping[str, float]
    """What is told of it; means over the completions go into `metrics.jsonl`."""


def lessons(rollout: Rollout, *, method: Method, most: int, buffer: int = 0) -> dict[str, Lesson]:
    """By the completion's id. `most` and `buffer`: tokens that a completion may have, and the last of them that are
    punished (`policy.overlong`)."""
    lengths = torch.tensor([len(completion.tokens) for completion in rollout.completions])
    weights, count = averaged(lengths, average=method.average, most=most)
    sizes, rewards = lengths.tolist(), _rewards(rollout, most=most, buffer=buffer)
    advantages, returns = _advantages(rollout, method, rewards, sizes)
    known = _facts(rollout, rewards, lengths)
    return {
        completion.id: Lesson(
            tokens=sizes[at],
            share=count / len(sizes),
            token_share=count / sum(sizes),
            weights=part,
            advantages=advantages[at],
            sampled=torch.tensor(completion.sampled),
            old=rollout.old[at] if rollout.old else None,
            reference=rollout.reference[at] if rollout.reference else None,
            values=rollout.values[at] if rollout.values else None,
            returns=returns[at] if returns else None,
            facts={name: column[at] for name, column in known.items()},
        )
        for at, (completion, part) in enumerate(zip(rollout.completions, torch.split(weights, sizes), strict=True))
    }


def _rewards(rollout: Rollout, *, most: int, buffer: int) -> Tensor:
    """float32[completions]"""
    punished = [overlong(len(c.tokens), most=most, buffer=buffer) if buffer else 0.0 for c in rollout.completions]
    return torch.tensor([each.total + less for each, less in zip(rollout.judged, punished, strict=True)])


def _advantages(rollout: Rollout, method: Method, rewards: Tensor, sizes: Sequence[int]) -> tuple[Logs, Logs | None]:
    """Of every token; and what the critic should have foreseen."""
    divergence = None
    if method.kl == "reward" and method.beta and rollout.old and rollout.reference:
        divergence = [method.beta * (p - q) for p, q in zip(rollout.old, rollout.reference, strict=True)]
    if not method.critic:
        if divergence:
            rewards = rewards - torch.stack([part.sum() for part in divergence])
        each = method.advantages(rewards.view(-1, rollout.samples)).flatten()
        return [value.expand(size) for value, size in zip(each, sizes, strict=True)], None
    assert rollout.values is not None
    surprises: Logs = []
    for at, values in enumerate(rollout.values):
        earned = torch.zeros_like(values) if divergence is None else -divergence[at]
        earned[-1] += rewards[at]
        surprises.append(gae(earned, values, gamma=1.0, decay=DECAY))
    returns = [surprise + values for surprise, values in zip(surprises, rollout.values, strict=True)]
    return list(torch.split(whiten(torch.cat(surprises)), list(sizes))), returns


def _facts(rollout: Rollout, rewards: Tensor, lengths: Tensor) -> dict[str, list[float]]:
    """Columns over the completions."""
    judged, completions = rollout.judged, rollout.completions
    flat = rewards.view(-1, rollout.samples)
    same = (flat == flat[:, :1]).all(1).repeat_interleave(rollout.samples)
    several = judged[0].parts if len(judged[0].parts) > 1 else {}
    return {
        "reward": [each.total for each in judged],
        **{f"reward/{name}": [each.parts[name] for each in judged] for name in several},
        "completion_length": lengths.tolist(),
        "share_cut": [float(completion.cut) for completion in completions],
        "zero_variance_groups": same.float().tolist(),
        "length_correlation": [correlation(rewards, lengths)] * len(completions),
        "questions_replaced": [float(rollout.replaced)] * len(completions),
    }


def held_out(
    completions: Sequence[Completion], judged: Sequence[Judged], policy: Logs, reference: Logs
) -> dict[str, float]:
    """Means over completions of held-out questions, and over their tokens of the divergence from the reference."""
    count, kinds = len(completions), judged[0].parts if len(judged[0].parts) > 1 else {}
    divergence = k3(torch.cat(policy), torch.cat(reference))
    return {
        "held_out_reward": sum(each.total for each in judged) / count,
        **{f"held_out_reward/{name}": sum(each.parts[name] for each in judged) / count for name in kinds},
        "held_out_kl": float(divergence.mean()),
        "held_out_length": sum(len(completion.tokens) for completion in completions) / count,
    }


# -- kept -------------------------------------------------------------------------------------------------------------


def stored(rollout: Rollout) -> dict[str, Any]:
    """JSON-able and exact: a float32 is written as the float64 that it is."""
    logs = {name: getattr(rollout, name) for name in ("old", "reference", "values")}
    return {
        "completions": [asdict(completion) for completion in rollout.completions],
        "judged": [asdict(each) for each in rollout.judged],
        "samples": rollout.samples,
        "replaced": rollout.replaced,
        **{name: None if column is None else [part.tolist() for part in column] for name, column in logs.items()},
    }


def restored(kept: dict[str, Any]) -> Rollout:
    completions = [Completion.of(one) for one in kept["completions"]]
    logs: dict[str, Logs | None] = {
        name: None if kept[name] is None else [torch.tensor(part) for part in kept[name]]
        for name in ("old", "reference", "values")
    }
    judged = [Judged(**each) for each in kept["judged"]]
    return Rollout(completions, judged, kept["samples"], kept["replaced"], **logs)
