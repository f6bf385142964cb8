"""An exponential moving average of the weights: what is evaluated and saved in place of the last step's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.learn.parallel import local
from hornbook.model.adapters.attached import trainable


class Ema:
    """a_t = d_t a_{t-1} + (1 - d_t) w_t over the trainable parameters, after every step that changed them.

    d_t = min(decay, (1 + t) / (10 + t)): a run shorter than 1 / (1 - decay) steps averages over a part of itself
    instead of keeping its starting weights (as TensorFlow's ExponentialMovingAverage does).
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._named = trainable(model)
        self._averages = {name: parameter.detach().clone() for name, parameter in self._named.items()}

    def update(self) -> None:
        """Take in the weights as they are now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        weights = [local(parameter.detach()) for parameter in self._named.values()]
        torch._foreach_lerp_([local(average) for average in self._averages.values()], weights, 1 - decay)
        self.updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model holds the average within the block, and its own weights again after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def settle(self) -> None:
        """Leave the average in the model: at the end of training."""
        for name, parameter in self._named.items():
            local(parameter.detach()).copy_(local(self._averages[name]))

    def tensors(self) -> dict[str, Tensor]:
        """The averages, by parameter name."""
        return self._averages

    def load(self, tensors: Mapping[str, Tensor], *, updates: int, where: str) -> None:
        """Restore `tensors` and `updates`.

        Raises:
            InputError: a tensor is missing, left over, or has another shape or type.
        """
        if odd := sorted(tensors.keys() ^ self._averages.keys()):
            what = "missing from the averages" if odd[0] in self._averages else "not in the model"
            raise InputError(f"{where}: {odd[0]!r} is {what}")
        for name, average in self._averages.items():
            if (tensors[name].shape, tensors[name].dtype) != (average.shape, average.dtype):
                kinds = [f"{tuple(t.shape)} {t.dtype}" for t in (tensors[name], average)]
                raise InputError(f"{where}: the average of {name!r} is {kinds[0]}, not {kinds[1]}")
        for name, average in self._averages.items():
            local(average).copy_(local(tensors[name]))
        self.updates = updates

    def _exchange(self) -> None:
        for name, parameter in self._named.items():
            weights = local(parameter.detach()).clone()
            local(parameter.detach()).copy_(local(self._averages[name]))
            local(self._averages[name]).copy_(weights)
