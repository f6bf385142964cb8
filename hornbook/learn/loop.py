"""The one training loop: a generator that yields what each step did. Evaluating, logging and saving are the caller's
`for` body.

    for done in train(model, batches=data.step, loss=next_token, optimizer=optimizer, schedule=..., steps=1000):
        run.record(done.step, loss=done.loss)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.errors import EmptyInput, NonFinite
from hornbook.learn.batches import Batch
from hornbook.learn.losses import cross_entropy, sequence_log_probability
from hornbook.learn.optim import Optimizer
from hornbook.model.transformer import Transformer

Loss = Callable[[Transformer, Batch], tuple[Tensor, Tensor]]
"""A micro-batch's (sum, count)."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did. `step` steps are done now: to go on from here is `train(..., first=step)`."""

    step: int
    loss: float
    """Mean over the whole step's count, before the update."""
    grad_norm: float
    """Before clipping."""
    learning_rate: float
    """Of the optimizer's first group."""
    count: float
    """What the loss was divided by: answer tokens, or pairs."""
    tokens: int
    """Positions computed, padding included."""
    seconds: float


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
) -> Iterator[Step]:
    """Take steps `first`..`steps`-1, each over the micro-batches `batches(step)`, and yield after each.

    The gradient is that of sum(loss sums) / sum(counts) over all micro-batches. A non-finite loss or gradient norm
    raises NonFinite with the step and the documents, before weights or optimizer state are touched.
    """
    for step in range(first, steps):
        started = time.perf_counter()
        model.train()
        micro = batches(step)
        total, count = _accumulate(model, micro, loss=loss, optimizer=optimizer, autocast=autocast)
        norm = _finish(optimizer, total, count, clip=clip, step=step, micro=micro)
        multiplier = schedule(step)
        optimizer.step(multiplier)
        optimizer.zero_grad()
        tokens = sum(batch.tokens.numel() for batch in micro)
        rate = optimizer.learning_rate * multiplier
        yield Step(step + 1, total / count, norm, rate, count, tokens, time.perf_counter() - started)


def next_token(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Teacher forcing: cross-entropy of every weighted target, within its own document only."""
    hidden = model.hidden(batch.tokens, documents=batch.documents)
    cap = model.architecture.final_logit_softcapping
    return cross_entropy(hidden, batch.targets, batch.weights, head=model.head_weight, softcap=cap)


def answer_log_probabilities(model: Transformer, batch: Batch) -> Tensor:
    """log p(answer | prompt) in nats for every example of a packed batch, in the order of `batch.document_ids`."""
    hidden = model.hidden(batch.tokens, documents=batch.documents)
    return sequence_log_probability(
        hidden,
        batch.targets,
        batch.weights,
        head=model.head_weight,
        examples=batch.documents,
        count=len(batch.document_ids),
        softcap=model.architecture.final_logit_softcapping,
    )


def precision(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Matrix products in `dtype` (torch.bfloat16), or everything as the weights are (None)."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def _accumulate(
    model: Transformer, micro: Sequence[Batch], *, loss: Loss, optimizer: Optimizer, autocast: torch.dtype | None
) -> tuple[float, float]:
    """Backward through every micro-batch's *sum*; returns (sum, count) of the step."""
    device = next(model.parameters()).device
    optimizer.zero_grad()
    total, count = 0.0, 0.0
    for batch in micro:
        with precision(device, autocast):
            part, number = loss(model, batch.to(device))
        if not math.isfinite(part.item()):
            return math.nan, 1.0
        part.backward()  # type: ignore[no-untyped-call]
        total, count = total + part.item(), count + float(number)
    return total, count


def _finish(
    optimizer: Optimizer, total: float, count: float, *, clip: float, step: int, micro: Sequence[Batch]
) -> float:
    """Turn the summed gradient into the clipped mean, or raise; returns its norm before clipping."""
    if count <= 0:
        raise EmptyInput(f"step {step + 1} has nothing to learn from: {_documents(micro)}")
    gradients = [p.grad for p in optimizer.named.values() if p.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients)) / count if math.isfinite(total) else math.nan
    if not math.isfinite(norm):
        optimizer.zero_grad()
        what = "gradient" if math.isfinite(total) else "loss"
        raise NonFinite(
            f"the {what} of step {step + 1} is not finite; the weights are still those of step {step}",
            hint=f"look at its documents: {_documents(micro)}; or lower the learning rate",
        )
    torch._foreach_mul_(gradients, min(1.0, clip / (norm + 1e-12)) / count)
    return norm


def _documents(micro: Sequence[Batch]) -> str:
    names = list(dict.fromkeys(name for batch in micro for name in batch.document_ids))
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
