"""A step of training without numbers: the code that trains, run on the shapes of a model, and what it would hold.

What the planner says of memory is not a second description of training that could differ from it: `learn.loop.train`
itself takes a step, forward, loss, backward and update, on tensors that take none (`ledger.py`). Two and three layers
are enough: what a phase holds at its most is linear in the number of layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hornbook.judge.score import CHUNK, at_once
from hornbook.learn.batches import Batch
from hornbook.learn.carry import carried
from hornbook.learn.loop import next_token, train
from hornbook.learn.optim import Optimizer
from hornbook.model.architecture import Architecture
from hornbook.model.transformer import Transformer
from hornbook.planning.ledger import Ledger, without_numbers

Kinds = Counter[str]
"""Bytes by kind: `weights`, `gradients`, `optimizer`, `activations`, `logits`, and `working` for all others."""
FEW, MORE = 2, 3
"""Layers of the two rehearsals."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is to be rehearsed, apart from the shape of the model."""

    prepare: Callable[[Transformer], None]
    """Make a model ready to learn: all of it, or what is put on it."""
    optimizer: Callable[[Transformer], Optimizer]
    rows: int
    """Of a micro-batch."""
    length: int
    accumulates: bool = False
    """A step has several micro-batches."""
    packed: bool = True
    """Rows hold several documents, which do not see each other."""
    autocast: torch.dtype | None = None
    gpu: bool = False
    """Measured with as many positions at a time as on a GPU."""


def rehearse(architecture: Architecture, part: Part) -> dict[str, Kinds]:
    """What each phase of a step holds when it holds most: forward, loss, backward (first and last layer), update."""
    layers = architecture.num_hidden_layers
    if layers <= MORE:
        return _step(architecture, part)
    few, more = (_step(shallow(architecture, count), part) for count in (FEW, MORE))
    return {phase: _extended(few[phase], more[phase], layers=layers) for phase in few}


def shallow(architecture: Architecture, layers: int) -> Architecture:
    """The same with fewer layers, the first ones."""
    if layers >= architecture.num_hidden_layers:
        return architecture
    types, nope = architecture.layer_types, architecture.nope_layers
    kept = tuple(layer for layer in nope if layer < layers)
    # All of one type are written without a list.
    return replace(architecture, num_hidden_layers=layers, layer_types=types and types[:layers], nope_layers=kept)


def _extended(few: Kinds, more: Kinds, *, layers: int) -> Kinds:
    """The line through what few and more layers hold, at `layers`."""
    return Counter({kind: few[kind] + (layers - FEW) * (more[kind] - few[kind]) for kind in few | more})


def _step(architecture: Architecture, part: Part) -> dict[str, Kinds]:
    ledger = Ledger(alike=not part.packed)
    model, batch = prepared(architecture, part.prepare), _batch(part)
    with without_numbers(ledger):
        _materialize(model, ledger)
        optimizer = part.optimizer(model)
        _first_update(optimizer, ledger)
        hooks = _watch(model, optimizer, ledger)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: _saved(t, ledger), lambda t: t):
            steps = train(
                model,
                batches=lambda step: (batch,) * (2 if part.accumulates else 1),
                loss=next_token,
                optimizer=optimizer,
                schedule=lambda step: _updating(ledger),
                steps=1,
                autocast=part.autocast,
                carry=carried(model, autocast=part.autocast),
            )
            next(steps)
        for hook in hooks:
            hook.remove()
    return {phase: kinds for phase, kinds in ledger.peaks.items() if phase}


def prepared(architecture: Architecture, prepare: Callable[[Transformer], None]) -> Transformer:
    """A model that is ready to learn, without numbers."""
    with without_numbers(Ledger(alike=True)):
        model = Transformer(architecture)
        prepare(model)
    return model


def _materialize(model: Transformer, ledger: Ledger) -> None:
    """Put a tensor that counts in the place of each of the model's."""
    made: dict[Tensor, Tensor] = {}
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    held[name] = made.setdefault(tensor, _like(tensor))  # type: ignore[assignment]
    for tensor in made.values():
        ledger.claim(tensor, "weights")


