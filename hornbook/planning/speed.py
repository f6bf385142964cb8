"""How long a run takes, and what it costs: FLOPs and bytes by formula, over rates that are measured or looked up.

    seconds of a step = FLOPs / (rate x efficiency) + bytes of the update / bandwidth

A probe takes a few steps of the very training instead, on a model of that shape with random weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from hornbook.learn.batches import Batch
from hornbook.learn.carry import carried
from hornbook.learn.loop import next_token, train
from hornbook.model.architecture import Architecture
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
"""Of a long step in a probe, beside short ones of one: the line through both is drawn on to those of a real step."""
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
    flops_per_token: float
    probed: bool
    """Measured by steps of the training itself."""

    def seconds(self, tokens: float, *, evaluated: float = 0.0, architecture: Architecture, length: int) -> float:
        """Of a run that trains on so many tokens and measures itself on so many in all."""
        forward = forward_flops(architecture, length=length) / self.flops_per_token
        return START + (tokens + evaluated * forward) / self.tokens_per_second


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
    flops = step_flops(cell)
    computing = flops / (machine.rate * EFFICIENCY.get(machine.kind, 0.4))
    updating = UPDATE_BYTES * trainable(cell.architecture, cell.method) / machine.bandwidth / step_tokens
    return Speed(tokens_per_second=1 / (computing + updating), flops_per_token=flops, probed=False)


def probe(cell: Cell, *, step_tokens: int, steps: int = STEPS, learned: float = 1.0) -> Speed:
    """Steps of the training itself on this machine, short and long in turn: the medians of those after the first few.

    learned: the share of the tokens that are; what follows the last attention is computed for those alone.
    """
    micro_batches, counts = _micro_batches(step_tokens, cell), _counts(step_tokens, cell, steps)
    # The first do not count, but for one of each length.
    timed = list(zip(counts, step_seconds(cell, counts, learned=learned), strict=True))[min(WARM, max(0, steps - 2)) :]
    spans = {count: median(span for size, span in timed if size == count) for count, _ in timed}
    few, more = min(spans), max(spans)
    # A micro-batch takes no less than nothing and no more than its part of a step, whatever else the machine did.
    each = spans[more] / more
    if more > few:
        each = min(each, max(0.0, (spans[more] - spans[few]) / (more - few)))
    seconds = spans[more] + (micro_batches - more) * each
    tokens = micro_batches * cell.rows * cell.length
    return Speed(tokens_per_second=tokens / seconds, flops_per_token=step_flops(cell), probed=True)


def expected(cell: Cell, *, step_tokens: int, steps: int, tokens_per_second: float) -> float:
    """Seconds that a probe will take, by a speed that is supposed."""
    return sum(_counts(step_tokens, cell, steps)) * cell.rows * cell.length / tokens_per_second


def step_seconds(cell: Cell, counts: Sequence[int], *, learned: float = 1.0) -> Iterator[float]:
    """Seconds of each step, of so many micro-batches."""
    method = METHODS[cell.method]
    model = Transformer(cell.architecture).initialize(0)
    method.prepare(model, recompute=cell.recompute)
    optimizer = method.make_optimizer(model)
    batch = _batch(cell, learned)
    started = time.perf_counter()
    for _ in train(
        model,
        batches=lambda step: (batch,) * counts[step],
        loss=next_token,
        optimizer=optimizer,
        schedule=lambda step: 1e-3,
        steps=len(counts),
        autocast=cell.autocast,
        carry=carried(model, autocast=cell.autocast),
    ):
        now = time.perf_counter()
        yield now - started
        started = now


def _counts(step_tokens: int, cell: Cell, steps: int) -> list[int]:
    """Micro-batches of each step of a probe."""
    most = min(MICRO_BATCHES, _micro_batches(step_tokens, cell))
    return [most if step % 2 else 1 for step in range(steps)]


def _micro_batches(step_tokens: int, cell: Cell) -> int:
    return max(1, round(step_tokens / (cell.rows * cell.length)))


def _batch(cell: Cell, learned: float) -> Batch:
    """Random tokens; where rows are packed, in two documents each, of which the ends are learned."""
    shape = (cell.rows, cell.length)
    tokens = torch.randint(cell.architecture.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    size = cell.length // 2 if cell.packed else cell.length
    places = torch.arange(cell.length).expand(shape)
    documents = (places >= size).long() if cell.packed else torch.zeros(shape, dtype=torch.int64)
    weights = (places % size >= size - max(1, round(learned * size))).float()
    return Batch(tokens, tokens.roll(-1, 1), weights, documents, ("probe",))


def bill(seconds: float, machine: Machine, *, count: int = 1) -> Bill:
    """Energy and money of `count` machines for so long, at full power and the table's price."""
    hours = seconds / 3600
    return Bill(
        hours=hours,
        kilowatt_hours=count * hours * machine.watts * COOLING / 1000,
        dollars=count * hours * machine.price,
    )
