"""The losses on preferences as training sees them: of a model and a batch, and what is measured beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from hornbook.judge.metrics import accuracy, preference_accuracy, preferred
from hornbook.judge.score import LogLikelihood, log_likelihoods
from hornbook.learn.batches import Batch
from hornbook.learn.examples import Example
from hornbook.learn.loop import answer_log_probabilities, answer_tokens
from hornbook.learn.mismatch import Drift
from hornbook.learn.preferences import Answers
from hornbook.model.transformer import Transformer
from hornbook.text.rates import roc_auc
from hornbook.training.pairs import Judged, Pair

Result = tuple[Tensor, Tensor, dict[str, Tensor]]


def paired_loss(
    model: Transformer,
    batch: Batch,
    *,
    function: Callable[[Answers, Answers], tuple[Tensor, Tensor]],
    reference: Mapping[str, float] | None,
    beta: float,
) -> Result:
    """A loss on a batch in which chosen and rejected answers alternate."""
    answers = _answers(model, batch, reference)
    chosen, rejected = answers[0::2], answers[1::2]
    total, count = function(chosen, rejected)
    with torch.no_grad():
        rewards = [beta * _implicit(side) for side in (chosen, rejected)]
        won = 0.5 * ((rewards[0] > rewards[1]).double() + (rewards[0] >= rewards[1]).double())
        measured = {
            "accuracy": won.sum(),
            "margin": (rewards[0] - rewards[1]).sum(),
            **_told("chosen", chosen, rewards[0].sum()),
            **_told("rejected", rejected, rewards[1].sum()),
        }
    return total, count, measured


def judged_loss(
    model: Transformer,
    batch: Batch,
    *,
    function: Callable[[Answers, Tensor, Tensor], tuple[Tensor, Tensor]],
    reference: Mapping[str, float],
    good: Mapping[str, bool],
    drift: Drift,
    beta: float,
) -> Result:
    """KTO's loss on a batch of judged answers."""
    answers = _answers(model, batch, reference)
    liked = torch.tensor([good[name] for name in batch.document_ids], device=answers.policy.device)
    kl = answers.policy.new_tensor(drift.kl)
    total, count = function(answers, liked, kl)
    with torch.no_grad():
        rewards = beta * answers.ratio
        measured = {"kl": kl * count, "margin": (torch.where(liked, rewards, -rewards)).sum()}
    return total, count, measured


def _answers(model: Transformer, batch: Batch, reference: Mapping[str, float] | None) -> Answers:
    policy = answer_log_probabilities(model, batch)
    known = None if reference is None else policy.new_tensor([reference[name] for name in batch.document_ids])
    return Answers(policy=policy, reference=known, tokens=answer_tokens(batch).to(policy.dtype))


def _implicit(side: Answers) -> Tensor:
    """What beta times is the implicit reward: without a reference, the mean log-probability of a token."""
    return side.mean if side.reference is None else side.ratio


def _told(name: str, side: Answers, reward: Tensor) -> dict[str, Tensor]:
    """Reward, log-probability of a token and tokens of one side, summed over its answers."""
    return {
        f"reward/{name}": reward,
        f"log_probability/{name}": side.mean.sum(),
        f"answer_tokens/{name}": side.tokens.sum(),
    }


# -- on held-out rows -------------------------------------------------------------------------------------------------


def likelihoods(
    model: Transformer, examples: Sequence[Example], *, autocast: torch.dtype | None
) -> dict[str, LogLikelihood]:
    """log p(answer | prompt) of held-out examples, by id: of the reference before training, then of the policy."""
    scored = [(example.tokens.tolist(), example.answer.tolist()) for example in examples]
    found = log_likelihoods(model, scored, autocast=autocast)
    return {example.id: likelihood for example, likelihood in zip(examples, found, strict=True)}


def measure_pairs(
    model: Transformer,
    pairs: Sequence[Pair],
    *,
    function: Callable[[Answers, Answers], tuple[Tensor, Tensor]],
    reference: Mapping[str, LogLikelihood] | None,
    autocast: torch.dtype | None,
) -> dict[str, float]:
    """The loss, how often the chosen answer is the likelier one, how often its implicit reward is the higher one."""
    if not pairs:
        return {}
    policy = likelihoods(model, [example for pair in pairs for example in pair], autocast=autocast)
    rewards = _rewards(policy, reference)
    implicit = accuracy(preferred(rewards[chosen.id], rewards[rejected.id]) for chosen, rejected in pairs)
    sides = [[example.id for example in side] for side in zip(*pairs, strict=True)]
    likelier = preference_accuracy(*([policy[name] for name in side] for side in sides))
    total, count = function(*(_held(side, policy, reference) for side in sides))
    loss = {"preference_loss": float(total / count)}
    return {"preference_accuracy": likelier.value, "reward_accuracy": implicit.value, **loss}


def measure_judged(
    model: Transformer,
    judged: Sequence[Judged],
    *,
    reference: Mapping[str, LogLikelihood],
    autocast: torch.dtype | None,
) -> dict[str, float]:
    """The probability that a good answer's implicit reward is above a bad one's."""
    rewards = _rewards(likelihoods(model, [one.example for one in judged], autocast=autocast), reference)
    good, bad = ([rewards[one.example.id] for one in judged if one.good == kind] for kind in (True, False))
    return {"reward_auc": roc_auc(good, bad)} if good and bad else {}


def _held(
    names: Sequence[str], policy: Mapping[str, LogLikelihood], reference: Mapping[str, LogLikelihood] | None
) -> Answers:
    """One side of held-out pairs, in double precision."""
    known = None if reference is None else torch.tensor([reference[name].nats for name in names], dtype=torch.float64)
    found = [policy[name] for name in names]
    nats, tokens = ([getattr(one, key) for one in found] for key in ("nats", "tokens"))
    return Answers(
        policy=torch.tensor(nats, dtype=torch.float64),
        reference=known,
        tokens=torch.tensor(tokens, dtype=torch.float64),
    )


def _rewards(policy: Mapping[str, LogLikelihood], reference: Mapping[str, LogLikelihood] | None) -> dict[str, float]:
    """The implicit reward of each example, but for beta."""
    if reference is None:
        return {name: found.nats / found.tokens for name, found in policy.items()}
    return {name: found.nats - reference[name].nats for name, found in policy.items()}