def _like(tensor: Tensor) -> Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _updating(ledger: Ledger) -> float:
    """What the schedule says, which is asked when the gradient is there."""
    ledger.begin("update")
    return 1.0


def _first_update(optimizer: Optimizer, ledger: Ledger) -> None:
    """Bring the optimizer's state into being, as the step before did."""
    for parameter in optimizer.named.values():
        parameter.grad = torch.empty_like(parameter)
    optimizer.step(1.0)
    optimizer.zero_grad()
    for state in optimizer.state().values():
        ledger.claim(state, "optimizer")


def _saved(tensor: Tensor, ledger: Ledger) -> Tensor:
    ledger.claim(tensor, "activations")
    return tensor


def _watch(model: Transformer, optimizer: Optimizer, ledger: Ledger) -> list[Any]:
    """Tell the ledger of the phases as the step comes to them."""
    layers, made = model.model.layers, list[Any]()
    between = len(layers) > FEW

    def forward(module: nn.Module, given: Any) -> None:
        ledger.begin("forward")

    def loss(module: nn.Module, given: Any, out: Tensor) -> None:
        ledger.begin("loss", "logits")
        _when_known(out, lambda: ledger.begin("backward, last layer"))

    def top(module: nn.Module, given: Any) -> None:
        _when_known(given[0], lambda: ledger.begin("backward"))

    def bottom(module: nn.Module, given: Any, out: Tensor) -> None:
        _when_known(out, lambda: ledger.begin("backward, first layer"))

    def claim(parameter: Tensor) -> None:
        assert parameter.grad is not None
        # That of the head was made by the loss.
        ledger.claim(parameter.grad, "gradients", anew=True)

    made.append(layers[0].register_forward_pre_hook(forward))
    made.append(layers[0].register_forward_hook(bottom))
    if between:
        made.append(layers[-1].register_forward_pre_hook(top))
    made.append(model.model.norm.register_forward_hook(loss))
    for parameter in optimizer.named.values():
        made.append(parameter.register_post_accumulate_grad_hook(claim))  # type: ignore[no-untyped-call]
    return made


def _when_known(tensor: Tensor, then: Callable[[], None]) -> None:
    if tensor.requires_grad:
        tensor.register_hook(lambda gradient: then())  # type: ignore[no-untyped-call]


def _batch(part: Part) -> Batch:
    """Rows with numbers, which say where documents begin; of weights and tokens only shapes are asked."""
    tokens = torch.zeros(part.rows, part.length, dtype=torch.int64)
    documents = (torch.arange(part.length) >= part.length // 2).long().expand_as(tokens) if part.packed else tokens
    return Batch(tokens, tokens, torch.ones(tokens.shape), documents, ("",))


def evaluation(architecture: Architecture, part: Part) -> Kinds:
    """What measuring held-out text holds at its most, with the model and nothing else."""
    few, more = (_scoring(shallow(architecture, count), part) for count in (FEW, MORE))
    return _extended(few, more, layers=architecture.num_hidden_layers)


def _scoring(architecture: Architecture, part: Part) -> Kinds:
    ledger = Ledger(alike=True)
    model = prepared(architecture, part.prepare)
    with without_numbers(ledger), torch.no_grad():
        _materialize(model, ledger)
        ledger.begin("evaluation")
        rows = max(1, at_once(torch.device("cuda" if part.gpu else "cpu")) // part.length)
        tokens = torch.zeros(rows, part.length, dtype=torch.int64)
        with torch.autocast("cpu", part.autocast, enabled=part.autocast is not None):
            hidden = model.hidden(tokens)
            # Those that are scored: all of them.
            chosen = hidden.view(-1, hidden.shape[-1]).clone()
            ledger.begin("evaluation", "logits")
            piece = chosen[:CHUNK]
            nn.functional.cross_entropy(model.head(piece).float(), tokens.view(-1)[: len(piece)], reduction="none")
    return ledger.peaks["evaluation"]


def most(phases: Mapping[str, Kinds]) -> tuple[str, Kinds]:
    """The phase that holds most, and what."""
    return max(phases.items(), key=lambda pair: pair[1].total())
