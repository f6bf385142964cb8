"""How long a run takes, and what it costs: FLOPs and bytes by formula, over rates that are measured or looked up.

    seconds of a step = FLOPs / (rate x efficiency) + bytes of the update / bandwidth

A probe takes a few steps of the very training instead, on a model of that shape with random weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import fmean, median

from hornbook.judge.score import Sequences, log_likelihoods
from hornbook.learn.batches import Batch
from hornbook.learn.carry import carried
from hornbook.learn.loop import next_token, train
from hornbook.model.cost import attention_flops, forward_flops, training_flops
from hornbook.model.transformer import Transformer
from hornbook.planning.machines import Machine
from hornbook.planning.memory import Cell, trainable
from hornbook.planning.methods import METHODS

EFFICIENCY = {"cuda": 0.40, "mps": 0.40, "cpu": 0.70}
"""Of the rate of products, what training reaches: 38 to 43% in Llama 3 (arXiv 2407.21783, table 4), 35 to 42% in those
of `cluster.PUBLISHED`; of a CPU assumed, where no probe says it."""
UPDATE_BYTES = 28
"""That AdamW moves for each number that learns: it reads weight, gradient and two averages, and writes all but one."""
STEPS, WARM = 20, 3
"""Steps of a probe, and the first of them, which do not count: memory is new to the process there."""
MICRO_BATCHES = 4
"""Of a long step in a probe, beside short ones of one: the line through both is drawn on to a whole step."""
LONGEST = 90.0
"""Seconds that a probe may be expected to take."""
START = 3.0
"""Seconds before the first step and after the last: rows or tokens read, the model read and written; 1 to 4 seen."""
COOLING = 1.1
"""Power drawn for each watt of the board by its share of the computer and by cooling (PUE of a good data center)."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of training with micro-batches of some shape on a machine."""

    tokens_per_second: float
    """That steps compute."""
    evaluated_per_second: float
    """Held-out tokens."""
    probed: bool
    """Measured by steps of the training itself."""

    def seconds(self, tokens: float, *, evaluated: float = 0.0) -> float:
        """Of a run that trains on so many tokens and measures itself on so many in all."""
        return START + tokens / self.tokens_per_second + evaluated / self.evaluated_per_second


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What a time on a machine comes to."""

    hours: float
    kilowatt_hours: float
    dollars: float


def step_flops(cell: Cell) -> float:
    """Floating-point operations to train on a token: products with weights that learn three times, with frozen ones
    twice, since those have no gradient of their own; layers that are computed again, once more."""
    architecture, length = cell.architecture, cell.length
    flops = float(training_flops(architecture, length=length))
    if METHODS[cell.method].adapts:
        frozen = forward_flops(architecture, length=length) - attention_flops(architecture, length=length)
        flops += 6 * trainable(architecture, cell.method) - frozen
    if cell.recompute:
        flops += forward_flops(architecture, length=length) - 2 * architecture.vocab_size * architecture.hidden_size
    return flops


def estimated(cell: Cell, machine: Machine, *, step_tokens: int) -> Speed:
    """By formula: `step_tokens` share one update."""
    rate = machine.rate * EFFICIENCY.get(machine.kind, 0.4)
    updating = UPDATE_BYTES * trainable(cell.architecture, cell.method) / machine.bandwidth / step_tokens
    return Speed(
        tokens_per_second=1 / (step_flops(cell) / rate + updating),
        evaluated_per_second=rate / forward_flops(cell.architecture, length=cell.length),
        probed=False,
    )


def probe(cell: Cell, micro: Sequence[Batch], held_out: Sequences, *, step_tokens: int, steps: int = STEPS) -> Speed:
    """Steps of the training itself on this machine, short and long in turn, and an evaluation.

    micro: micro-batches of a typical step, of which the steps here take some, one after the other.
    step_tokens: of a whole step.
    """
    most = _count(micro, step_tokens)
    model, taken = ready(cell), _steps(micro, steps, most)
    # The first do not count, but for one of each length.
    timed = list(zip(taken, step_seconds(model, cell, taken), strict=True))[min(WARM, max(0, steps - 2)) :]
    short, long = (_typical([one for one in timed if len(one[0]) == size]) for size in _sizes(steps, most))
    # A token takes no less than nothing and no more than its part of a step, whatever else the machine did.
    each = long.seconds / long.tokens
    if long.tokens > short.tokens:
        each = min(each, max(0.0, (long.seconds - short.seconds) / (long.tokens - short.tokens)))
    seconds = long.seconds + (step_tokens - long.tokens) * each
    return Speed(
        tokens_per_second=step_tokens / seconds,
        evaluated_per_second=_evaluated_per_second(model, cell, held_out),
        probed=True,
    )


def expected(micro: Sequence[Batch], *, step_tokens: int, steps: int, tokens_per_second: float) -> float:
    """Seconds that the steps of a probe will take, by a speed that is supposed."""
    return sum(map(_tokens, _steps(micro, steps, _count(micro, step_tokens)))) / tokens_per_second


def ready(cell: Cell) -> Transformer:
    """A model of that shape with random weights, ready to learn in that way."""
    model = Transformer(cell.architecture).initialize(0)
    METHODS[cell.method].prepare(model, recompute=cell.recompute)
    return model


def step_seconds(model: Transformer, cell: Cell, steps: Sequence[Sequence[Batch]]) -> Iterator[float]:
    """Seconds of each step, given as its micro-batches."""
    started = time.perf_counter()
    for _ in train(
        model,
        batches=lambda step: steps[step],
        loss=next_token,
        optimizer=METHODS[cell.method].make_optimizer(model),
        schedule=lambda step: 1e-3,
        steps=len(steps),
        autocast=cell.autocast,
        carry=carried(model, autocast=cell.autocast),
    ):
        now = time.perf_counter()
        yield now - started
        started = now


@dataclass(frozen=True)
class _Typical:
    """Of steps of as many micro-batches, which need not hold as many tokens."""

    tokens: float
    seconds: float


def _typical(timed: Sequence[tuple[Sequence[Batch], float]]) -> _Typical:
    tokens = fmean(_tokens(step) for step, _ in timed)
    return _Typical(tokens, tokens * median(seconds / _tokens(step) for step, seconds in timed))


def _count(micro: Sequence[Batch], step_tokens: int) -> int:
    """Micro-batches of a whole step."""
    return max(1, round(step_tokens * len(micro) / _tokens(micro)))


def _sizes(steps: int, most: int) -> tuple[int, int]:
    """Micro-batches of a short and of a long step, which has no more than a whole one: that is what was planned for."""
    return 1, min(MICRO_BATCHES, most) if steps > 1 else 1


def _steps(micro: Sequence[Batch], steps: int, most: int) -> list[tuple[Batch, ...]]:
    """Those of a probe: the short ones first, long and short in turn."""
    sizes, following = _sizes(steps, most), cycle(micro)
    return [tuple(islice(following, sizes[step % 2])) for step in range(steps)]


def _tokens(step: Sequence[Batch]) -> int:
    return sum(batch.tokens.numel() for batch in step)


def _evaluated_per_second(model: Transformer, cell: Cell, held_out: Sequences) -> float:
    """The second time: memory is new to the process the first."""
    for _ in range(2):
        started = time.perf_counter()
        log_likelihoods(model, held_out, autocast=cell.autocast)
        seconds = time.perf_counter() - started
    return sum(len(tokens) - 1 for tokens, _ in held_out) / seconds


def bill(seconds: float, machine: Machine, *, count: int = 1) -> Bill:
    """Energy and money of `count` machines for so long, at full power and the table's price."""
    hours = seconds / 3600
    return Bill(
        hours=hours,
        kilowatt_hours=count * hours * machine.watts * COOLING / 1000,
        dollars=count * hours * machine.price,
    )
