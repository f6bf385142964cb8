"""Opening a model: a run, a Hugging Face folder, or an adapter on its base."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from tokenizers import Tokenizer

from hornbook.errors import InputError, UsageError
from hornbook.learn.chat import SPECIAL, TEMPLATE
from hornbook.manifest import Input
from hornbook.model.adapters.folder import CONFIG, load_adapter
from hornbook.model.adapters.merging import merge, mergeable
from hornbook.model.adapters.soft import begun
from hornbook.model.bnb import Kind
from hornbook.model.folder import read_json
from hornbook.model.quantizing import quantize as put_into
from hornbook.model.transformer import Transformer
from hornbook.model.weights import generation_ends, load_model
from hornbook.text import bpe

QUANTIZED = "base_quantized"
"""Result of a run whose adapter learned on its base in few bits: the kind."""


@dataclass(frozen=True)
class Words:
    """What a model reads and writes: its tokenizer and chat template, and the folder that they came from."""

    tokenizer: Tokenizer
    folder: Path
    special: dict[str, str]

    @cached_property
    def template(self) -> str:
        """The chat template: the folder's own, else ours.

        Raises:
            InputError: there is none, and the tokenizer lacks the tokens that ours writes.
        """
        own = own_template(self.folder)
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
        return frozenset({self.separator, *generation_ends(self.folder), *(end for end in ends if end is not None)})


@dataclass(frozen=True)
class Opened(Words):
    """A model with the tokenizer and template that belong to it."""

    model: Transformer


def open_model(source: Input, *, device: torch.device, merged: bool = True, quantize: Kind | None = None) -> Opened:
    """The model of a run or of a Hugging Face folder; an adapter is put on its base, and `merged` if it can be.

    An adapter that learned on its base in few bits is put on that again, unless it is opened to be merged elsewhere.
    quantize: put its projections into few bits, as they are read where no adapter is in the way.
    """
    folder = source.folder()
    if (folder / CONFIG).is_file():
        learned_on = source.manifest.results.get(QUANTIZED) if source.manifest and merged else None
        model = open_model(base_of(source), device=device, quantize=learned_on).model
        load_adapter(model, folder)
        if merged and mergeable(model):
            merge(model)
        if quantize is not None and learned_on is None:
            put_into(model, quantize)
    else:
        model = load_model(folder, quantize=quantize).to(device)
    return opened_with(model.to(device), folder)


def opened_with(model: Transformer, folder: Path) -> Opened:
    """A model with the tokenizer and template of a folder."""
    return Opened(model=model, **vars(open_words(folder)))


def open_words(folder: Path) -> Words:
    """The tokenizer and template of a folder."""
    config = bpe.read_config(folder)
    special = SPECIAL if config is None else bpe.named_tokens(config)
    return Words(tokenizer=bpe.load(folder), folder=folder, special=special)


def own_template(folder: Path) -> str | None:
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
    named = str(read_json(source.file(CONFIG)).get("base_model_name_or_path") or "")
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


def check_length(model: Transformer, length: int, *, option: str = "length", before: int = 0) -> None:
    """That rows of `length` tokens have a place in the model, with what `before` them a soft prompt takes.

    Raises:
        UsageError: they have not.
    """
    most, before = model.architecture.max_position_embeddings, before + begun(model)
    if length + before > most:
        taken = f" and the {before} of the soft prompt are" if before else " is"
        hint = f"{option} = {most - before}" if most > before else "a shorter soft prompt"
        raise UsageError(f"{option} = {length}{taken} more than the model's {most} positions", hint=hint)
