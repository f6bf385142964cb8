"""Losses on preferences: pure functions laid out like their equations, each returning `(sum, count)`.

x is a prompt, y_w the answer that was chosen, y_l the one that was rejected, pi the model that learns and ref the one
it started from. r(y) = log pi(y | x) - log ref(y | x) is what beta times makes the implicit reward. Log-probabilities
are sums over an answer's tokens, in nats; where a loss takes the mean over them, its equation has |y|.

A loss takes its own parameters by keyword, each with its usual value: they are the options of `align`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hornbook.errors import UsageError

Result = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Answers to prompts, one side of pairs or a heap of judged ones: each [answers]."""

    policy: Tensor
    """log pi(y | x)"""
    reference: Tensor | None
    """log ref(y | x); None where the loss has no reference."""
    tokens: Tensor
    """|y|"""

    @property
    def ratio(self) -> Tensor:
        """r(y)"""
        assert self.reference is not None
        return self.policy - self.reference

    @property
    def mean(self) -> Tensor:
        """log pi(y | x) / |y|"""
        return self.policy / self.tokens

    def __getitem__(self, which: slice) -> Answers:
        known = None if self.reference is None else self.reference[which]
        return Answers(policy=self.policy[which], reference=known, tokens=self.tokens[which])


def dpo(chosen: Answers, rejected: Answers, *, beta: float = 0.1, label_smoothing: float = 0.0) -> Result:
    """-(1 - e) log sigmoid(beta (r(y_w) - r(y_l))) - e log sigmoid(-beta (r(y_w) - r(y_l))).

    Direct preference optimization, eq. 7 of arXiv 2305.18290; with e = `label_smoothing` > 0 the conservative cDPO of
    its authors, for labels of which a part e is wrong. ln 2 a pair while pi = ref.
    """
    margin = beta * (chosen.ratio - rejected.ratio)
    return _summed(-(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin))


def robust(chosen: Answers, rejected: Answers, *, beta: float = 0.1, label_smoothing: float = 0.1) -> Result:
    """(-(1 - e) log sigmoid(m) + e log sigmoid(-m)) / (1 - 2 e), m = beta (r(y_w) - r(y_l)).

    Robust DPO (arXiv 2403.00409): in expectation over labels of which a part e is wrong, the loss of clean ones.
    """
    margin = beta * (chosen.ratio - rejected.ratio)
    right, wrong = -F.logsigmoid(margin), -F.logsigmoid(-margin)
    return _summed(((1 - label_smoothing) * right - label_smoothing * wrong) / (1 - 2 * label_smoothing))


def ipo(chosen: Answers, rejected: Answers, *, beta: float = 0.1) -> Result:
    """(r(y_w) / |y_w| - r(y_l) / |y_l| - 1 / (2 beta))^2.

    Eq. 17 of arXiv 2310.12036, where beta is tau. The paper has no |y|; TRL has, as its authors say they computed it.
    Without it, the margin to reach would not depend on the length of the answers, and what is easy would.
    """
    margin = chosen.ratio / chosen.tokens - rejected.ratio / rejected.tokens
    return _summed((margin - 1 / (2 * beta)) ** 2)


def hinge(chosen: Answers, rejected: Answers, *, beta: float = 0.1) -> Result:
    """max(0, 1 - beta (r(y_w) - r(y_l))): SLiC's loss (arXiv 2305.10425) on the implicit reward."""
    return _summed(F.relu(1 - beta * (chosen.ratio - rejected.ratio)))


def apo_zero(chosen: Answers, rejected: Answers, *, beta: float = 0.1) -> Result:
    """(1 - sigmoid(beta r(y_w))) + sigmoid(beta r(y_l)): eq. 7 of arXiv 2408.06266.

    Chosen answers become likelier, rejected ones less likely: for pairs whose chosen answer is better than the model's.
    """
    return _summed(1 - torch.sigmoid(beta * chosen.ratio) + torch.sigmoid(beta * rejected.ratio))


