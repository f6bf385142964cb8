"""Optimizers: AdamW, or Muon for the hidden matrices with AdamW for the rest, as one object with named, flat state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.learn.adamw import AdamW
from hornbook.learn.groups import Group, Named, Part
from hornbook.learn.hyperparameters import Rates
from hornbook.learn.muon import Muon
from hornbook.learn.owned import Owned
from hornbook.model.adapters.attached import trainable


def adamw(
    model: nn.Module,
    *,
    learning_rate: float,
    decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    faster: Mapping[str, float] = {},
) -> Optimizer:
    """AdamW (arXiv 1711.05101) over the trainable parameters; decay on matrices, not on norms, biases, embeddings.

    faster: multiples of the rate, by name, of matrices that learn at another one.
    """
    matrices, rest = _split(model)
    multiples = sorted({faster.get(name, 1.0) for name, _ in matrices})
    groups = [
        _group(
            "matrices" if multiple == 1 else f"matrices x {multiple:g}",
            [(name, p) for name, p in matrices if faster.get(name, 1.0) == multiple],
            rate=learning_rate * multiple,
            decay=decay,
        )
        for multiple in multiples
    ]
    groups.append(_group("rest", rest, rate=learning_rate))
    return Optimizer([AdamW(groups, betas=betas)], matrices + rest)


def muon(model: nn.Module, *, rates: Rates, decay: float = 0.1, betas: tuple[float, float] = (0.9, 0.95)) -> Optimizer:
    """Muon for the matrices of the hidden layers, AdamW for embeddings, head, norms and biases, each at its own rate.

    Embeddings that are the head too learn at the head's. See `muon.Muon`.
    """
    matrices, rest = _split(model)
    hidden = [(name, p) for name, p in matrices if not name.startswith("lm_head.")]
    owned = Owned(hidden)
    hidden_group = _group("hidden", list(owned.mine.items()), rate=rates.matrices, decay=decay)
    head = [(name, p) for name, p in matrices if name.startswith("lm_head.")]
    embeddings = [(name, p) for name, p in rest if p.ndim == 2]
    vectors = [(name, p) for name, p in rest if p.ndim != 2]
    groups = [
        _group("head", head, rate=rates.head),
        _group("embeddings", embeddings, rate=rates.embeddings if head else rates.head),
        _group("vectors", vectors, rate=rates.vectors),
    ]
    parts = [AdamW(groups, betas=betas), Muon([hidden_group], momentum=0.95)]
    return Optimizer(parts, matrices + rest, owned=owned)


class Optimizer:
    """One or more optimizers stepped as one; every group's rate is its peak times the schedule's multiplier.

    With several processes some matrices are stepped whole by their owner: `held` are the parameters stepped here.
    """

    def __init__(self, parts: Sequence[Part], named: Sequence[Named], *, owned: Owned | None = None) -> None:
        self.parts = tuple(parts)
        self.named = dict(named)
        self._owned = owned or Owned([])
        here = {id(p) for group in self._groups() for p in group.params}
        held = {**self.named, **self._owned.mine}
        self.held = {name: p for name, p in held.items() if id(p) in here}
        self._peaks = [group.lr for group in self._groups()]

    def rates(self, multiplier: float) -> dict[str, float]:
        """The rate of every group, by its name, at a multiplier of the peaks."""
        named = (group.name for group in self._groups())
        return {name: peak * multiplier for name, peak in zip(named, self._peaks, strict=True)}

    def step(self, multiplier: float) -> None:
        for group, peak in zip(self._groups(), self._peaks, strict=True):
            group.lr = peak * multiplier
        self._owned.take_gradients()
        for part in self.parts:
            part.step()
        self._owned.give_back()

    def zero_grad(self) -> None:
        for parameter in (*self.named.values(), *self.held.values()):
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """All state held here as `<entry>/<parameter name>` -> tensor; empty before the first step."""
        return {
            f"{entry}/{name}": value
            for name, parameter in self.held.items()
            for entry, value in sorted(self._part_of(parameter).state.get(parameter, {}).items())
        }

    def load_state(self, tensors: Mapping[str, Tensor], *, where: str) -> None:
        """Restore what `state` gave.

        Raises:
            InputError: an entry is missing, left over or of another shape.
        """
        fresh: dict[str, dict[str, Tensor]] = {name: {} for name in self.held}
        for key, value in tensors.items():
            entry, _, name = key.partition("/")
            self._check(entry, name, value, where=where)
            fresh[name][entry] = value.clone()
        for name, parameter in self.held.items():
            part = self._part_of(parameter)
            missing = sorted(part.entries - fresh[name].keys())
            if missing and tensors:
                raise InputError(f"{where}: the optimizer's {missing[0]!r} of {name!r} is missing")
        for name, parameter in self.held.items():
            # The step too: fused AdamW counts on the device.
            moved = {entry: value.to(parameter.device) for entry, value in fresh[name].items()}
            self._part_of(parameter).state[parameter] = moved

    def refresh(self) -> None:
        """The parameters were changed by somebody else: take them as they are now."""
        self._owned.refresh()

    def _check(self, entry: str, name: str, value: Tensor, *, where: str) -> None:
        parameter = self.held.get(name)
        if parameter is None or entry not in self._part_of(parameter).entries:
            raise InputError(f"{where}: {entry!r} of {name!r} belongs to no parameter of this optimizer")
        if entry != "step" and value.shape != parameter.shape:
            shapes = f"{tuple(value.shape)}, not {tuple(parameter.shape)}"
            raise InputError(f"{where}: the optimizer's {entry!r} of {name!r} has shape {shapes}")

    def _groups(self) -> Iterator[Group]:
        return (group for part in self.parts for group in part.groups)

    def _part_of(self, parameter: nn.Parameter) -> Part:
        return next(part for part in self.parts for g in part.groups if any(p is parameter for p in g.params))


def _group(name: str, named: list[Named], *, rate: float, decay: float = 0.0) -> Group:
    return Group(name=name, params=[p for _, p in named], lr=rate, weight_decay=decay)


def _split(model: nn.Module) -> tuple[list[Named], list[Named]]:
    """Trainable parameters as (matrices, everything else: norms, biases, embeddings)."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices = {name: p for name, p in trainable(model).items() if p.ndim == 2 and id(p) not in embeddings}
    rest = {name: p for name, p in trainable(model).items() if name not in matrices}
    return list(matrices.items()), list(rest.items())
