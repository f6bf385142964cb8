"""An adapter and its base -> a plain model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from hornbook.config import Takes
from hornbook.errors import InputError, UsageError
from hornbook.judge.score import evaluating
from hornbook.manifest import Input
from hornbook.model.adapters.attached import switch
from hornbook.model.adapters.folder import CONFIG, kind_merges, load_adapter
from hornbook.model.adapters.merging import merge as merge_into
from hornbook.model.transformer import Transformer
from hornbook.run import Run
from hornbook.training.opening import base_of, open_model
from hornbook.training.saving import save

MAKES = "model"
FIRST = "default"
PROBE = 64
"""Tokens on which the model is compared with itself before."""


@dataclass(frozen=True)
class Merge:
    """Merge an adapter into its base: a plain model, which needs neither.

    Weights are added up in float64 and rounded once. Base and adapter stay as they are.
    """

    adapter: Annotated[Path, Takes("model")]
    """Run or folder of an adapter that changes weights: LoRA or (IA)3."""
    _: KW_ONLY
    weight: float = 1.0
    """How much of it is added."""
    also: Annotated[dict[str, Path], Takes("model")] = field(default_factory=dict)
    """Other LoRA adapters of the same base to add, by a name."""
    weights: dict[str, float] = field(default_factory=dict)
    """How much of those is added (default: 1)."""

    def __post_init__(self) -> None:
        for name in self.weights:
            if name not in self.also:
                raise UsageError(f"weights.{name}: there is no adapter of that name", hint=f"also.{name} = ...")


def merge(config: Merge, run: Run) -> None:
    first = run.input("adapter")
    check_adapter(first)
    opened = open_model(first, device=torch.device("cpu"), merged=False)
    for name, other in run.inputs("also").items():
        check_adapter(other)
        if base_of(other).contents != base_of(first).contents:
            raise InputError(f"{other.path} and {first.path} are adapters of different bases")
        load_adapter(opened.model, other.folder(), name=name)
    weights = {FIRST: config.weight, **{name: config.weights.get(name, 1.0) for name in config.also}}
    switch(opened.model, weights)
    told = merged(opened.model)
    run.result(**told)
    run.say(
        f"largest change of a weight: {told['change']:.3g}; it was rounded by at most {told['rounding']:.2g}, "
        f"which moves logits by at most {told['logits']:.2g}"
    )
    template = opened.folder / "chat_template.jinja"
    save(
        run,
        opened.model,
        tokenizer=opened.tokenizer,
        folder=opened.folder,
        template=template.read_text() if template.is_file() else None,
    )


def check_adapter(source: Input) -> None:
    """That a folder holds an adapter that is a change of weights.

    Raises:
        InputError: it does not.
    """
    folder = source.folder()
    if not (folder / CONFIG).is_file():
        raise InputError(f"{source.path} is no adapter: it has no {CONFIG}")
    if not kind_merges(folder):
        raise InputError(
            f"{source.path} is a soft prompt, no change of weights, and cannot be merged into them",
            hint="every command that takes a model takes it as it is",
        )


def merged(model: Transformer) -> Mapping[str, float]:
    """Merge, and say what that did: the largest change and rounding of a weight, and difference of a logit."""
    before = probe(model)
    found = merge_into(model)
    return {"change": found.change, "rounding": found.error, "logits": (probe(model) - before).abs().max().item()}


def probe(model: Transformer) -> Tensor:
    """Logits on tokens that are always the same."""
    length = min(PROBE, model.architecture.max_position_embeddings)
    tokens = torch.randint(model.architecture.vocab_size, (1, length), generator=torch.Generator().manual_seed(0))
    with evaluating(model):
        logits: Tensor = model(tokens)
    return logits
