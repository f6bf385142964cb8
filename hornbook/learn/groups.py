"""Parameters that an optimizer steps at one rate, and what all optimizers have in common.

`torch.optim.Optimizer` is not used: making one imports torch's compiler, for two seconds before the first step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

Named = tuple[str, nn.Parameter]


@dataclass(kw_only=True)
class Group:
    """Parameters with a rate and a decay of their own."""

    name: str
    params: list[nn.Parameter]
    lr: float
    """Now; the peak until the first step."""
    weight_decay: float = 0.0
    """Pull towards zero, times the rate."""


class Part(ABC):
    """An optimizer over groups; `state` holds the tensors named by `entries` of every parameter that was stepped."""

    entries: ClassVar[frozenset[str]]

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = [group for group in groups if group.params]
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}

    @abstractmethod
    def step(self) -> None:
        """Change every parameter that has a gradient."""


def with_gradient(group: Group) -> list[nn.Parameter]:
    return [p for p in group.params if p.grad is not None]
