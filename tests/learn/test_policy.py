from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hornbook.learn.policy import (
    averaged,
    gae,
    group_advantages,
    grpo,
    k3,
    leave_one_out,
    overlong,
    ppo,
    rloo,
    whiten,
)

torch.set_num_threads(1)

LENGTHS = [5, 3, 1, 4, 2, 5]
GROUPS = [[0, 1, 2], [3, 4, 5]]
REWARDS = [1.0, 0.0, 0.5, 1.0, 1.0, 0.0]
MOST = 8


def problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probabilities [6, 5] in float64 of the policy, the old policy and the reference, and which of them count."""
    g = torch.Generator().manual_seed(0)
    policy = -torch.rand(6, 5, generator=g, dtype=torch.float64) * 3
    old = policy + 0.4 * torch.randn(6, 5, generator=g, dtype=torch.float64)
    reference = policy + 0.3 * torch.randn(6, 5, generator=g, dtype=torch.float64)
    mask = torch.arange(5)[None] < torch.tensor(LENGTHS)[:, None]
    return policy.requires_grad_(), old, reference, mask


def advantages(scale: bool) -> list[float]:
    """By hand: (r - mean) / (std + 1e-4), the deviation with one degree of freedom less."""
    made = []
    for group in GROUPS:
        rewards = [REWARDS[i] for i in group]
        mean = sum(rewards) / len(rewards)
        spread = math.sqrt(sum((r - mean) ** 2 for r in rewards) / (len(rewards) - 1))
        made += [(r - mean) / (spread + 1e-4 if scale else 1.0) for r in rewards]
    return made


def stated(kind: str, *, beta: float, high: float, scale: bool) -> Tensor:
    """The loss as a loop over completions and tokens."""
    policy, old, reference, _ = problem()
    total = torch.zeros((), dtype=torch.float64)
    for i, (length, advantage) in enumerate(zip(LENGTHS, advantages(scale), strict=True)):
        for t in range(length):
            ratio = torch.exp(policy[i, t] - old[i, t])
            kept = min(max(ratio.item(), 0.8), 1 + high)
            gain = ratio * advantage if ratio.item() * advantage <= kept * advantage else torch.tensor(kept * advantage)
            other = torch.exp(reference[i, t] - policy[i, t])
            loss = -gain + beta * (other - torch.log(other) - 1)
            divisor = {
                "completion": 6 * length,
                "token": sum(LENGTHS),
                "constant": 6 * MOST,
            }[kind]
            total = total + loss / divisor
    return total


TRL = {
    # TRL 1.16.0, GRPOTrainer._compute_loss of the same numbers: loss, sum of |gradient|. (max_completion_length = 8,
    # use_bias_correction_kl = False: its default multiplies k3 by the ratio, which the paper does not.)
    ("completion", 0.04, 0.2, True): (0.23907627647269805, 0.7755688019961433),
    ("completion", 0.0, 0.2, True): (0.23741099973255697, 0.7748531904253797),
    ("token", 0.0, 0.28, True): (0.28897152847766855, 0.9084140725171888),
    ("constant", 0.0, 0.2, False): (0.0710495532477857, 0.20486514682554438),
}


@pytest.mark.parametrize(("average", "beta", "high", "scale"), TRL)
def test_group_losses_are_their_equations_and_trls_numbers(
    average: Any, beta: float, high: float, scale: bool
) -> None:
    policy, old, reference, mask = problem()
    weights, count = averaged(torch.tensor(LENGTHS), average=average, most=MOST)
    each = group_advantages(torch.tensor(REWARDS, dtype=torch.float64).view(2, 3), scale=scale).flatten()
    spread = each.repeat_interleave(torch.tensor(LENGTHS))
    total, divisor = grpo(
        policy[mask], old[mask], reference[mask], spread, weights.double(), count=count, beta=beta, low=0.2, high=high
    )
    loss = total / divisor
    (gradient,) = torch.autograd.grad(loss, policy)
    torch.testing.assert_close(loss, stated(average, beta=beta, high=high, scale=scale), atol=1e-7, rtol=1e-7)
    assert not gradient[~mask].any()
    theirs = TRL[average, beta, high, scale]
    assert (loss.item(), gradient.abs().sum().item()) == pytest.approx(theirs, rel=1e-6)


def checked(function: Any, *inputs: Tensor) -> bool:
    return bool(torch.autograd.gradcheck(function, inputs))


def test_gradients_in_float64() -> None:
    policy, old, reference, mask = problem()
    flat = policy.detach()[mask].requires_grad_()
    weights, count = averaged(torch.tensor(LENGTHS), average="completion", most=MOST)
    spread = torch.tensor(advantages(True), dtype=torch.float64).repeat_interleave(torch.tensor(LENGTHS))
    examples = torch.arange(6).repeat_interleave(torch.tensor(LENGTHS))
    options = {"count": count, "beta": 0.1, "low": 0.2, "high": 0.3}
    assert checked(lambda p: grpo(p, old[mask], reference[mask], spread, weights.double(), **options)[0], flat)
    each = torch.tensor(advantages(False), dtype=torch.float64)
    assert checked(lambda p: rloo(p, old[mask], each, examples, count=6, low=0.9, high=9.0)[0], flat)
    values = torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    before = values.detach() + 0.3
    returns = before + spread
    assert checked(
        lambda p, v: ppo(p, old[mask], spread, v, before, returns, clip=0.2, value_weight=0.5)[0], flat, values
    )


def test_on_policy_grpo_is_the_gradient_of_reinforce() -> None:
    policy, _, _, mask = problem()
    flat = policy.detach()[mask].requires_grad_()
    spread = torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights, count = averaged(torch.tensor(LENGTHS), average="token", most=MOST)
    total, _ = grpo(flat, flat.detach(), None, spread, weights.double(), count=count, beta=0.0, low=0.2, high=0.2)
    (gradient,) = torch.autograd.grad(total, flat)
    torch.testing.assert_close(gradient, -spread)
    assert total.item() == pytest.approx(-spread.sum().item())


def test_rloo_is_reinforce_on_the_whole_completion_against_the_mean_of_the_others() -> None:
    rewards = torch.tensor(REWARDS, dtype=torch.float64).view(2, 3)
    baseline = [[(r[(i + 1) % 3] + r[(i + 2) % 3]) / 2 for i in range(3)] for r in rewards.tolist()]
    each = leave_one_out(rewards)
    torch.testing.assert_close(each, rewards - torch.tensor(baseline, dtype=torch.float64))
    policy, _, _, mask = problem()
    flat = policy.detach()[mask].requires_grad_()
    examples = torch.arange(6).repeat_interleave(torch.tensor(LENGTHS))
    total, count = rloo(flat, flat.detach(), each.flatten(), examples, count=6, low=0.2, high=0.2)
    (gradient,) = torch.autograd.grad(total, flat)
    torch.testing.assert_close(gradient, -each.flatten()[examples])
    assert count.item() == 6


def test_rloo_clips_the_ratio_of_the_whole_completion() -> None:
    old = torch.zeros(2, dtype=torch.float64)
    policy = torch.tensor([0.15, 0.15], dtype=torch.float64, requires_grad=True)
    examples = torch.zeros(2, dtype=torch.int64)
    # Each token is within 1.2, their product is not.
    total, _ = rloo(policy, old, torch.ones(1, dtype=torch.float64), examples, count=1, low=0.2, high=0.2)
    assert total.item() == pytest.approx(-1.2)
    assert not torch.autograd.grad(total, policy)[0].any()


@settings(max_examples=20)
@given(length=st.integers(1, 6), gamma=st.sampled_from([1.0, 0.9]), decay=st.sampled_from([0.0, 0.95, 1.0]))
def test_advantages_are_discounted_sums_of_surprises(length: int, gamma: float, decay: float) -> None:
    g = torch.Generator().manual_seed(length)
    rewards, values = torch.randn(2, length, dtype=torch.float64, generator=g)
    wanted = []
    for t in range(length):
        total = 0.0
        for ahead in range(length - t):
            now = t + ahead
            after = values[now + 1].item() if now + 1 < length else 0.0
            total += (gamma * decay) ** ahead * (rewards[now].item() + gamma * after - values[now].item())
        wanted.append(total)
    found = gae(rewards, values, gamma=gamma, decay=decay)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))
    if gamma == decay == 1:
        torch.testing.assert_close(found + values, rewards.flip(0).cumsum(0).flip(0))


def test_ppo_is_its_equation() -> None:
    g = torch.Generator().manual_seed(3)
    policy, old, surprise, values, before = torch.randn(5, 7, dtype=torch.float64, generator=g) / 2
    total, count = ppo(
        policy, old, whiten(surprise), values, before, surprise + before, clip=0.2, value_weight=0.1
    )
    mean, spread = surprise.mean().item(), surprise.std().item()
    wanted = 0.0
    for p, q, a, v, b in zip(*(x.tolist() for x in (policy, old, surprise, values, before)), strict=True):
        ratio, white = math.exp(p - q), (a - mean) / (spread + 1e-8)
        wanted -= min(ratio * white, min(max(ratio, 0.8), 1.2) * white)
        near = b + min(max(v - b, -0.2), 0.2)
        wanted += 0.1 * max((v - (a + b)) ** 2, (near - (a + b)) ** 2) / 2
    assert (total.item(), count.item()) == pytest.approx((wanted, 7))


def test_the_estimate_of_kl_is_never_negative_and_right_on_average() -> None:
    g = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 6, generator=g, dtype=torch.float64).log_softmax(1)
    estimates = k3(p, q)
    assert (estimates >= 0).all()
    assert (p.exp() * estimates).sum().item() == pytest.approx((p.exp() * (p - q)).sum().item())
    assert not k3(p, p).any()


def test_equal_rewards_teach_nothing() -> None:
    for scale in (True, False):
        assert not group_advantages(torch.full((2, 4), 0.7), scale=scale).any()
    assert not leave_one_out(torch.full((2, 4), 0.5)).any()
    assert not group_advantages(torch.ones(2, 1), scale=True).any()
    assert whiten(torch.ones(1)).item() == 1


@pytest.mark.parametrize(("length", "reward"), [(0, 0), (12, 0), (14, -0.5), (15, -0.75), (16, -1), (20, -1)])
def test_the_punishment_of_what_is_too_long(length: int, reward: float) -> None:
    assert overlong(length, most=16, buffer=4) == reward
