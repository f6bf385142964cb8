"""The one training loop: a generator that yields what each step did. Evaluating, logging and saving are the caller's
`for` body.

    for done in train(model, batches=data.step, loss=next_token, optimizer=optimizer, schedule=..., steps=1000):
        run.record(done.step, loss=done.loss)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.errors import EmptyInput, NonFinite
from hornbook.learn.batches import Batch
from hornbook.learn.carry import NOTHING, Carry
from hornbook.learn.grad_norms import norms
from hornbook.learn.loss_scale import LossScale
from hornbook.learn.losses import cross_entropy, sequence_log_probability
from hornbook.learn.optim import Optimizer
from hornbook.learn.parallel import local, processes
from hornbook.learn.spikes import IN_A_ROW, Spikes, not_finite
from hornbook.model.adapters.attached import place
from hornbook.model.reward import RewardModel
from hornbook.model.transformer import Transformer

Loss = Callable[[Transformer, Batch], tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Mapping[str, Tensor]]]
"""A micro-batch's (sum, count), and the sums of what else is measured on the way, always under the same names."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did. `step` steps are done now: to go on from here is `train(..., first=step)`."""

    step: int
    loss: float
    """Mean over the whole step's count, before the update; NaN where the step was left out for that."""
    grad_norm: float
    """Before clipping."""
    grad_norms: Mapping[str, float]
    """The same by kind of parameter."""
    learning_rates: Mapping[str, float]
    """Of the optimizer's groups, by name."""
    count: float
    """What the loss was divided by: answer tokens, or pairs."""
    measured: Mapping[str, float]
    """Means over the same count of what the loss measured on the way."""
    tokens: int
    """Positions computed, padding included."""
    length: int
    """Positions of a row."""
    seconds: float
    skipped: str | None
    """Why nothing was learned from this step, or None."""
    documents: tuple[str, ...]
    """Of a step that was left out."""


def train(
    model: Transformer,
    *,
    batches: Callable[[int], Sequence[Batch]],
    loss: Loss,
    optimizer: Optimizer,
    schedule: Callable[[int], float],
    steps: int,
    first: int = 0,
    clip: float = 1.0,
    autocast: torch.dtype | None = None,
    carry: Carry = NOTHING,
) -> Iterator[Step]:
    """Take steps `first`..`steps`-1, each over the micro-batches `batches(step)`, and yield after each.

    The gradient is that of sum(loss sums) / sum(counts) over all micro-batches. A step whose loss or gradient norm is
    not finite, or with `carry.spikes` a spike, touches neither weights nor optimizer state: it raises NonFinite with
    the step and its documents or, with `carry.spikes`, is left out, as long as not too many are in a row.
    """
    for step in range(first, steps):
        started = time.perf_counter()
        model.train()
        micro = batches(step)
        found = _gradient(model, micro, step, loss=loss, optimizer=optimizer, autocast=autocast, scale=carry.scale)
        if found.count <= 0:
            raise EmptyInput(f"step {step + 1} has nothing to learn from: {_named(_documents(micro))}")
        try:
            skipped = _judge(found, step=step, micro=micro, spikes=carry.spikes)
        except NonFinite:
            optimizer.zero_grad()
            raise
        if skipped is None:
            shrink = min(1.0, clip / (found.norm + 1e-12))
            torch._foreach_mul_([local(g) for g in _gradients(optimizer).values()], shrink * found.factor)
            optimizer.step(schedule(step))
            if carry.average is not None:
                carry.average.update()
        optimizer.zero_grad()
        yield Step(
            step=step + 1,
            loss=found.loss,
            grad_norm=found.norm,
            grad_norms=found.norms,
            learning_rates=optimizer.rates(schedule(step)),
            count=found.count,
            measured=found.measured,
            tokens=sum(batch.tokens.numel() for batch in micro),
            length=micro[0].tokens.shape[-1],
            seconds=time.perf_counter() - started,
            skipped=skipped,
            documents=_documents(micro) if skipped else (),
        )


