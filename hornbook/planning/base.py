"""What a base is, as far as a folder tells: its shape is enough, weights and tokenizer are used where they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from hornbook.model import cost
from hornbook.model.architecture import Architecture
from hornbook.model.configuration import from_config
from hornbook.model.contents import load_config
from hornbook.model.folder import INDEX, WEIGHTS
from hornbook.text import bpe


@dataclass(frozen=True, kw_only=True)
class Base:
    """A model folder."""

    folder: Path
    family: str
    architecture: Architecture
    tokenizer: Tokenizer | None
    has_weights: bool

    @property
    def parameters(self) -> int:
        return cost.parameters(self.architecture)


def look_at(folder: Path) -> Base:
    """Read `config.json`, and see what else there is.

    Raises:
        InputError: there is no config, its family is not known, or it says what cannot be computed.
    """
    config = load_config(folder)
    return Base(
        folder=folder,
        family=str(config.get("model_type")),
        architecture=from_config(config, where=str(folder / "config.json")),
        tokenizer=bpe.load(folder) if (folder / "tokenizer.json").is_file() else None,
        has_weights=any((folder / name).is_file() for name in (WEIGHTS, INDEX)),
    )
