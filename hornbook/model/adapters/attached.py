"""What all adapters have in common: they are put on a frozen model, learn alone, and can be off.

An adapter is modules that are put into the model; its names and those of its frozen tensors stay as they were. All
modules of one adapter hold the same `Adapter`, so that to switch it is to set one number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from hornbook.errors import InputError


@dataclass(eq=False)
class Adapter:
    """One adapter of a model."""

    name: str
    weight: float = 1.0
    """How much of it is added: 0 is off."""


class Part(nn.Module):
    """A module of an adapter."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.adapter = adapter


def parts(model: nn.Module) -> dict[str, Part]:
    """The modules of all adapters, by path."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Part)}


def adapters(model: nn.Module) -> dict[str, Adapter]:
    """The adapters that a model carries, by name."""
    return {part.adapter.name: part.adapter for part in parts(model).values()}


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that training changes, by name: an adapter's where one is attached, else all."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@contextmanager
def adapter_off(model: nn.Module) -> Iterator[None]:
    """The frozen base inside the `with`: the reference model of preference training."""
    with _weights(model, {}):
        yield


def switch(model: nn.Module, weights: str | Mapping[str, float]) -> None:
    """Use one of the adapters that a model carries, or several, each times its weight; all others are off.

    Raises:
        InputError: the model carries none of that name.
    """
    wanted = {weights: 1.0} if isinstance(weights, str) else weights
    known = adapters(model)
    for name in wanted:
        if name not in known:
            raise InputError(f"the model carries no adapter {name!r}", hint=f"it carries: {', '.join(known) or 'none'}")
    for name, adapter in known.items():
        adapter.weight = wanted.get(name, 0.0)


@contextmanager
def _weights(model: nn.Module, weights: Mapping[str, float]) -> Iterator[None]:
    known = adapters(model)
    before = {name: adapter.weight for name, adapter in known.items()}
    switch(model, weights)
    try:
        yield
    finally:
        switch(model, before)
