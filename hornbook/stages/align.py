"""A model that answers -> one that prefers what people prefer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor

from hornbook.config import Bounds, Count, Positive, Takes, options
from hornbook.device import arithmetic, choose_device, choose_precision
from hornbook.learn.batches import Batch
from hornbook.learn.carry import carried
from hornbook.learn.examples import Example, Examples, longest
from hornbook.learn.loop import Loss
from hornbook.learn.mismatch import Drift, mismatched
from hornbook.learn.preferences import REFERENCE_FREE, choose
from hornbook.model.recompute import recompute_layers
from hornbook.run import Run
from hornbook.training.adapting import check_base, make_optimizer, prepare
from hornbook.training.fitting import fit
from hornbook.training.opening import Opened, check_length, open_model
from hornbook.training.options import FromConversations
from hornbook.training.pairs import read_judged, read_pairs
from hornbook.training.preferring import judged_loss, likelihoods, measure_judged, measure_pairs, paired_loss
from hornbook.training.reference import reference
from hornbook.training.saving import save_on_base

MAKES = "model"
SHARED = True
fingerprint = arithmetic


@options
class Align(FromConversations):
    """Teach a model what is preferred: by DPO or another loss, on pairs or on judged answers.

    The model that training starts from is the reference; its log-probabilities are taken once, before the first step.
    """

    base: Annotated[Path, Takes("model")]
    """Model to start from, most often one made by `sft`."""
    _: KW_ONLY
    rows: Annotated[Path, Takes("rows")]
    """Run of `instruct`, or a file with `prompt`, `chosen` and `rejected` in each row; for kto, `completion` and
    `label` will do."""
    loss: Literal["dpo", "robust", "ipo", "hinge", "apo_zero", "apo_down", "kto", "orpo", "simpo"] = "dpo"
    """What is made small; docs/guides/align.md says which is for what."""
    beta: Positive | None = None
    """How strongly the model is held to the reference; of orpo and simpo, how much the difference between the two
    answers counts (default: 0.1, for simpo 2)."""
    label_smoothing: Annotated[float, Bounds(least=0, below=0.5)] | None = None
    """Of dpo (default: 0) and robust (0.1): the part of the pairs that may be the wrong way round."""
    gamma: Positive | None = None
    """Of simpo: the margin that the chosen answer shall have (default: 1)."""
    desirable_weight: Positive | None = None
    """Of kto: what a good answer counts (default: 1)."""
    undesirable_weight: Positive | None = None
    """Of kto: what a bad answer counts (default: 1)."""
    epochs: Positive = 1.0
    """Times that each pair is learned from."""
    batch: Count = 32
    """Pairs in a step; for kto, answers."""
    learning_rate: Positive | None = None
    """Peak rate of AdamW (default: 5e-5, for an adapter 5e-4)."""
    seed: int = 0
    """Chooses the order of the rows."""


KNOBS = ("beta", "label_smoothing", "gamma", "desirable_weight", "undesirable_weight")
Steps = Callable[[int], Sequence[Batch]]
Evaluation = Callable[[], Mapping[str, float]]


def align(config: Align, run: Run) -> None:
    # Refused before anything is read: a parameter that the loss has not.
    function, values = choose(config.loss, {name: getattr(config, name) for name in KNOBS})
    run.track(config.track)
    device = choose_device(config.device, deterministic=config.deterministic)
    autocast = choose_precision(config.precision, device)
    check_base(run.input("base"), config)
    opened = open_model(run.input("base"), device=device, quantize=config.quantize)
    check_length(opened.model, config.length, before=config.begun)
    learn = _on_judged if config.loss == "kto" else _on_pairs
    examples, steps, loss, evaluate = learn(config, run, opened, function, values, autocast)
    prepare(opened.model, config, seed=config.seed, tokenizer=opened.tokenizer)
    if config.recompute:
        recompute_layers(opened.model)
    run.result(loss={"name": config.loss, **values})
    fit(
        run,
        opened.model,
        partial(make_optimizer, kind="adamw", learning_rate=config.learning_rate or (5e-4 if config.adapts else 5e-5)),
        label="align",
        device=device,
        batches=steps,
        loss=loss,
        steps=examples.steps(config.epochs),
        autocast=autocast,
        evaluate=evaluate,
        carry=partial(carried, autocast=autocast),
        tensor_parallel=config.tensor_parallel,
    )
    save_on_base(run, opened, quantize=config.quantize)


Made = tuple[Examples, Steps, Loss, Evaluation]
Function = Callable[..., tuple[Tensor, Tensor]]


def _on_pairs(
    config: Align,
    run: Run,
    opened: Opened,
    function: Function,
    values: Mapping[str, float],
    autocast: torch.dtype | None,
) -> Made:
    """To learn from pairs: a step's batches, its loss, and what is measured on held-out pairs."""
    train, valid = read_pairs(run, opened, length=config.length, bad_rows=config.bad_rows)
    held = valid[: config.evaluation_rows]
    examples = _examples(config, train)
    known, before = None, None
    if config.loss not in REFERENCE_FREE:
        learned = examples.seen(examples.steps(config.epochs))
        known = _reference(config, run, opened, learned, autocast=autocast)
        before = likelihoods(opened.model, [example for pair in held for example in pair], autocast=autocast)
    loss = partial(paired_loss, function=function, reference=known, beta=values["beta"])
    evaluate = partial(measure_pairs, opened.model, held, function=function, reference=before, autocast=autocast)
    return examples, examples.step, loss, evaluate


