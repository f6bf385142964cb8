"""What stages that train have in common: opening a model, the body of the training loop, saving what it made."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import torch
from tokenizers import Tokenizer

from hornbook.config import Count, Positive
from hornbook.device import matmul_rate
from hornbook.errors import EmptyInput, InputError, UsageError
from hornbook.learn import checkpoint
from hornbook.learn.batches import Batch
from hornbook.learn.carry import Carry
from hornbook.learn.chat import SPECIAL, TEMPLATE
from hornbook.learn.hyperparameters import rates
from hornbook.learn.loop import Loss, Step, train
from hornbook.learn.optim import Optimizer, adamw, muon
from hornbook.learn.parallel import processes, settle, sharded
from hornbook.learn.rows import BadRow, sift
from hornbook.learn.schedules import warmup_stable_decay
from hornbook.manifest import Input
from hornbook.memory import resident
from hornbook.model import lora
from hornbook.model.cost import training_flops
from hornbook.model.folder import copy_files, read_json
from hornbook.model.transformer import Transformer
from hornbook.model.weights import TOKENIZER_FILES, load_model, save_model
from hornbook.run import Run
from hornbook.text import bpe
from hornbook.text.document import held_out

HELD_OUT = 0.05
"""Fraction of the rows of a plain file that is kept for evaluation."""
EVALUATIONS = 8
"""On held-out text while a model learns."""
SAVE_EVERY = 30.0
"""Seconds between checkpoints: what a kill can cost."""


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T")
Row = TypeVar("Row", bound=_Identified)


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters: W = W0 + (alpha / r) B A, with W0 frozen (arXiv 2106.09685)."""

    r: Count = 8
    """Rank."""
    alpha: Positive = 16.0
    """Scale, divided by the rank."""
    targets: tuple[str, ...] = ("all-linear",)
    """Projections to adapt: names such as `q_proj`, `attention` for those of attention, `all-linear` for all."""


@dataclass(frozen=True)
class Opened:
    """A model with the tokenizer and template that belong to it, and the folders that they came from."""

    model: Transformer
    tokenizer: Tokenizer
    folder: Path
    special: dict[str, str]

    @cached_property
    def template(self) -> str:
        """The chat template: the folder's own, else ours.

        Raises:
            InputError: there is none, and the tokenizer lacks the tokens that ours writes.
        """
        own = _own_template(self.folder)
        missing = [text for text in (bpe.END_OF_TEXT, bpe.TURN_START, bpe.TURN_END) if self._id(text) is None]
        if own is None and missing:
            raise InputError(
                f"{self.folder} has no chat template, and its tokenizer lacks {missing[0]!r}, which ours writes",
                hint="put a chat_template.jinja into the folder",
            )
        return TEMPLATE if own is None else own

    @property
    def control(self) -> tuple[str, ...]:
        """Control tokens, which no message may hold."""
        return bpe.control_tokens(self.tokenizer)

    def _id(self, text: str) -> int | None:
        found: int | None = self.tokenizer.token_to_id(text)
        return found

    @property
    def separator(self) -> int:
        return bpe.separator_id(self.tokenizer, self.folder)

    @property
    def stop(self) -> frozenset[int]:
        """Tokens that end an answer."""
        ends = (self._id(text) for text in (bpe.TURN_END, self.special.get("eos_token", "")))
        return frozenset({self.separator, *(end for end in ends if end is not None)})


def open_model(source: Input, *, device: torch.device) -> Opened:
    """The model of a run or of a Hugging Face folder; an adapter is put on its base and merged into it."""
    folder = source.folder()
    if (folder / "adapter_config.json").is_file():
        model = open_model(base_of(source), device=device).model
        lora.load_adapter(model, folder)
        lora.merge(model)
    else:
        model = load_model(folder).to(device)
    config = bpe.read_config(folder)
    special = SPECIAL if config is None else bpe.named_tokens(config)
    return Opened(model=model.to(device), tokenizer=bpe.load(folder), folder=folder, special=special)


