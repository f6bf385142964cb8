"""Learning from rewards: pure functions laid out like their equations; losses return `(sum, count)`.

N learned tokens, P prompts, G completions of each, T tokens of a completion. Log-probabilities are in nats, of the
sampled tokens, by the policy that is learning, by the old one that sampled them, and by the reference.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Average = Literal["completion", "token", "constant"]

# -- advantages -------------------------------------------------------------------------------------------------------


def group_advantages(rewards: Tensor, *, scale: bool) -> Tensor:
    """[P, G] -> [P, G]: r - mean of its group, over the group's standard deviation where `scale`.

    With the scale GRPO's (arXiv 2402.03300, section 4.1.2; 1e-4 is added to it, so that equal rewards give 0), without
    it Dr. GRPO's (arXiv 2503.20783, section 3.2).
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    if not scale:
        return centred
    spread = rewards.std(1, keepdim=True) if rewards.shape[1] > 1 else torch.zeros_like(centred)
    return centred / (spread + 1e-4)


def leave_one_out(rewards: Tensor) -> Tensor:
    """[P, G] -> [P, G]: r_i - mean of the group's other rewards (RLOO, arXiv 2402.14740, eq. 4)."""
    others = rewards.shape[1] - 1
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / others


def gae(rewards: Tensor, values: Tensor, *, gamma: float, decay: float) -> Tensor:
    """Generalized advantage estimation (arXiv 1506.02438, eq. 16), [T], [T] -> [T].

    A_t = sum_l (gamma decay)^l delta_{t+l}, with delta_t = r_t + gamma V_{t+1} - V_t, and nothing after the end.
    """
    following = torch.cat([values[1:], values.new_zeros(1)])
    delta = rewards + gamma * following - values
    advantages, later = torch.empty_like(delta), delta.new_zeros(())
    for t in range(len(delta) - 1, -1, -1):
        later = delta[t] + gamma * decay * later
        advantages[t] = later
    return advantages


def whiten(advantages: Tensor) -> Tensor:
    """Mean 0 and variance 1 over all tokens, as PPO is most often run; a single one is left alone."""
    if advantages.numel() < 2:
        return advantages
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)


def overlong(length: int, *, most: int, buffer: int) -> float:
    """DAPO's soft punishment (arXiv 2503.14476, eq. 13): 0 up to most - buffer tokens, from there falling to -1."""
    return min(0.0, (most - buffer - length) / buffer) if length < most else -1.0


# -- losses -----------------------------------------------------------------------------------------------------------


def k3(policy: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) of each token by an estimate that is unbiased and never negative (eq. 4 of GRPO).

    q/p - log(q/p) - 1 for a token that p, the policy, drew.
    """
    ratio = reference - policy
    return ratio.exp() - ratio - 1


def surrogate(policy: Tensor, old: Tensor, advantages: Tensor, *, low: float, high: float) -> Tensor:
    """PPO's clipped objective (arXiv 1707.06347, eq. 7): min(r A, clip(r, 1 - low, 1 + high) A) with r = p / p_old."""
    ratio = (policy - old).exp()
    return torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


def grpo(
    policy: Tensor,
    old: Tensor,
    reference: Tensor | None,
    advantages: Tensor,
    weights: Tensor,
    *,
    count: float,
    beta: float,
    low: float,
    high: float,
) -> tuple[Tensor, Tensor]:
    """GRPO (arXiv 2402.03300, eq. 3), and by its weights DAPO (2503.14476, eq. 8) and Dr. GRPO (2503.20783): all [N].

    -sum w (surrogate - beta k3). `weights` and `count` are those of `averaged`.
    """
    gain = surrogate(policy, old, advantages, low=low, high=high)
    if reference is not None and beta:
        gain = gain - beta * k3(policy, reference)
    return -(weights * gain).sum(), weights.new_tensor(count)


def rloo(
    policy: Tensor, old: Tensor, advantages: Tensor, examples: Tensor, *, count: int, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """RLOO (arXiv 2402.14740): the completion is one action, whose probability is the product of its tokens'.

    `policy`, `old` and `examples` (whose token, int64) [N]; `advantages` [count]. At the old policy the gradient is
    that of REINFORCE, -A grad log p(completion); away from it, clipped.
    """
    whole = policy.new_zeros(count).index_add(0, examples, policy)
    then = policy.new_zeros(count).index_add(0, examples, old.to(policy.dtype))
    return -surrogate(whole, then, advantages, low=low, high=high).sum(), policy.new_tensor(float(count))


def ppo(
    policy: Tensor,
    old: Tensor,
    advantages: Tensor,
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    *,
    clip: float,
    value_weight: float,
) -> tuple[Tensor, Tensor]:
    """PPO with a value head (arXiv 1707.06347, eq. 9, without the entropy term): all [N], and N.

    The value's loss is 1/2 max((V - R)^2, (V_old + clip(V - V_old) - R)^2), where R is the advantage before it was
    whitened, plus V_old.
    """
    gain = surrogate(policy, old, advantages, low=clip, high=clip)
    near = old_values + (values - old_values).clamp(-clip, clip)
    error = torch.maximum((values - returns).square(), (near - returns).square()) / 2
    return (value_weight * error - gain).sum(), values.new_tensor(float(len(values)))


def averaged(lengths: Tensor, *, average: Average, most: int) -> tuple[Tensor, float]:
    """Each token's weight, [N], and what the sum is divided by, for completions of `lengths` tokens int64[C].

    completion: the mean over completions of the mean over tokens (GRPO); token: the mean over all tokens (DAPO);
    constant: the sum over tokens, divided by completions and by `most` tokens of each (Dr. GRPO), so that a token
    counts the same in a short answer and in a long one.
    """
    each = torch.ones(len(lengths)) if average != "completion" else 1 / lengths.float()
    count = {"completion": len(lengths), "token": int(lengths.sum()), "constant": len(lengths) * most}[average]
    return each.repeat_interleave(lengths), float(count)