def next_token(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Teacher forcing: cross-entropy of every weighted target, within its own document only."""
    places = batch.learned
    hidden = model.hidden(batch.tokens, documents=batch.documents, places=places)
    cap = model.architecture.final_logit_softcapping
    targets, weights = batch.targets.flatten()[places], batch.weights.flatten()[places]
    return cross_entropy(hidden, targets, weights, head=model.head_weight, softcap=cap)


def answer_log_probabilities(model: Transformer, batch: Batch, *, learns: bool = True) -> Tensor:
    """log p(answer | prompt) in nats for every example of a packed batch, in the order of `batch.document_ids`.

    learns: whether there is a backward pass to come.
    """
    places = batch.learned
    hidden = model.hidden(batch.tokens, documents=batch.documents, prefixes=batch.prefixes, places=places)
    with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
        return sequence_log_probability(
            hidden,
            batch.targets.flatten()[places],
            batch.weights.flatten()[places],
            head=model.head_weight,
            examples=batch.documents.flatten()[places],
            count=len(batch.document_ids),
            softcap=model.architecture.final_logit_softcapping,
        )


def answer_tokens(batch: Batch) -> Tensor:
    """How many tokens the answer of every example has, in the same order."""
    counts = batch.weights.new_zeros(len(batch.document_ids) + 1)
    return counts.index_add(0, batch.documents.reshape(-1), batch.weights.reshape(-1))[:-1]


def rewards(model: RewardModel, batch: Batch) -> Tensor:
    """[examples]: the score at the one position of each that has weight (`examples.judged`), in their order."""
    hidden = model.hidden(batch.tokens, documents=batch.documents, prefixes=batch.prefixes, places=batch.learned)
    return model.scores(hidden)


def precision(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Matrix products in `dtype` (torch.bfloat16), or everything as the weights are (None)."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


@dataclass(frozen=True, slots=True)
class _Gradient:
    """What is known of a step once its gradient is summed, before anything has changed."""

    loss: float
    count: float
    norm: float
    """Of the mean's gradient."""
    norms: Mapping[str, float]
    factor: float
    """What the summed gradients are to be multiplied by to be the mean's."""
    measured: Mapping[str, float]


def _gradient(
    model: Transformer,
    micro: Sequence[Batch],
    step: int,
    *,
    loss: Loss,
    optimizer: Optimizer,
    autocast: torch.dtype | None,
    scale: LossScale | None,
) -> _Gradient:
    """Sum the gradients; where they overflow fp16, again with a smaller scale, so that no step is lost by that."""
    while True:
        multiplier = 1.0 if scale is None else scale.value
        total, count, measured = _accumulate(
            model, micro, step, loss=loss, optimizer=optimizer, autocast=autocast, scale=multiplier
        )
        if count <= 0 or not math.isfinite(total):
            return _Gradient(total, count, math.nan, {}, math.nan, {})
        factor = 1 / (count * multiplier)
        norm, kinds = norms(_gradients(optimizer))
        if scale is None or math.isfinite(norm) or not scale.halve():
            break
    if scale is not None and math.isfinite(norm):
        scale.keep()
    means = {name: value / count for name, value in measured.items()}
    return _Gradient(total / count, count, norm * factor, {k: n * factor for k, n in kinds.items()}, factor, means)


def _accumulate(
    model: Transformer,
    micro: Sequence[Batch],
    step: int,
    *,
    loss: Loss,
    optimizer: Optimizer,
    autocast: torch.dtype | None,
    scale: float,
) -> tuple[float, float, dict[str, float]]:
    """Backward through every micro-batch's *sum*, times `scale`; returns (sum, count) of the step, the sum unscaled.

    Each process takes its share of the micro-batches; sum, count and what else was measured are over all of them.
    """
    device = next(model.parameters()).device
    optimizer.zero_grad()
    sums: dict[str, float] = {}
    us = processes()
    for turn, (batch, counts) in enumerate(us.share(micro)):
        place(model, step=step, micro=turn * us.groups + us.group)
        with precision(device, autocast):
            part, number, *more = loss(model, batch.to(device))
        # Finite or not, the backward pass is taken: other processes gather parameters in it, and wait.
        (part * (scale * counts)).backward()  # type: ignore[no-untyped-call]
        for name, value in {"": part.detach(), "count": number, **(more[0] if more else {})}.items():
            sums[name] = sums.get(name, 0.0) + counts * float(value)
    total, count, *measured = us.sum_shares(torch.tensor(list(sums.values()), dtype=torch.float64)).tolist()
    return total, count, dict(zip(list(sums)[2:], measured, strict=True))


def _judge(found: _Gradient, *, step: int, micro: Sequence[Batch], spikes: Spikes | None) -> str | None:
    """Why the step is to be left out, or None.

    Raises:
        NonFinite: it is not finite, and no step is left out, or too many were in a row.
    """
    bad = not_finite(found.loss, found.norm)
    reason = spikes.verdict(found.loss, found.norm) if spikes else bad
    if bad is None or (spikes and spikes.in_a_row <= IN_A_ROW):
        return reason
    row = f", nor were the {IN_A_ROW} before it, which were left out" if spikes else ""
    raise NonFinite(
        f"the {bad} of step {step + 1} is not finite{row}; the weights are still those of step {step}",
        hint=f"look at its documents: {_named(_documents(micro))}; or lower the learning rate",
    )


def _gradients(optimizer: Optimizer) -> dict[str, Tensor]:
    return {name: p.grad for name, p in optimizer.named.items() if p.grad is not None}


def _documents(micro: Sequence[Batch]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for batch in micro for name in batch.document_ids))


def _named(documents: Sequence[str]) -> str:
    more = f" and {len(documents) - 8} more" if len(documents) > 8 else ""
    return ", ".join(documents[:8]) + more