def _own_template(folder: Path) -> str | None:
    """The text of `chat_template.jinja`, or what `tokenizer_config.json` holds: one template, or several by name."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text()
    held = (bpe.read_config(folder) or {}).get("chat_template")
    if isinstance(held, list):
        named = {item.get("name"): item.get("template") for item in held if isinstance(item, dict)}
        held = named.get("default")
    return held if isinstance(held, str) else None


def base_of(source: Input) -> Input:
    """The base of an adapter's folder: a run beside it, or the path that it names.

    Raises:
        InputError: it is not there, or is no longer what the adapter was trained on.
    """
    named = str(read_json(source.file("adapter_config.json")).get("base_model_name_or_path") or "")
    beside = source.path.parent / named
    if not named or not (beside.is_dir() or Path(named).is_dir()):
        raise InputError(
            f"{source.path}: its base {named!r} is not there", hint="the adapter's base must lie beside it"
        )
    base = Input(beside if beside.is_dir() else Path(named))
    promised = source.manifest.inputs.get("base", {}).get("contents") if source.manifest else None
    if promised and promised != base.contents:
        raise InputError(
            f"{base.path} is not the base that {source.name} was trained on", hint="make the adapter again"
        )
    return base


def check_length(model: Transformer, length: int, *, option: str = "length") -> None:
    """That rows of `length` tokens have a place in the model.

    Raises:
        UsageError: they have not.
    """
    most = model.architecture.max_position_embeddings
    if length > most:
        raise UsageError(f"{option} = {length} is more than the model's {most} positions", hint=f"{option} = {most}")


def prepare(model: Transformer, options: Lora | None, *, seed: int) -> None:
    """Make the model ready to learn: whole, or only a new adapter."""
    if options is not None:
        lora.attach(model, r=options.r, alpha=options.alpha, targets=options.targets, seed=seed)


OptimizerName = Literal["muon", "adamw"]


def make_optimizer(model: Transformer, kind: OptimizerName, *, learning_rate: float, decay: float = 0.0) -> Optimizer:
    """AdamW; or Muon for the hidden matrices with AdamW for the rest.

    Raises:
        UsageError: Muon for an adapter, whose factors it would orthogonalize one by one.
    """
    if kind == "adamw":
        return adamw(model, learning_rate=learning_rate, decay=decay)
    if lora.adapted(model):
        raise UsageError("Muon does not suit low-rank adapters", hint='optimizer = "adamw"')
    return muon(model, rates=rates(learning_rate), decay=decay)


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
) -> None:
    """Train with progress, records, evaluations and checkpoints; a killed run goes on to the same bytes.

    `evaluate` is called before the first step (or `before`, where that is given), `EVALUATIONS` times on the way and
    after the last: with an average of the weights in `carry`, on that, and it is what the model holds in the end.
    With several processes the model is shared out on `device` meanwhile, and whole again afterwards: so optimizer and
    carry are made here.
    """
    with sharded(model, device):
        made, carried = optimizer(model), carry(model)
        first = _resume(run, model, made, carried)
        averaged = nullcontext if carried.average is None else carried.average.in_place
        if first == 0:
            run.record(0, **_evaluated(model, before or evaluate))
        rate = processes().size * matmul_rate(device, autocast or torch.float32)
        every = max(1, -(-steps // EVALUATIONS))
        saves = _Saves(run, model, made, carried)
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
        parameters=sum(p.numel() for p in model.parameters()),
        trainable=sum(p.numel() for p in optimizer.named.values()),
    )
    if rows := run.recorded():
        run.result(before=_metrics(rows[0]), after=_metrics(rows[-1]), tokens=sum(row.get("tokens", 0) for row in rows))
    run.count_skipped()


def _evaluated(model: Transformer, evaluate: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
    found = evaluate()
    settle(model)
    return found


class _Saves:
    """Saves every `SAVE_EVERY` seconds, and when asked to stop; all processes at the same step."""

    def __init__(self, run: Run, model: Transformer, optimizer: Optimizer, carry: Carry) -> None:
        self._run, self._model, self._optimizer, self._carry = run, model, optimizer, carry
        self._saved = time.monotonic()

    def after(self, step: int) -> None:
        """Save, if it is time.

        Raises:
            Interrupted: somebody asked for that; it is saved.
        """
        due = time.monotonic() - self._saved > SAVE_EVERY
        stop, due = processes().any(self._run.stop_requested(), due)
        if stop or due:
            self._run.flush()
            checkpoint.save(
                self._run.checkpoints,
                step=step,
                model=self._model,
                optimizer=self._optimizer,
                carry=self._carry,
                identity=self._run.identity,
            )
            self._saved = time.monotonic()
        if stop:
            self._run.stop()


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
        tokens=done.tokens,
        learned=0 if done.skipped else done.count,
    )
    if done.skipped:
        run.skip(done.step, reason=done.skipped, documents=done.documents)


def _time(run: Run, model: Transformer, done: Step, *, rate: float) -> str:
    """Record how quick a step was beside the machine's `rate` of matrix products, and memory; the note for the bar.

    A frozen weight has no gradient of its own: with an adapter a step is two thirds of the products.
    """
    flops = training_flops(model.architecture, length=done.length) * (2 / 3 if lora.adapted(model) else 1)
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


def save(
    run: Run,
    model: Transformer,
    *,
    tokenizer: Tokenizer,
    folder: Path,
    base: str | None = None,
    template: str | None = None,
) -> None:
    """Write what was trained: a Hugging Face folder or, where only an adapter was, a PEFT folder that names its base.

    `folder` holds the tokenizer's files; `template` is that of a chat model.
    """
    if base is not None and (run.input(base).path / lora.CONFIG).is_file() and lora.adapted(model):
        run.say("the base is an adapter itself, and peft puts none on another: both are merged into a whole model")
        lora.merge(model)
    if base is not None and lora.adapted(model):
        lora.save_adapter(model, run.out, base_name=run.input(base).name)
        copy_files(folder, run.out, TOKENIZER_FILES)
    else:
        end = bpe.separator_id(tokenizer, folder)
        turn_end = tokenizer.token_to_id(bpe.TURN_END)
        eos = [turn_end, end] if template and turn_end is not None else [end]
        save_model(run.out, model, tokenizer=folder, bos=end, eos=eos, pad=tokenizer.token_to_id(bpe.PAD))
    if template and not (run.out / "chat_template.jinja").exists():
        (run.out / "chat_template.jinja").write_text(template)


class Rows:
    """The rows that a stage is given: read, sifted, and what could not be used set aside in `quarantine.jsonl`."""

    def __init__(self, run: Run, bad_rows: Literal["error", "skip"]) -> None:
        self._run, self._bad_rows = run, bad_rows
        self._bad: dict[tuple[str, int], BadRow] = {}

    def read(
        self, source: Input, stem: str, reader: Callable[[Path], Iterable[Row | BadRow]]
    ) -> tuple[list[Row], list[Row]]:
        """Training and held-out rows: of a run, its two files; of one JSONL file, held out by hash of the row's id."""
        if source.path.is_file():
            rows = self.sift(reader(source.path))
            held = [held_out(row.id, fraction=HELD_OUT, seed=0) for row in rows]
            return [r for r, h in zip(rows, held, strict=True) if not h], [
                r for r, h in zip(rows, held, strict=True) if h
            ]
        return self.sift(reader(source.file(f"{stem}.train.jsonl"))), self.sift(
            reader(source.file(f"{stem}.valid.jsonl"))
        )

    def sift(self, rows: Iterable[T | BadRow]) -> list[T]:
        """The good rows; a bad one ends the run or is set aside, once, as the config says."""
        good, bad = sift(rows, bad_rows=self._bad_rows)
        for row in bad:
            self._bad.setdefault((row.file, row.row), row)
        return good

    def close(self, *, learned: Sequence[object]) -> None:
        """Count and write what was set aside.

        Raises:
            EmptyInput: nothing is left to be learned from.
        """
        if not learned:
            bad = list(self._bad.values())
            why = f"; the first of {len(bad)} bad ones: {bad[0]}" if bad else ""
            raise EmptyInput(f"{self._run.input('rows').path} has no row to learn from{why}")
        self.set_aside()

    def tell_cut(self, kind: str, cut: Sequence[int]) -> None:
        """Count the conversations or pairs (`kind`) that were too long, given the tokens cut from each."""
        rows_cut = sum(1 for tokens in cut if tokens)
        if rows_cut:
            self._run.say(f"{rows_cut} of {len(cut)} {kind} were cut, by {sum(cut):,} tokens in all")
        self._run.count(**{kind: len(cut), f"{kind}_cut": rows_cut, "tokens_cut": sum(cut)})

    def set_aside(self) -> None:
        """Count and write the bad rows."""
        self._run.count(rows_set_aside=len(self._bad))
        if self._bad:
            bad = list(self._bad.values())
            self._run.say(f"{len(bad)} rows set aside, the first: {bad[0]}")
            lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in bad]
            (self._run.out / "quarantine.jsonl").write_text("".join(lines))