def apo_down(chosen: Answers, rejected: Answers, *, beta: float = 0.1) -> Result:
    """sigmoid(beta r(y_w)) + (1 - sigmoid(beta (r(y_w) - r(y_l)))): eq. 8 of arXiv 2408.06266.

    Both become less likely, rejected ones more so: for pairs whose chosen answer is worse than the model's own.
    """
    return _summed(torch.sigmoid(beta * chosen.ratio) + 1 - torch.sigmoid(beta * (chosen.ratio - rejected.ratio)))


def orpo(chosen: Answers, rejected: Answers, *, beta: float = 0.1) -> Result:
    """-log P(y_w) - beta log sigmoid(log odds(y_w) - log odds(y_l)), P(y) = pi(y | x)^(1 / |y|), odds P / (1 - P).

    Eq. 6 and 7 of arXiv 2403.07691, where beta is lambda: finetuning on chosen answers and an odds ratio, no reference.
    """
    return _summed(-chosen.mean - beta * F.logsigmoid(_log_odds(chosen.mean) - _log_odds(rejected.mean)))


def simpo(chosen: Answers, rejected: Answers, *, beta: float = 2.0, gamma: float = 1.0) -> Result:
    """-log sigmoid(beta log pi(y_w | x) / |y_w| - beta log pi(y_l | x) / |y_l| - gamma): eq. 6 of arXiv 2405.14734.

    No reference; gamma is the margin that the better answer shall have.
    """
    return _summed(-F.logsigmoid(beta * (chosen.mean - rejected.mean) - gamma))


def kto(
    answers: Answers,
    good: Tensor,
    kl: Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Result:
    """w_D (1 - sigmoid(beta (r(y) - z))) of a good answer, w_U (1 - sigmoid(beta (z - r(y)))) of a bad one.

    Kahneman-Tversky optimization, arXiv 2402.01306. `good` bool[answers]; z = max(0, `kl`), of which the
    gradient is not taken, estimates KL(pi || ref): the mean of r over prompts with the answers to others.
    """
    above = beta * (answers.ratio - kl.detach().clamp(min=0))
    liked, disliked = 1 - torch.sigmoid(above), 1 - torch.sigmoid(-above)
    return _summed(torch.where(good, desirable_weight * liked, undesirable_weight * disliked))


def bradley_terry(chosen: Tensor, rejected: Tensor) -> Result:
    """-log sigmoid(r(y_w) - r(y_l)), the likelihood that Bradley and Terry (1952) give a choice between two.

    Two [pairs] tensors of a reward model's rewards: eq. 1 of arXiv 2203.02155.
    """
    return _summed(-F.logsigmoid(chosen - rejected))


def _log_odds(log_probability: Tensor) -> Tensor:
    """log(P / (1 - P)) of log P; finite where P is rounded to 1."""
    below = log_probability.clamp(max=-torch.finfo(log_probability.dtype).tiny)
    return log_probability - torch.log(-torch.expm1(below))


def _summed(losses: Tensor) -> Result:
    return losses.sum(), losses.new_tensor(losses.numel())


# -- by name ----------------------------------------------------------------------------------------------------------

LOSSES: Mapping[str, Callable[..., Result]] = {
    loss.__name__: loss for loss in (dpo, robust, ipo, hinge, apo_zero, apo_down, kto, orpo, simpo)
}
"""What `align` can learn by."""
REFERENCE_FREE = frozenset({"orpo", "simpo"})


def knobs(name: str) -> dict[str, float]:
    """A loss's own parameters and their usual values."""
    parameters = inspect.signature(LOSSES[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def choose(name: str, given: Mapping[str, float | None]) -> tuple[Callable[..., Result], dict[str, float]]:
    """A loss with the values of its parameters: those given, else the usual ones.

    Raises:
        UsageError: one is given that the loss does not have.
    """
    own, said = knobs(name), {key: value for key, value in given.items() if value is not None}
    for key in said:
        if key not in own:
            others = ", ".join(loss for loss in LOSSES if key in knobs(loss))
            hint = f'of {others}; "{name}" has {", ".join(own)}'
            raise UsageError(f'loss = "{name}" has no {key}', hint=f"{key} is a parameter {hint}")
    values = own | said
    return partial(LOSSES[name], **values), values
