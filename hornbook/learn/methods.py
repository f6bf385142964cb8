"""How rewards become a gradient: each method a value, which says where its advantages, averages and KL come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hornbook.learn.policy import Average, group_advantages, leave_one_out

Name = Literal["grpo", "dapo", "dr_grpo", "rloo", "ppo"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """What tells one method from another."""

    baseline: Literal["group", "mean", "others", "critic"]
    """What a reward is compared with: mean and deviation of its group, its mean, the others in it, a value head."""
    average: Average = "completion"
    kl: Literal["loss", "reward"] = "loss"
    """Where the divergence from the reference is held against the policy."""
    beta: float = 0.0
    """How much of it."""
    low: float = 0.2
    high: float = 0.2
    """A probability may change by a factor of 1 - low to 1 + high, and further for no gain (arXiv 1707.06347)."""
    whole: bool = False
    """The completion is one action, not each of its tokens."""

    @property
    def critic(self) -> bool:
        return self.baseline == "critic"

    def advantages(self, rewards: Tensor) -> Tensor:
        """[P, G] -> [P, G], for all but a critic."""
        if self.baseline == "others":
            return leave_one_out(rewards)
        return group_advantages(rewards, scale=self.baseline == "group")


METHODS: dict[Name, Method] = {
    "grpo": Method(baseline="group", beta=0.04),
    "dapo": Method(baseline="group", average="token", high=0.28),
    "dr_grpo": Method(baseline="mean", average="constant"),
    "rloo": Method(baseline="others", kl="reward", beta=0.05, whole=True),
    "ppo": Method(baseline="critic", average="token", kl="reward", beta=0.05),
}
"""arXiv 2402.03300, 2503.14476, 2503.20783, 2402.14740, and 2203.02155 with 1707.06347."""


def correlation(x: Tensor, y: Tensor) -> float:
    """Pearson's, 0 where one of them does not vary."""
    pair = torch.stack([x.double(), y.double()])
    if x.numel() < 2 or bool((pair.std(1) == 0).any()):
        return 0.0
    return float(torch.corrcoef(pair)[0, 1])
