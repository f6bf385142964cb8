"""The projections of a model, and which of them a name means.

A projection is a module of a layer that computes W x + bias: `nn.Linear`, or one that holds W in fewer bits. What is
put on it calls it, and where it needs W reads `matrix`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.model.configuration import family_of
from hornbook.model.quantized import Quantized
from hornbook.model.transformer import Transformer

PRESETS = {"attention": "self_attn.", "all-linear": ""}
"""Targets that mean every projection of a layer whose path goes on so."""
KINDS: tuple[type[nn.Module], ...] = (nn.Linear, Quantized)

T = TypeVar("T")


def matrix(projection: nn.Module) -> Tensor:
    """W [out, in] of a projection, in floating point."""
    weight = projection.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def shape(projection: nn.Module) -> tuple[int, int]:
    """(out, in), without making W."""
    assert isinstance(projection, nn.Linear | Quantized)
    return projection.out_features, projection.in_features


def device(projection: nn.Module) -> torch.device:
    """Where W is."""
    assert isinstance(projection, nn.Linear | Quantized)
    return projection.device if isinstance(projection, Quantized) else projection.weight.device


def bias(projection: nn.Module) -> Tensor | None:
    """[out], or None."""
    found = projection.bias
    return found.detach() if isinstance(found, Tensor) else None


def projections(model: Transformer) -> dict[str, str]:
    """Our path of every projection of the layers -> the one of the model's family."""
    names = family_of(model.architecture).names
    paths = (n for n, m in model.named_modules() if isinstance(m, KINDS) and n.startswith("model.layers."))
    return {path: names.module(path) for path in paths}


def match(model: Transformer, targets: str | Sequence[str], *, method: str) -> list[str]:
    """Paths of the projections that `targets` mean, in the model's order.

    targets: presets, or names, each a projection or the end of its path, ours or the family's. Raises InputError, which
    names the option `method`, for one that matches nothing.
    """
    wanted = (targets,) if isinstance(targets, str) else tuple(targets)
    if not wanted:
        raise InputError(f"{method}: no targets named")
    paths = projections(model)
    for target in wanted:
        if not any(means(target, path, theirs) for path, theirs in paths.items()):
            kinds = dict.fromkeys(theirs.rpartition(".")[2] for theirs in paths.values())
            hint = f"known targets: {', '.join((*PRESETS, *kinds))}"
            raise InputError(f"{method}: target {target!r} matches no projection of the model", hint=hint)
    return [path for path, theirs in paths.items() if any(means(target, path, theirs) for target in wanted)]


def means(target: str, path: str, theirs: str) -> bool:
    """Whether a target is that projection: a preset, or the whole or the end of its path, ours or the family's."""
    if target in PRESETS:
        return path.split(".", 3)[3].startswith(PRESETS[target])
    return any(name == target or name.endswith("." + target) for name in (path, theirs))


def by_pattern(model: Transformer, names: Sequence[str], pattern: Mapping[str, T], default: T, *, key: str) -> list[T]:
    """A value for each of the projections: that of the first pattern that means it, else the default.

    A pattern is a regular expression for the path or its end, as in PEFT's `rank_pattern`. Raises InputError for one
    that means none of them.
    """
    theirs = projections(model)
    for expression in pattern:
        try:
            found = any(_ends(expression, path, theirs[path]) for path in names)
        except re.error as error:
            raise InputError(f"{key}: {expression!r} is not a regular expression: {error}") from error
        if not found:
            kinds = dict.fromkeys(theirs[path].rpartition(".")[2] for path in names)
            raise InputError(
                f"{key}: {expression!r} matches no adapted projection", hint=f"adapted are: {', '.join(kinds)}"
            )
    return [next((v for e, v in pattern.items() if _ends(e, path, theirs[path])), default) for path in names]


def _ends(expression: str, *paths: str) -> bool:
    return any(re.match(rf"(.*\.)?({expression})$", path) for path in paths)


def shortest(model: Transformer, paths: Sequence[str]) -> list[str]:
    """The shortest names, the family's, that mean exactly these projections: PEFT matches by the end of the path."""
    known = projections(model)
    kinds = sorted({known[path].rpartition(".")[2] for path in paths})
    return kinds if match(model, kinds, method="adapter") == list(paths) else [known[path] for path in paths]
