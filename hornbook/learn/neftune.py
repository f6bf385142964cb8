"""Noise on the embeddings while a model learns to answer (NEFTune: Jain et al. 2023, arXiv 2310.05914)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hornbook.learn.batches import Batch
from hornbook.model.transformer import Transformer, keyed_seed

Loss = Callable[[Transformer, Batch], tuple[Tensor, Tensor]]


class NoisyEmbeddings:
    """Batches and a loss that belong together: the loss is computed with the noise of the step that was asked for.

    The noise of an example is a function of (seed, step, its id), so packing, micro-batches, processes and a kill in
    between leave it alone. Whoever computes another loss of the model, such as an evaluation, sees no noise.
    """

    def __init__(self, batches: Callable[[int], Sequence[Batch]], loss: Loss, *, alpha: float, seed: int) -> None:
        self._batches, self._loss, self._alpha, self._seed = batches, loss, alpha, seed
        self._step = 0

    def batches(self, step: int) -> Sequence[Batch]:
        self._step = step
        return self._batches(step)

    def loss(self, model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
        with added_to_embeddings(model, self._noise(batch, model.architecture.hidden_size)):
            return self._loss(model, batch)

    def _noise(self, batch: Batch, size: int) -> Tensor:
        """[B, T, D]: uniform in [-1, 1] times alpha / sqrt(L D), with L the positions of each example (algorithm 1)."""
        documents = batch.documents.flatten().cpu()
        noise = torch.zeros(len(documents), size)
        for number, name in enumerate(batch.document_ids):
            places = (documents == number).nonzero().flatten()
            generator = torch.Generator().manual_seed(keyed_seed(self._seed, f"neftune/{self._step}/{name}"))
            drawn = torch.rand(len(places), size, generator=generator) * 2 - 1
            noise[places] = drawn * (self._alpha / math.sqrt(len(places) * size))
        return noise.view(*batch.tokens.shape, size).to(batch.tokens.device)


@contextmanager
def added_to_embeddings(model: Transformer, noise: Tensor) -> Iterator[None]:
    """Within, what the model reads for its tokens is their embedding plus the noise, [B, T, D]."""

    def add(module: object, inputs: object, embedded: Tensor) -> Any:
        return embedded + noise.to(embedded.dtype)

    handle = model.model.embed_tokens.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
