"""What a model thinks of text: log-likelihoods of answers, bits per byte of documents. Nothing here learns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from hornbook.model.transformer import Transformer

POSITIONS, CPU_POSITIONS = 8192, 1024
"""Of one forward pass, padding included, on a GPU and on a CPU, which gains nothing by more: what a layer makes of
them should stay in its caches, and of rows that are computed together the shorter ones are padded."""
CHUNK = 1024
"""Positions whose logits exist at one time."""

Tokens = Sequence[int] | npt.NDArray[np.integer[npt.NBitBase]] | npt.NDArray[np.int64]
Sequences = Sequence[tuple[Tokens, Sequence[bool] | npt.NDArray[np.bool_]]]
"""Token ids, and which of them are scored (never the first, which nothing predicts)."""


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """log p of the scored tokens of a sequence given all before them, in nats, and how many they are."""

    nats: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Compression:
    """How well documents are predicted."""

    nats: float
    tokens: int
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        """Negative log2-likelihood per UTF-8 byte: comparable between tokenizers. NaN for no text."""
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan


def log_likelihoods(
    model: Transformer, sequences: Sequences, *, positions: int | None = None, autocast: torch.dtype | None = None
) -> list[LogLikelihood]:
    """One for each sequence, in their order; computed longest first, `positions` (or `at_once`) at a time."""
    found: dict[int, LogLikelihood] = {}
    with evaluating(model, autocast=autocast):
        lengths = [len(tokens) - 1 for tokens, _ in sequences]
        most = at_once(next(model.parameters()).device) if positions is None else positions
        for group in by_length(lengths, most):
            rows = [sequences[i] for i in group]
            found |= zip(group, _score(model, rows), strict=True)
    return [found[i] for i in range(len(sequences))]


def bits_per_byte(
    model: Transformer,
    documents: Iterable[tuple[Tokens, int]],
    *,
    separator: int,
    context: int,
    positions: int | None = None,
    autocast: torch.dtype | None = None,
) -> Compression:
    """Predict documents given as (token ids, UTF-8 bytes), the ids with or without the separator in front.

    Each is read as separator + document in windows of `context` positions that do not overlap: every token of the
    document is predicted exactly once, the separator never.
    """
    windows: list[tuple[Tokens, Sequence[bool]]] = []
    size = 0
    for tokens, length in documents:
        windows += list(_windows(tokens, separator, context))
        size += length
    scores = log_likelihoods(model, windows, positions=positions, autocast=autocast)
    return Compression(-math.fsum(s.nats for s in scores), sum(s.tokens for s in scores), size)


def at_once(device: torch.device) -> int:
    """Positions of a forward pass of an evaluation, padding included."""
    return CPU_POSITIONS if device.type == "cpu" else POSITIONS


@contextmanager
def evaluating(model: Transformer, *, autocast: torch.dtype | None = None) -> Iterator[None]:
    """No gradients, evaluation mode, and afterwards the mode it was in."""
    training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, autocast, enabled=autocast is not None):
            yield
    finally:
        model.train(training)


def _windows(tokens: Tokens, separator: int, context: int) -> Iterator[tuple[list[int], list[bool]]]:
    ids = [int(token) for token in tokens]
    ids = ids if ids[:1] == [separator] else [separator, *ids]
    for start in range(0, len(ids) - 1, context):
        window = ids[start : start + context + 1]
        yield window, [False] + [True] * (len(window) - 1)


def by_length(lengths: Sequence[int], positions: int) -> Iterator[list[int]]:
    """Indices in groups of at most `positions` padded positions (or one sequence), longest first."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    while order:
        size = max(1, positions // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


def _score(model: Transformer, rows: Sequences) -> list[LogLikelihood]:
    """Padding is on the right, where no scored token sees it."""
    device = next(model.parameters()).device
    width = max(len(tokens) for tokens, _ in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.int64)
    scored = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, (ids, mask) in enumerate(rows):
        tokens[row, : len(ids)] = torch.tensor(list(ids), dtype=torch.int64)
        scored[row, 1 : len(ids)] = torch.tensor(list(mask[1:]), dtype=torch.bool)
    if width < 2 or not scored.any():
        return [LogLikelihood(0.0, 0) for _ in rows]
    tokens, scored = tokens.to(device), scored.to(device)
    logs = _log_probabilities(model, model.hidden(tokens[:, :-1])[scored[:, 1:]], tokens[:, 1:][scored[:, 1:]])
    counts = scored[:, 1:].sum(1).tolist()
    return [LogLikelihood(float(part.sum()), len(part)) for part in torch.split(logs.cpu(), counts)]


def _log_probabilities(model: Transformer, hidden: Tensor, targets: Tensor) -> Tensor:
    """log p(target | hidden): [N, D], [N] -> float64[N]."""
    parts = []
    for h, y in zip(torch.split(hidden, CHUNK), torch.split(targets, CHUNK), strict=True):
        logits = model.head(h).float() if hidden.dtype != torch.float64 else model.head(h)
        parts.append(-F.cross_entropy(logits, y, reduction="none").double())
    return torch.cat(parts)
