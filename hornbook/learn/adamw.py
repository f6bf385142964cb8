"""AdamW (Loshchilov and Hutter, arXiv 1711.05101)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hornbook.learn.groups import Group, Part, with_gradient
from hornbook.learn.parallel import local


class AdamW(Part):
    """W <- (1 - lr decay) W - lr m / (sqrt(v) + eps), with m and v corrected for having begun at 0.

    All parameters of a group in one fused kernel of torch's, the one that its own `AdamW(fused=True)` calls.
    """

    entries = frozenset({"step", "exp_avg", "exp_avg_sq"})

    def __init__(self, groups: Sequence[Group], *, betas: tuple[float, float], eps: float = 1e-8) -> None:
        super().__init__(groups)
        self.betas, self.eps = betas, eps

    @torch.no_grad()
    def step(self) -> None:
        for group in self.groups:
            if learned := with_gradient(group):
                self._update(group, learned)

    def _update(self, group: Group, learned: Sequence[nn.Parameter]) -> None:
        for parameter in learned:
            if parameter not in self.state:
                self.state[parameter] = _new(parameter)
        states = [self.state[p] for p in learned]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            [local(p) for p in learned],
            [local(p.grad) for p in learned if p.grad is not None],
            [local(state["exp_avg"]) for state in states],
            [local(state["exp_avg_sq"]) for state in states],
            [],
            steps,
            lr=group.lr,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=group.weight_decay,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )


def _new(parameter: nn.Parameter) -> dict[str, Tensor]:
    step = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {"step": step, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
