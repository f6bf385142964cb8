"""The whole plan: what was found, what each way would take, what to do, and with how many machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil

from hornbook.errors import UsageError
from hornbook.learn.hyperparameters import TOKENS_PER_PARAMETER
from hornbook.model.architecture import Architecture
from hornbook.model.cost import parameters
from hornbook.model.dial import shape
from hornbook.planning import cluster, speed, work
from hornbook.planning.advice import decide, supported
from hornbook.planning.base import Base
from hornbook.planning.data import Data
from hornbook.planning.machines import Machine
from hornbook.planning.memory import Cell, Memory, largest_rows, memory, needed, trainable
from hornbook.planning.methods import METHODS, Name
from hornbook.planning.situation import Decision, Fit, Situation
from hornbook.planning.speed import Bill, Speed, bill, estimated

EPOCHS = {"documents": 1.0, "conversations": 2.0}
"""Times that data are read where the hours allow: what the stages do by themselves."""
LENGTHS = {"documents": 1024, "conversations": 512}
"""Tokens of a row, where the model has as many positions."""
NEW_LENGTH = 256
"""The same of a new model (the default of `pretrain`)."""
MOST_ROWS = 16
"""Of a micro-batch."""
DEEPEST = 32
"""Layers of a new model, at most."""
WAYS: Mapping[str, Name] = {
    "LoRA": "lora",
    "QLoRA": "qlora",
    "full finetuning": "full",
    "continued pretraining": "full",
    "from scratch": "pretrain",
}
"""What a decision trains by."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """A way of training on the machine."""

    method: Name
    cell: Cell
    """With the most rows that fit; with one where none do."""
    memory: Memory
    needed: int
    fits: bool
    speed: Speed
    learns: int
    """Numbers that are trained."""
    step_tokens: int
    share: float
    """Of the data's tokens those that steps compute in one epoch."""
    evaluated: float
    """Tokens that a run measures itself on, in all."""
    hours_buy: float
    """Tokens; 0 where it does not fit."""

    @property
    def title(self) -> str:
        return METHODS[self.method].title

    def seconds(self, tokens: float) -> float:
        """Of a run on so many tokens of the data, in whole steps."""
        steps = ceil(tokens * self.share / self.step_tokens)
        return self.speed.seconds(steps * self.step_tokens, evaluated=self.evaluated)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `hornbook plan` says."""

    data: Data
    base: Base | None
    machine: Machine
    hours: float
    options: tuple[Option, ...]
    decision: Decision
    chosen: Option | None
    """What is to be trained, if anything."""
    tokens: float
    """That it is trained on: the data as often as they are worth it and the hours buy."""
    depth: int | None
    """Layers of a new model."""
    shares: tuple[cluster.Share, ...]

    @property
    def epochs(self) -> float:
        return self.tokens / self.data.tokens

    @property
    def as_decided(self) -> bool:
        """Whether what is planned is what the rules came to."""
        return self.chosen is not None and WAYS.get(self.decision.way) == self.chosen.method

    @property
    def bill(self) -> Bill | None:
        return bill(self.chosen.seconds(self.tokens), self.machine) if self.chosen else None


def make(
    data: Data,
    base: Base | None,
    machine: Machine,
    *,
    hours: float,
    length: int | None = None,
    method: Name | None = None,
    probe_steps: int = 0,
    gpus: int = 1,
) -> Plan:
    """Compare the ways, decide, and measure the chosen one where that is possible.

    method: the way to take whatever the rules say.
    """
    depth = None if base else new_depth(data, machine, hours=hours)
    architecture = base.architecture if base else _new(depth or 1, data)
    length = min(length or _length(data, base), architecture.max_position_embeddings)
    names: tuple[Name, ...] = ("full", "lora", "qlora", "prefix", "prompt") if base else ("pretrain",)
    if method and method not in names:
        what = "goes with no base" if base else "needs a base"
        raise UsageError(f"method {method} {what}", hint=f"--method {names[0]}" if base else "--base FOLDER")
    options = tuple(_option(name, architecture, data, machine, hours=hours, length=length) for name in names)
    situation = _situation(data, base, machine, options, hours=hours)
    decision = decide(situation)
    wanted = method or WAYS.get(decision.way)
    chosen = next((one for one in options if one.method == wanted), None)
    if chosen and chosen.fits and probe_steps:
        chosen = _probed(chosen, data, machine, hours=hours, steps=probe_steps)
        options = tuple(chosen if one.method == wanted else one for one in options)
    return Plan(
        data=data,
        base=base,
        machine=machine,
        hours=hours,
        options=options,
        decision=decision,
        chosen=chosen,
        tokens=_tokens(chosen, data, architecture) if chosen else 0.0,
        depth=depth,
        shares=tuple(_shares(chosen or options[0], machine, decision, gpus=gpus)),
    )


def new_depth(data: Data, machine: Machine, *, hours: float) -> int:
    """Layers of the largest new model that data and hours support, and the machine holds."""
    affordable = machine.rate * speed.EFFICIENCY.get(machine.kind, 0.4) * hours * 3600
    most = supported(data.tokens, affordable=affordable)
    deep = 1
    while deep < DEEPEST and parameters(_new(deep + 1, data)) <= most:
        deep += 1
    return deep


def vocabulary(data: Data) -> int:
    """Of a new tokenizer: a power of two, larger where there is more text, so that its rows are seen often enough."""
    for size in (16384, 8192, 4096, 2048):
        if data.tokens >= 200 * size:
            return size
    return 1024


def _new(depth: int, data: Data) -> Architecture:
    return shape(depth, vocabulary=vocabulary(data), length=NEW_LENGTH)


def _length(data: Data, base: Base | None) -> int:
    return LENGTHS[data.kind] if base else NEW_LENGTH


def _option(
    name: Name, architecture: Architecture, data: Data, machine: Machine, *, hours: float, length: int
) -> Option:
    cell = Cell(architecture=architecture, method=name, rows=1, length=length, autocast=machine.autocast)
    step_tokens = work.step_tokens(data, cell)
    again = replace(cell, recompute=True, accumulates=step_tokens > length)
    in_a_step = ceil(step_tokens / length)
    # One conversation keeps a CPU busy, and is what training takes there by default.
    most = 1 if machine.kind == "cpu" and data.kind == "conversations" else min(MOST_ROWS, in_a_step)
    tried = (largest_rows(one, machine, most=most, in_a_step=in_a_step) for one in (cell, again))
    found = next(filter(None, tried), None)
    fits = found is not None
    if found is None:
        cell = again
        found = (cell, memory(cell, gpu=machine.kind != "cpu"))
    cell, taken = found
    rate = estimated(cell, machine, step_tokens=step_tokens)
    option = Option(
        method=name,
        cell=cell,
        memory=taken,
        needed=needed(taken, machine),
        fits=fits,
        speed=rate,
        learns=trainable(architecture, name),
        step_tokens=step_tokens,
        share=work.share(data, length=length),
        evaluated=work.evaluated(data, length=length),
        hours_buy=0.0,
    )
    return replace(option, hours_buy=_bought(option, hours) if fits else 0.0)


def _bought(option: Option, hours: float) -> float:
    """Tokens of the data that the hours are enough for."""
    return max(0.0, (hours * 3600 - option.seconds(0)) * option.speed.tokens_per_second) / option.share


def _situation(
    data: Data, base: Base | None, machine: Machine, options: tuple[Option, ...], *, hours: float
) -> Situation:
    affordable = machine.rate * speed.EFFICIENCY.get(machine.kind, 0.4) * hours * 3600
    fits = {str(one.method): Fit(fits=one.fits, needed=one.needed, tokens=one.hours_buy) for one in options}
    return Situation(
        kind=data.kind,
        tokens=data.tokens,
        documents=data.documents,
        words=data.words,
        fits=fits,
        parameters=base.parameters if base else None,
        positions=base.architecture.max_position_embeddings if base else 0,
        memory=machine.memory,
        bits_per_byte=data.bits_per_byte,
        general_bits_per_byte=data.general_bits_per_byte,
        supported=supported(data.tokens, affordable=affordable),
    )


def _probed(option: Option, data: Data, machine: Machine, *, hours: float, steps: int) -> Option:
    """With a speed that was measured, where this is the machine, a CPU, and the steps are short enough."""
    if not machine.measured or machine.kind != "cpu":
        return option
    cell, micro = option.cell, work.micro_batches(data, option.cell)
    rate = option.speed.tokens_per_second
    if speed.expected(micro, step_tokens=option.step_tokens, steps=steps, tokens_per_second=rate) > speed.LONGEST:
        return option
    held_out = work.held_out(data, cell)
    option = replace(
        option, speed=speed.probe(cell, micro, held_out, step_tokens=option.step_tokens, steps=steps)
    )
    return replace(option, hours_buy=_bought(option, hours))


def _tokens(option: Option, data: Data, architecture: Architecture) -> float:
    if option.method == "pretrain":
        worth = min(4.0 * data.tokens, TOKENS_PER_PARAMETER * parameters(architecture))
    else:
        worth = EPOCHS[data.kind] * data.tokens
    return min(worth, option.hours_buy) if option.fits else worth


def _shares(option: Option, machine: Machine, decision: Decision, *, gpus: int) -> Iterator[cluster.Share]:
    """Where more than one GPU is asked for, or needed."""
    if machine.kind != "cpu" and (gpus > 1 or decision.way == "another machine"):
        yield from cluster.shares(option.cell, machine)
