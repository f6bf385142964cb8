"""What training carries from step to step besides weights and optimizer state; all of it is in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.learn.ema import Ema
from hornbook.learn.loss_scale import LossScale
from hornbook.learn.spikes import Spikes


@dataclass(frozen=True, kw_only=True)
class Carry:
    """Each part is there or not as the config has it; a checkpoint has exactly the same parts."""

    spikes: Spikes | None = None
    """Leaves out steps that would do harm; None: a step that is not finite ends the run."""
    scale: LossScale | None = None
    """Keeps fp16 gradients in range; None: in other types."""
    average: Ema | None = None
    """Of the weights, evaluated and saved in place of the last step's."""

    def state(self) -> dict[str, Any]:
        """JSON-able and exact, without the tensors."""
        known: dict[str, Any] = {}
        if self.spikes is not None:
            known["spikes"] = self.spikes.state()
        if self.scale is not None:
            known["loss_scale"] = self.scale.state()
        if self.average is not None:
            known["average"] = {"updates": self.average.updates}
        return known

    def tensors(self) -> dict[str, Tensor]:
        """The averages of the weights by parameter name, where they are kept."""
        return {} if self.average is None else self.average.tensors()

    def load(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor], *, where: str) -> None:
        """Restore what `state` and `tensors` gave.

        Raises:
            InputError: a part is missing or left over.
        """
        if odd := sorted(state.keys() ^ self.state().keys()):
            what = "belongs to nothing that this run keeps" if odd[0] in state else "is missing"
            raise InputError(f"{where}: the state of {odd[0]!r} {what}")
        if self.spikes is not None:
            self.spikes.load_state(state["spikes"], where=where)
        if self.scale is not None:
            self.scale.load_state(state["loss_scale"], where=where)
        if self.average is not None:
            self.average.load(tensors, updates=int(state["average"]["updates"]), where=where)


NOTHING = Carry()


def carried(
    model: nn.Module, *, autocast: torch.dtype | None, skip_spikes: bool = False, ema: float | None = None
) -> Carry:
    """What a new run carries; made once the model is ready to learn, since the average begins with its weights."""
    return Carry(
        spikes=Spikes() if skip_spikes else None,
        scale=LossScale() if autocast is torch.float16 else None,
        average=None if ema is None else Ema(model, decay=ema),
    )
