"""A model that answers -> one that prefers what people prefer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor

from hornbook.config import Count, Positive, Takes, options
from hornbook.device import arithmetic, choose_device, choose_precision
from hornbook.judge.metrics import preference_accuracy
from hornbook.judge.score import log_likelihoods
from hornbook.learn.batches import Batch
from hornbook.learn.carry import carried
from hornbook.learn.chat import encode_preference
from hornbook.learn.examples import Example, Examples, batched
from hornbook.learn.loop import answer_log_probabilities, precision
from hornbook.learn.losses import dpo
from hornbook.learn.rows import read_preferences
from hornbook.model.recompute import recompute_layers
from hornbook.model.transformer import Transformer
from hornbook.run import Run
from hornbook.training.adapting import make_optimizer, prepare
from hornbook.training.fitting import fit
from hornbook.training.opening import Opened, check_length, open_model
from hornbook.training.options import Training
from hornbook.training.reading import Rows
from hornbook.training.saving import save

MAKES = "model"
SHARED = True
fingerprint = arithmetic
Pair = tuple[Example, Example]


@options
class Align(Training):
    """Teach a model what is preferred: direct preference optimization on pairs.

    The model that training starts from is the reference; its log-probabilities are taken once, before the first step.
    """

    base: Annotated[Path, Takes("model")]
    """Model to start from, most often one made by `sft`."""
    _: KW_ONLY
    rows: Annotated[Path, Takes("rows")]
    """Run of `instruct`, or a JSONL file with `prompt`, `chosen` and `rejected` in each row."""
    beta: Positive = 0.1
    """How strongly the model is held to the reference (arXiv 2305.18290)."""
    epochs: Positive = 1.0
    """Times that each pair is learned from."""
    length: Count = 512
    """Tokens of a conversation; a longer one is cut, and counted."""
    batch: Count = 32
    """Pairs in a step."""
    micro: Count = 8
    """Rows computed at a time: less memory, same result up to rounding."""
    learning_rate: Positive | None = None
    """Peak rate of AdamW (default: 5e-5, for an adapter 5e-4)."""
    evaluation_rows: Count = 200
    """Held-out pairs that are measured while training, at most."""
    bad_rows: Literal["error", "skip"] = "error"
    """What to do with a row that cannot be learned from: end, or set it aside and count it."""
    seed: int = 0
    """Chooses the order of the rows."""


def align(config: Align, run: Run) -> None:
    run.track(config.track)
    device = choose_device(config.device, deterministic=config.deterministic)
    opened = open_model(run.input("base"), device=device)
    check_length(opened.model, config.length)
    train, valid = _pairs(config, run, opened)
    autocast = choose_precision(config.precision, device)
    reference = _reference(config, run, opened.model, train, autocast)
    prepare(opened.model, config, seed=config.seed)
    if config.recompute:
        recompute_layers(opened.model)
    batches = Examples(
        train, length=2 * config.length, groups_per_step=config.batch, rows=config.micro, seed=config.seed
    )

    def loss(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
        policy = answer_log_probabilities(model, batch)
        known = policy.new_tensor([reference[name] for name in batch.document_ids])
        return dpo(policy[0::2], policy[1::2], known[0::2], known[1::2], beta=config.beta)

    def evaluate() -> dict[str, float]:
        if not valid:
            return {}
        sides = zip(*valid[: config.evaluation_rows], strict=True)
        chosen, rejected = (
            log_likelihoods(opened.model, [_scored(e) for e in side], autocast=autocast) for side in sides
        )
        return {"preference_accuracy": preference_accuracy(chosen, rejected).value}

    fit(
        run,
        opened.model,
        partial(make_optimizer, kind="adamw", learning_rate=config.learning_rate or (5e-4 if config.adapts else 5e-5)),
        label="align",
        device=device,
        batches=batches.step,
        loss=loss,
        steps=batches.steps(config.epochs),
        autocast=autocast,
        evaluate=evaluate,
        carry=partial(carried, autocast=autocast),
    )
    save(run, opened.model, tokenizer=opened.tokenizer, folder=opened.folder, base="base", template=opened.template)


def _pairs(config: Align, run: Run, opened: Opened) -> tuple[list[Pair], list[Pair]]:
    """Training and held-out pairs as tokens; what is cut or set aside is counted."""
    rows = Rows(run, config.bad_rows)
    train, valid = rows.read(run.input("rows"), "preference", partial(read_preferences, control=opened.control))
    encoded: list[list[Pair]] = [
        rows.sift(
            encode_preference(
                row, opened.tokenizer, length=config.length, template=opened.template, special=opened.special
            )
            for row in part
        )
        for part in (train, valid)
    ]
    rows.close(learned=encoded[0])
    rows.tell_cut("pairs", [chosen.cut + rejected.cut for part in encoded for chosen, rejected in part])
    return encoded[0], encoded[1]


def _reference(
    config: Align, run: Run, model: Transformer, pairs: Sequence[Pair], autocast: torch.dtype | None
) -> Mapping[str, float]:
    """log p(answer | prompt) of every answer under the model that training starts from."""
    path = run.scratch / "reference.json"
    if path.exists():
        stored: dict[str, float] = json.loads(path.read_bytes())
        return stored
    known: dict[str, float] = {}
    batches = batched(pairs, length=2 * config.length, rows=config.micro)
    device = next(model.parameters()).device
    with run.progress("reference", total=len(batches), unit="batches") as bar:
        for batch in batches:
            # As in training, gradient and all: without it other kernels run, and the first loss is further from ln 2.
            with precision(device, autocast):
                values = answer_log_probabilities(model, batch.to(device)).detach()
            known |= zip(batch.document_ids, values.tolist(), strict=True)
            bar.advance()
    with run.atomic(path) as temporary:
        temporary.write_text(json.dumps(known))
    return known


def _scored(example: Example) -> tuple[list[int], list[bool]]:
    return example.tokens.tolist(), example.answer.tolist()
