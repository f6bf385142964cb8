"""What a way of training holds in memory, by kind and phase, and whether that fits a machine.

Everything is counted, from shapes alone (`rehearsal.py`); nothing is fitted but what a process takes besides its
tensors, which is measured (docs/decisions.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import torch

from hornbook.model.architecture import Architecture
from hornbook.model.attention import MATMUL_ATTENTION_LIMIT
from hornbook.model.cost import shapes
from hornbook.model.transformer import Transformer
from hornbook.planning.machines import Machine
from hornbook.planning.methods import METHODS, Method, Name
from hornbook.planning.rehearsal import Kinds, Part, evaluation, most, prepared, rehearse, shallow

KINDS = ("weights", "gradients", "optimizer", "activations", "logits", "working")
"""What memory is for: `working` is what lives for the time of one operation or layer."""
TRANSIENT = ("activations", "logits", "working")
MARGIN, CPU_MARGIN = 0.10, 0.25
"""How far above what is expected of tensors a peak may come, on a GPU and on a CPU."""
HOLES = 0.25
"""Fragmentation: what a CPU's heap holds in holes, as a part of what lives for a part of a step (activations, logits,
working); measured in processes whose heap is kept tidy (`hornbook.memory`; docs/decisions.md)."""
CONTEXT = 600_000_000
"""Bytes that CUDA takes on a GPU for itself and for the workspace of products."""
PROCESS = {"conversations": 450_000_000, "documents": 560_000_000}
"""Bytes of a process before it has a model, by what it learns from: of `sft` by itself, and of `pretrain` in a recipe,
after the stages that read text (measured)."""
MOST_PROCESS = 750_000_000
"""The same at most: seen after stages that read much text."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A way of training a model with micro-batches of some shape."""

    architecture: Architecture
    method: Name
    rows: int
    length: int
    autocast: torch.dtype | None = None
    recompute: bool = False
    accumulates: bool = False
    packed: bool = True
    gpu: bool = False
    """Computed as on a GPU, where a matrix in 4 bits becomes whole at once, and documents attend under one mask."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes at the most of each phase, by kind."""

    phases: Mapping[str, Kinds]
    host: int
    """What loading takes of the machine's own memory, where the model then goes to a GPU."""
    merging: int
    """What it takes to add an adapter into the weights, some day, anywhere; 0 where there is none."""

    @property
    def phase(self) -> str:
        """When most is held."""
        return most(self.phases)[0]

    @property
    def kinds(self) -> dict[str, int]:
        """What is held then."""
        found = most(self.phases)[1]
        return {kind: found[kind] for kind in KINDS}

    @property
    def peak(self) -> int:
        return sum(self.kinds.values())

    @property
    def resident(self) -> int:
        """At most with the holes of a CPU's heap."""
        return resident(self.phases)


def resident(phases: Mapping[str, Kinds]) -> int:
    """Bytes that phases add to a process on a CPU, at the most."""
    return max(int(kinds.total() + HOLES * sum(kinds[kind] for kind in TRANSIENT)) for kinds in phases.values())


@cache
def training(cell: Cell) -> Mapping[str, Kinds]:
    """The phases of a step, as `rehearse` finds them."""
    return rehearse(cell.architecture, _part(cell))


@cache
def _measuring(cell: Cell) -> Kinds:
    return evaluation(cell.architecture, _part(cell))


@cache
def memory(cell: Cell, *, gpu: bool) -> Memory:
    """All phases of a run: loading, training, evaluating, saving, and merging what was trained."""
    if gpu:
        cell = _as_on_a_gpu(cell)
    weights = resident_weights(cell.architecture, cell.method)
    largest = _largest(cell.architecture)
    phases = dict(training(cell))
    measuring = _measuring(replace(cell, rows=1, recompute=False, accumulates=False, packed=False))
    phases["evaluation"] = measuring + Counter(optimizer=phases["update"]["optimizer"])
    # A tensor is read in its own type and then converted.
    phases["loading"] = Counter(weights=weights, working=largest)
    phases["checkpoint"] = Counter(weights=weights, optimizer=phases["update"]["optimizer"])
    full = resident_weights(cell.architecture, "full")
    merging = full + 2 * largest if METHODS[cell.method].adapts else 0
    return Memory(phases=phases, host=full + largest if gpu else 0, merging=merging)


