"""Who computes the next token: a decoder begins rows with prompts, and rows go on a token at a time.

Any model decodes by its own forward pass and a cache (`PlainDecoder`), on any device. On a CPU, models that the kernels
of `compiled` know in full are decoded by those, several times as fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Protocol

import torch
from torch import Tensor, nn

from hornbook.model.adapters.attached import Part
from hornbook.model.architecture import Architecture
from hornbook.model.cache import Cache
from hornbook.model.compiled.decoder import CompiledDecoder
from hornbook.model.compiled.layer import EXPRESSED
from hornbook.model.compiled.panels import INT8, STORED, own_weight, updates_of
from hornbook.model.norms import LayerNorm, RMSNorm
from hornbook.model.quantized import Nf4Linear
from hornbook.model.transformer import Transformer


class Rows(Protocol):
    """Texts being decoded together."""

    def advance(self, tokens: Sequence[int]) -> Tensor:
        """One more token a row: logits [B, V] of the next."""

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, by their places in what `advance` returns."""


class Decoder(Protocol):
    """A model, ready to decode."""

    @property
    def architecture(self) -> Architecture: ...

    def begin(self, prompts: Sequence[Sequence[int]], *, capacity: int) -> tuple[Rows, Tensor]:
        """Rows that have seen the prompts, with room for `capacity` tokens each, and the logits [B, V] after them.

        Equal prompts are computed once.
        """

    def refresh(self) -> None:
        """See the model's weights as they are now; rows that were begun before are not to be gone on with."""


def decoder(model: Transformer) -> Decoder:
    """The fastest decoder for a model; later changes of its weights may not be seen before `refresh`."""
    return PlainDecoder(model) if why_plain(model) else CompiledDecoder(model)


def why_plain(model: Transformer) -> str:
    """What the kernels do not know of this model; empty: they know it all."""
    if model.head_weight.device.type != "cpu":
        return f"it is on {model.head_weight.device.type}"
    architecture = model.architecture
    unknown = (field for field in fields(architecture) if field.name not in EXPRESSED)
    if used := [field.name for field in unknown if getattr(architecture, field.name) != field.default]:
        return f"its {used[0]} = {getattr(architecture, used[0])!r}"
    for name, module in model.named_modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if own and not isinstance(module, PARTS):
            return f"{name} is a {type(module).__name__}"
        if isinstance(module, INT8) and updates_of(module):
            return f"{name} is in 8 bits with an adapter"
        if isinstance(module, PROJECTIONS) and own_weight(module).dtype not in STORED:
            return f"{name} is in {own_weight(module).dtype}"
    return ""


PROJECTIONS = (nn.Linear, nn.Embedding, Nf4Linear, *INT8)
PARTS = (*PROJECTIONS, RMSNorm, LayerNorm, Part)


class PlainDecoder:
    """The model's own forward pass."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self.architecture = model.architecture

    @torch.inference_mode()
    def begin(self, prompts: Sequence[Sequence[int]], *, capacity: int) -> tuple[PlainRows, Tensor]:
        """All different prompts at once, padded on the right."""
        model, device = self.model, self.model.head_weight.device
        places = {prompt: place for place, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
        lengths = torch.tensor([len(prompt) for prompt in places], device=device)
        width = int(lengths.max())
        tokens = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in places], device=device)
        cache = model.new_cache(rows=len(places), capacity=capacity)
        hidden = model.hidden(tokens, cache=cache)
        cache.resize(lengths)
        last = model.head(hidden[torch.arange(len(places), device=device), lengths - 1])
        same = torch.tensor([places[tuple(prompt)] for prompt in prompts], device=device)
        cache.select(same)
        return PlainRows(model, cache), last[same]

    def refresh(self) -> None:
        """Its weights are the model's own."""


class PlainRows:
    """A batch and its cache."""

    def __init__(self, model: Transformer, cache: Cache) -> None:
        self.model, self.cache = model, cache

    @torch.inference_mode()
    def advance(self, tokens: Sequence[int]) -> Tensor:
        batch = torch.tensor(tokens, device=self.cache.lengths.device)[:, None]
        return self.model.head(self.model.hidden(batch, cache=self.cache)[:, -1])

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> None:
        self.cache.select(torch.tensor(rows, device=self.cache.lengths.device))
