"""The body of the training loop: progress, records, evaluations, checkpoints, and going on after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from hornbook.device import matmul_rate
from hornbook.learn import checkpoint
from hornbook.learn.batches import Batch
from hornbook.learn.carry import Carry
from hornbook.learn.loop import Loss, Step, train
from hornbook.learn.optim import Optimizer
from hornbook.learn.parallel import processes, settle, sharded
from hornbook.learn.schedules import warmup_stable_decay
from hornbook.memory import resident
from hornbook.model.adapters.attached import adapters
from hornbook.model.cost import training_flops
from hornbook.model.quantizing import quantized
from hornbook.model.transformer import Transformer
from hornbook.run import Run

EVALUATIONS = 8
"""On held-out text while a model learns."""
SAVE_EVERY = 30.0
"""Seconds between checkpoints, at least."""
SAVING = 0.01
"""Share of the time that may go into checkpoints: those of a large model are farther apart, and a kill costs more."""


def fit(
    run: Run,
    model: Transformer,
    optimizer: Callable[[Transformer], Optimizer],
    *,
    label: str,
    device: torch.device,
    batches: Callable[[int], Sequence[Batch]],
    loss: Loss,
    steps: int,
    autocast: torch.dtype | None,
    evaluate: Callable[[], Mapping[str, float]],
    before: Callable[[], Mapping[str, float]] | None = None,
    clip: float = 1.0,
    carry: Callable[[Transformer], Carry],
    tensor_parallel: int = 1,
) -> None:
    """Train with progress, records, evaluations and checkpoints; a killed run goes on to the same bytes.

    `evaluate` is called before the first step (or `before`, where that is given), `EVALUATIONS` times on the way and
    after the last: with an average of the weights in `carry`, on that, and it is what the model holds in the end.
    With several processes the model is shared out on `device` meanwhile, and whole again afterwards: so optimizer and
    carry are made here. `tensor_parallel` of them compute each layer together.
    """
    with sharded(model, device, tensor=tensor_parallel):
        made, carried = optimizer(model), carry(model)
        first = _resume(run, model, made, carried)
        averaged = nullcontext if carried.average is None else carried.average.in_place
        if first == 0:
            run.record(0, **_evaluated(model, before or evaluate))
        rate = processes().size * matmul_rate(device, autocast or torch.float32)
        every = max(1, -(-steps // EVALUATIONS))
        saves = Saves(run, model, made, carried)
        with run.progress(label, total=steps, unit="steps", start=first, stops=False) as bar:
            for done in train(
                model,
                batches=batches,
                loss=loss,
                optimizer=made,
                schedule=lambda step: warmup_stable_decay(step, steps),
                steps=steps,
                first=first,
                clip=clip,
                autocast=autocast,
                carry=carried,
            ):
                _record(run, done)
                bar.note(_time(run, model, done, rate=rate))
                if done.step % every == 0 or done.step == steps:
                    with averaged():
                        run.record(done.step, **_evaluated(model, evaluate))
                bar.advance()
                saves.after(done.step)
        if carried.average is not None:
            carried.average.settle()
    _summarize(run, model, made, steps=steps)


def _summarize(run: Run, model: Transformer, optimizer: Optimizer, *, steps: int) -> None:
    """What the manifest and the report say of a training that is done."""
    run.result(
        steps=steps,
        parameters=sum(p.numel() for p in model.parameters()) + sum(held.numel for held in quantized(model).values()),
        trainable=sum(p.numel() for p in optimizer.named.values()),
    )
    if rows := run.recorded():
        run.result(before=_metrics(rows[0]), after=_metrics(rows[-1]), tokens=sum(row.get("tokens", 0) for row in rows))
    run.count_skipped()


def _evaluated(model: Transformer, evaluate: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
    found = evaluate()
    settle(model)
    return found


class Saves:
    """Saves every `SAVE_EVERY` seconds or more, and when asked to stop; all processes at the same step."""

    def __init__(self, run: Run, model: Transformer, optimizer: Optimizer, carry: Carry) -> None:
        self._run, self._model, self._optimizer, self._carry = run, model, optimizer, carry
        self._due = time.monotonic() + SAVE_EVERY

    def after(self, step: int) -> None:
        """Save, if it is time.

        Raises:
            Interrupted: somebody asked for that; it is saved.
        """
        stop, due = processes().any(self._run.stop_requested(), time.monotonic() > self._due)
        if stop or due:
            began = time.monotonic()
            self._save(step)
            ended = time.monotonic()
            self._due = ended + max(SAVE_EVERY, (ended - began) / SAVING)
        if stop:
            self._run.stop()

    def _save(self, step: int) -> None:
        self._run.flush()
        checkpoint.save(
            self._run.checkpoints,
            step=step,
            model=self._model,
            optimizer=self._optimizer,
            carry=self._carry,
            identity=self._run.identity,
        )


def _resume(run: Run, model: Transformer, optimizer: Optimizer, carry: Carry) -> int:
    """Steps that a killed run had done, its state restored; 0 for a new run."""
    found, passed = checkpoint.newest(run.checkpoints, identity=run.identity)
    for reason in passed:
        run.say(f"checkpoint passed over: {reason}")
    if found is None:
        run.rewind(-1)
        if passed:
            run.say("there is no valid checkpoint: from the beginning")
        return 0
    checkpoint.restore(found, model=model, optimizer=optimizer, carry=carry)
    run.rewind(found.step)
    run.say(f"going on from step {found.step}, the newest {'valid ' if passed else ''}checkpoint")
    return found.step


def _record(run: Run, done: Step) -> None:
    measured = {"loss": done.loss, "grad_norm": done.grad_norm}
    run.record(
        done.step,
        # A step that was left out may have no loss or no norm that is a number.
        **{key: value for key, value in measured.items() if math.isfinite(value)},
        **{f"grad_norm/{kind}": value for kind, value in done.grad_norms.items() if math.isfinite(value)},
        **{f"learning_rate/{group}": rate for group, rate in done.learning_rates.items()},
        **{key: value for key, value in done.measured.items() if math.isfinite(value)},
        tokens=done.tokens,
        learned=0 if done.skipped else done.count,
    )
    if done.skipped:
        run.skip(done.step, reason=done.skipped, documents=done.documents)


def _time(run: Run, model: Transformer, done: Step, *, rate: float) -> str:
    """Record how quick a step was beside the machine's `rate` of matrix products, and memory; the note for the bar.

    A frozen weight has no gradient of its own: with an adapter a step is two thirds of the products.
    """
    flops = training_flops(model.architecture, length=done.length) * (2 / 3 if adapters(model) else 1)
    speed = done.tokens / done.seconds
    device = next(model.parameters()).device
    run.timing(done.step, seconds=done.seconds, tokens_per_second=speed, mfu=flops * speed / rate, **_memory(device))
    return f"loss {done.loss:.3f}, {speed:,.0f} tokens/s, MFU {flops * speed / rate:.0%}"


def _memory(device: torch.device) -> dict[str, int]:
    """Bytes that the process has now, and the most that tensors took on a CUDA device."""
    known = {"memory/process": resident()}
    return known | ({"memory/device": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {})


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in row.items() if key != "step"}
