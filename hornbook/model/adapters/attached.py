"""What all adapters have in common: they are put on a frozen model, learn alone, and can be off.

An adapter is modules that are put into the model, whose own names stay as they were. All modules of one adapter hold
the same `Adapter`, so that to switch it is to set one number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from hornbook.errors import InputError


@dataclass(eq=False)
class Adapter:
    """One adapter of a model."""

    name: str
    weight: float = 1.0
    """How much of it is added: 0 is off."""
    seed: int = 0
    """Of dropout."""
    place: tuple[int, int] = (0, 0)
    """Step and micro-batch in it, for dropout."""


class Part(nn.Module):
    """A module of an adapter."""

    blends = False
    """Whether it may be added in part, and beside others."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.adapter = adapter


class Update(Part, ABC):
    """What an adapter does at one projection, which keeps it in `adapters`."""

    def __init__(self, adapter: Adapter, path: str) -> None:
        super().__init__(adapter)
        self.path = path

    def put_on(self, projection: nn.Module) -> None:
        """From now on the projection computes W x + bias with this update."""
        if not hasattr(projection, CHILD):
            projection.add_module(CHILD, nn.ModuleDict())
        projection.get_submodule(CHILD).add_module(self.adapter.name, self)

    @abstractmethod
    def applied(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """W [out, in] and bias [out] with this update, in the type that they are given in."""


CHILD = "adapters"


def begin(model: nn.Module, name: str, *, seed: int = 0) -> Adapter:
    """A new adapter for the model, which is frozen.

    Raises:
        InputError: it carries one of that name.
    """
    if name in adapters(model):
        raise InputError(f"the model already carries an adapter {name!r}", hint="merge it first")
    model.requires_grad_(False)
    return Adapter(name, seed=seed)


def parts(model: nn.Module) -> dict[str, Part]:
    """The modules of all adapters, by path."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Part)}


def updates(model: nn.Module) -> dict[str, list[Update]]:
    """The updates of each adapted projection, by its path."""
    found: dict[str, list[Update]] = {}
    for part in parts(model).values():
        if isinstance(part, Update):
            found.setdefault(part.path, []).append(part)
    return found


def adapters(model: nn.Module) -> dict[str, Adapter]:
    """The adapters that a model carries, by name."""
    return {part.adapter.name: part.adapter for part in parts(model).values()}


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that training changes, by name: an adapter's where one is attached, else all."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def place(model: nn.Module, *, step: int, micro: int) -> None:
    """Tell dropout where training is: its masks are a function of that."""
    for adapter in adapters(model).values():
        adapter.place = (step, micro)


def switch(model: nn.Module, weights: str | Mapping[str, float]) -> None:
    """Use one of the adapters that a model carries, or several, each times its weight; all others are off.

    Raises:
        InputError: the model carries none of that name, or one that cannot be added in part or to another.
    """
    wanted = {weights: 1.0} if isinstance(weights, str) else weights
    carried = parts(model).values()
    known = {part.adapter.name: part.adapter for part in carried}
    for name in wanted:
        if name not in known:
            raise InputError(f"the model carries no adapter {name!r}", hint=f"it carries: {', '.join(known) or 'none'}")
    on = {name: weight for name, weight in wanted.items() if weight}
    if len(on) > 1 or any(weight != 1 for weight in on.values()):
        for part in carried:
            if part.adapter.name in on and not part.blends:
                raise InputError(
                    f"adapter {part.adapter.name!r} holds a {type(part).__name__}, which is used whole and alone",
                    hint="plain LoRA adapters can be added and scaled",
                )
    for name, adapter in known.items():
        adapter.weight = wanted.get(name, 0.0)


@contextmanager
def adapter_off(model: nn.Module) -> Iterator[None]:
    """The frozen base inside the `with`: the reference model of preference training."""
    before = {adapter: adapter.weight for adapter in adapters(model).values()}
    for adapter in before:
        adapter.weight = 0.0
    try:
        yield
    finally:
        for adapter, weight in before.items():
            adapter.weight = weight
