"""Minimal pairs: is the acceptable sentence likelier than its unacceptable twin? BLiMP's format (arXiv 1912.00582)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch

from hornbook.errors import EmptyInput, InputError
from hornbook.judge.metrics import Accuracy, accuracy, preferred
from hornbook.judge.score import log_likelihoods
from hornbook.model.transformer import Transformer
from hornbook.text.files import open_bytes


@dataclass(frozen=True, slots=True)
class MinimalPair:
    good: str
    bad: str
    kind: str
    """BLiMP's UID, the grammatical phenomenon; "" where the row has none."""


@dataclass(frozen=True, slots=True)
class Result:
    overall: Accuracy
    by_kind: dict[str, Accuracy]


def read_pairs(path: Path) -> list[MinimalPair]:
    """JSONL (.gz, .zst) with `sentence_good`, `sentence_bad` and maybe `UID`. A bad row is an InputError naming it."""
    try:
        with open_bytes(path) as stream:
            lines = [(number, line) for number, line in enumerate(stream, 1) if line.strip()]
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not lines:
        raise EmptyInput(f"{path}: no rows")
    return [_pair(line, f"{path.name} row {number}") for number, line in lines]


def minimal_pairs(
    model: Transformer,
    pairs: Sequence[MinimalPair],
    *,
    encode: Callable[[str], list[int]],
    separator: int,
    autocast: torch.dtype | None = None,
) -> Result:
    """How often log p(good) > log p(bad), each a sentence after the separator; overall and by kind.

    Ties count half; BLiMP itself has rows whose two sentences are equal.
    """
    ids = [[separator, *encode(text)] for pair in pairs for text in (pair.good, pair.bad)]
    scores = log_likelihoods(model, [(row, [True] * len(row)) for row in ids], autocast=autocast)
    outcomes = [preferred(g.nats, b.nats) for g, b in zip(scores[0::2], scores[1::2], strict=True)]
    kinds = sorted({pair.kind for pair in pairs})
    return Result(
        accuracy(outcomes),
        {kind: accuracy(o for o, pair in zip(outcomes, pairs, strict=True) if pair.kind == kind) for kind in kinds},
    )


def _pair(line: bytes, where: str) -> MinimalPair:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: not an object", hint='a row is {"sentence_good": "...", "sentence_bad": "..."}')
    good, bad = (_sentence(row, key, where) for key in ("sentence_good", "sentence_bad"))
    return MinimalPair(good, bad, str(row.get("UID") or row.get("uid") or ""))


def _sentence(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        there = f"{key} = {value!r} is not a sentence" if key in row else f"no {key!r}"
        raise InputError(f"{where}: {there}", hint=f"its keys are: {', '.join(sorted(row))}")
    return value
