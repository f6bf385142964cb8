"""plan: what to do with a model, data, a machine and hours, with numbers, before any are spent."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch

from hornbook.config import Bounds, Count, Positive, Takes
from hornbook.errors import InputError, UsageError
from hornbook.learn.chat import encode_conversation
from hornbook.model.weights import load_model
from hornbook.planning import machines
from hornbook.planning.base import Base, look_at
from hornbook.planning.data import GENERAL, UNCUT, Data, Encode, scorer, survey
from hornbook.planning.methods import Name
from hornbook.planning.plan import make
from hornbook.planning.recipes import write
from hornbook.planning.told import as_json, as_text, dumped
from hornbook.progress import say
from hornbook.report import render_plan
from hornbook.text import bpe
from hornbook.training.opening import open_words

MAKES = None
LARGEST_SCORED = 2_000_000_000
"""Parameters of a base that is loaded to see how well it predicts the data."""


@dataclass(frozen=True)
class Plan:
    """Say what to do with a model, data, a machine and hours: train, adapt, prompt or nothing.

    Memory is counted by rehearsing a step of training without numbers, from the shapes in `config.json` alone; time is
    by formula from measured or looked-up rates, or by a probe of some steps on this machine. The rules that decide are
    in `hornbook/planning/advice.py`.
    """

    data: Annotated[Path, Takes("")]
    """File, folder or run with what there is to learn from: documents, or conversations."""
    _: KW_ONLY
    base: Annotated[Path | None, Takes("model")] = None
    """Model to start from; its `config.json` is enough. Without one: a new model?"""
    gpu: str | None = None
    """GPU by name (T4, A100-80GB, RTX4090) or by its memory (24GB)."""
    machine: Literal["this"] = "this"
    """Where no GPU is named: this machine, as it is measured now."""
    machines: Path | None = None
    """TOML file of GPUs, over the table that comes with the package."""
    gpus: Count = 1
    """How many of them; with more than one, a table of what they reach together."""
    hours: Positive = 10.0
    """That may be spent on training."""
    length: Count | None = None
    """Tokens of a row (default: 1024 for documents, 512 for conversations, 256 for a new model)."""
    method: Name | None = None
    """Plan this way, whatever the rules say."""
    against: dict[str, Path] = field(default_factory=dict)
    """Evaluation sets by name: how many documents share a run of 13 words with one."""
    general: Path | None = None
    """Text file that is ordinary for the base, to compare with (default: some paragraphs of English)."""
    probe: Annotated[int, Bounds(least=0)] = 20
    """Steps that are timed on this machine, where they take under 90 seconds; 0 takes the formula's word."""
    write: Path | None = None
    """Write a recipe that does it, for `hornbook run`."""
    page: Path | None = None
    """Write the plan as a page."""
    json: bool = False
    """Print the plan as JSON."""

    def __post_init__(self) -> None:
        if self.gpus > 1 and self.gpu is None:
            raise UsageError("gpus counts GPUs, and none is named", hint="--gpu A100-80GB")


def plan(config: Plan) -> None:
    """Print what to do, and write it as a recipe and as a page where that is asked for."""
    machine = _machine(config)
    base = look_at(config.base) if config.base else None
    data = _survey(config, base)
    made = make(
        data,
        base,
        machine,
        hours=config.hours,
        length=config.length,
        method=config.method,
        probe_steps=config.probe,
        gpus=config.gpus,
    )
    told = dumped if config.json else as_text
    print(told(made, source=config.data))
    if config.page:
        config.page.write_text(render_plan(as_json(made, source=config.data)))
        say(f"page: {config.page}")
    # The last, since there is none where nothing is to be trained: the plan is told all the same.
    if config.write:
        write(made, config.write, source=config.data)
        say(f"recipe: {config.write}; make it with `hornbook run {config.write}`")


def _machine(config: Plan) -> machines.Machine:
    known = machines.table(config.machines)
    return machines.find(config.gpu, known) if config.gpu else machines.this()


def _survey(config: Plan, base: Base | None) -> Data:
    general = (config.general or GENERAL).read_text(errors="replace")
    score = None
    if base and base.has_weights and base.tokenizer and base.parameters <= LARGEST_SCORED:
        model = load_model(base.folder, dtype=torch.float32)
        score = scorer(model, base.tokenizer, separator=bpe.separator_id(base.tokenizer, base.folder))
    return survey(
        config.data,
        tokenizer=base.tokenizer if base else None,
        general=general,
        against=config.against,
        score=score,
        encode=_encoder(base) if base and base.tokenizer else None,
    )


def _encoder(base: Base) -> Encode | None:
    """A conversation as `sft` on the base will learn it; None where that would have no template to write it by."""
    words = open_words(base.folder)
    try:
        template = words.template
    except InputError as error:
        say(f"{error.message}, as `sft` needs: planned with ours ({error.hint})")
        return None
    return partial(
        encode_conversation, tokenizer=words.tokenizer, length=UNCUT, template=template, special=words.special
    )
