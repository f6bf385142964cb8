"""Models that `hornbook classify` makes, of whatever kind, as filters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hornbook.errors import InputError
from hornbook.text import classifier as linear
from hornbook.text import perplexity as ngrams
from hornbook.text import stored

Model = linear.Classifier | ngrams.Perplexity


def load(folder: Path) -> Model:
    """The model in a folder.

    Raises:
        InputError: there is none, or it is damaged or of an unknown kind.
    """
    kind = stored.kind_of(folder)
    if kind == linear.KIND:
        return linear.load(folder)
    if kind == ngrams.KIND:
        return ngrams.load(folder)
    raise InputError(f"{folder / stored.CONFIG}: kind is {kind!r}", hint=f"there are: {linear.KIND}, {ngrams.KIND}")


def filter_of(model: Model) -> Callable[..., str | None]:
    """The filter `(document, *, options)` that asks a model; the options are those of the model's `judge`."""
    return model.judge