def _part(cell: Cell) -> Part:
    method: Method = METHODS[cell.method]
    return Part(
        prepare=lambda model: method.rehearse(model, recompute=cell.recompute, gpu=cell.gpu),
        optimizer=method.make_optimizer,
        rows=cell.rows,
        length=cell.length,
        accumulates=cell.accumulates,
        packed=cell.packed,
        autocast=cell.autocast,
        gpu=cell.gpu,
    )


def _as_on_a_gpu(cell: Cell) -> Cell:
    """As many positions in longer rows, where a CPU would attend in another way than a GPU does."""
    cell = replace(cell, gpu=True)
    if cell.autocast != torch.bfloat16 or cell.length > MATMUL_ATTENTION_LIMIT:
        return cell
    longer = 2 * MATMUL_ATTENTION_LIMIT
    return replace(cell, rows=-(-cell.rows * cell.length // longer), length=longer)


def expected(memory: Memory, machine: Machine, kind: str) -> int:
    """Bytes that a run on conversations or documents will be seen to take at its most: of a CPU's process, of tensors
    on a GPU."""
    return PROCESS[kind] + memory.resident if machine.kind == "cpu" else memory.peak


def needed(memory: Memory, machine: Machine) -> int:
    """Bytes that the machine must have: what is expected, and what there may be besides."""
    if machine.kind == "cpu":
        return MOST_PROCESS + int(memory.resident * (1 + CPU_MARGIN))
    return CONTEXT + int(memory.peak * (1 + MARGIN))


def fits(memory: Memory, machine: Machine) -> bool:
    """Whether that is surely there."""
    return needed(memory, machine) <= machine.memory


@cache
def trainable(architecture: Architecture, method: Name) -> int:
    """How many numbers learn."""
    return _extended(architecture, lambda few: _learning(_prepared(few, method)))


@cache
def resident_weights(architecture: Architecture, method: Name) -> int:
    """Bytes of a prepared model."""
    return _extended(architecture, lambda few: _bytes(_prepared(few, method)))


def _extended(architecture: Architecture, measure: Callable[[Architecture], int]) -> int:
    """What is linear in the number of layers, from one and two of them."""
    one, two = (measure(shallow(architecture, layers)) for layers in (1, 2))
    return one + (architecture.num_hidden_layers - 1) * (two - one)


def _learning(model: Transformer) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _bytes(model: Transformer) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


@cache
def _largest(architecture: Architecture) -> int:
    """Bytes of the largest parameter of a model as it is read."""
    return 4 * max(shape.numel() for shape in shapes(shallow(architecture, 1)).values())


@cache
def _prepared(architecture: Architecture, method: Name) -> Transformer:
    return prepared(architecture, lambda model: METHODS[method].rehearse(model, recompute=False))


def _held(cell: Cell) -> int:
    """Bytes of weights and gradients, which no rows make less: known without a rehearsal."""
    return resident_weights(cell.architecture, cell.method) + 4 * trainable(cell.architecture, cell.method)


def largest_rows(cell: Cell, machine: Machine, *, most: int, in_a_step: int = 1) -> tuple[Cell, Memory] | None:
    """The most rows of a micro-batch, up to `most`, that fit, with what they take; None where not even one does.

    in_a_step: rows that an update is made of; with fewer at a time, gradients are held while more are added to them.
    What rows add is nearly linear in them, so a guess between one and `most` is left to be confirmed.
    """
    if _held(cell) > machine.memory:
        return None

    def tried(rows: int) -> tuple[Cell, Memory]:
        one = replace(cell, rows=rows, accumulates=rows < in_a_step)
        return one, memory(one, gpu=machine.kind != "cpu")

    wanted = tried(most)[1]
    if fits(wanted, machine):
        return tried(most)
    one = tried(1)[1]
    if not fits(one, machine):
        return None
    least = needed(one, machine)
    slope = (needed(wanted, machine) - least) / max(1, most - 1)
    rows = max(1, min(most, 1 + int((machine.memory - least) / max(1.0, slope))))
    while not fits(tried(rows)[1], machine):
        rows = rows // 2 if rows > 4 else rows - 1
    return tried(rows)