def _on_judged(
    config: Align,
    run: Run,
    opened: Opened,
    function: Function,
    values: Mapping[str, float],
    autocast: torch.dtype | None,
) -> Made:
    """The same from judged answers, with an estimate of how far the policy is from the reference in every step."""
    train, valid = read_judged(run, opened, length=config.length, bad_rows=config.bad_rows)
    _tell_balance(run, [judged.good for judged in train], values)
    held = valid[: config.evaluation_rows]
    others = mismatched([judged.example for judged in train], length=config.length, seed=config.seed)
    examples = _examples(config, [(judged.example,) for judged in train])
    learned = [example for (example,) in examples.seen(examples.steps(config.epochs))]
    asked = [(example,) for example in (*learned, *(others[example.id] for example in learned))]
    known = _reference(config, run, opened, asked, autocast=autocast)
    before = likelihoods(opened.model, [judged.example for judged in held], autocast=autocast)
    drift = Drift(opened.model, examples, others, known, autocast=autocast)
    good = {judged.example.id: judged.good for judged in train}
    loss = partial(judged_loss, function=function, reference=known, good=good, drift=drift, beta=values["beta"])
    evaluate = partial(measure_judged, opened.model, held, reference=before, autocast=autocast)
    return examples, drift.step, loss, evaluate


def _tell_balance(run: Run, good: Sequence[bool], values: Mapping[str, float]) -> None:
    """Count good and bad answers, and say where one kind outweighs the other by more than half."""
    liked, disliked = sum(good), len(good) - sum(good)
    run.count(good=liked, bad=disliked)
    weights = values["desirable_weight"] * liked, values["undesirable_weight"] * disliked
    if max(weights) > 1.5 * min(weights):
        balanced = (
            f"; undesirable_weight = {weights[0] / disliked:.3g} would balance them" if liked and disliked else ""
        )
        run.say(
            f"{liked:,} good answers and {disliked:,} bad ones: the more numerous are what is learned from{balanced}"
        )


def _examples(config: Align, groups: Sequence[tuple[Example, ...]]) -> Examples:
    return Examples(
        groups,
        length=longest(groups),
        groups_per_step=config.batch,
        rows=config.rows_at_once,
        seed=config.seed,
    )


def _reference(
    config: Align,
    run: Run,
    opened: Opened,
    groups: Sequence[tuple[Example, ...]],
    *,
    autocast: torch.dtype | None,
) -> Mapping[str, float]:
    return reference(run, opened.model, groups, rows=config.rows_at_once, autocast=autocast)
