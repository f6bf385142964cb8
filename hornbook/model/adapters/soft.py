"""Prefix tuning and prompt tuning: what learns is a beginning that every document has, and no weight changes.

Prefix tuning learns the keys and values of P positions in every layer, directly or through an MLP (Li and Liang, arXiv
2101.00190, section 4). Prompt tuning learns P embeddings (Lester et al., arXiv 2104.08691, section 2). A prompt comes
first and sees nothing of what follows, so its keys and values are computed once for all documents of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.model.adapters.attached import Adapter, Part, begin
from hornbook.model.architecture import Architecture
from hornbook.model.beginning import Kept
from hornbook.model.transformer import Transformer, keyed_seed


class Starts(nn.ModuleDict):
    """The soft prompts of a model, by the name of their adapter: the one that is on is what documents begin with."""

    def forward(self, model: Transformer) -> Tensor | None:
        """[L, 2, K, P, C]."""
        on = (start for start in self.values() if isinstance(start, Part) and start.adapter.weight)
        return next((start(model) for start in on), None)


class Prompt(Part):
    """Embeddings [P, D] of a prompt; read by the model itself."""

    def __init__(self, adapter: Adapter, embeddings: Tensor) -> None:
        super().__init__(adapter)
        self.embeddings = nn.Parameter(embeddings)

    def forward(self, model: Transformer) -> Tensor:
        return read(model, self.embeddings)

    def table(self) -> Tensor:
        """[P, D]: what a file holds."""
        return self.embeddings


class Prefix(Part):
    """Keys and values [P, L 2 K C] of every layer: k of the first layer, its v, k of the second, and so on."""

    def __init__(self, adapter: Adapter, a: Architecture, embeddings: Tensor) -> None:
        super().__init__(adapter)
        self.shape = (a.num_hidden_layers, 2, a.num_key_value_heads, a.head_dim)
        self.embeddings = nn.Parameter(embeddings)

    def forward(self, model: Transformer) -> Tensor:
        table = self.table()
        return table.view(len(table), *self.shape).permute(1, 2, 3, 0, 4)

    def table(self) -> Tensor:
        """[P, L 2 K C]: what a file holds."""
        return self.embeddings


class ProjectedPrefix(Prefix):
    """A prefix that is learned through an MLP, which is not needed afterwards: W2 tanh(W1 embeddings)."""

    def __init__(self, adapter: Adapter, a: Architecture, embeddings: Tensor, *, hidden: int) -> None:
        super().__init__(adapter, a, embeddings)
        size = embeddings.shape[1]
        self.W1 = nn.Linear(size, hidden, device=embeddings.device)
        self.W2 = nn.Linear(hidden, 2 * a.num_hidden_layers * size, device=embeddings.device)

    def table(self) -> Tensor:
        table: Tensor = self.W2(self.W1(self.embeddings).tanh())
        return table


def read(model: Transformer, embeddings: Tensor) -> Tensor:
    """[P, D] -> the keys and values [L, 2, K, P, C] that the model computes for them as the first of a row."""
    length = len(embeddings)
    kept = Kept(layers=len(model.model.layers), length=length, device=embeddings.device)
    model.through(model.placed(embeddings[None], kept.positions(length)), past=kept)
    return kept.beginning()


def attach_prompt(model: Transformer, *, tokens: int, text: Sequence[int] = (), seed: int) -> None:
    """Freeze the model and put `tokens` embeddings before every document.

    text: token ids. The embeddings begin as those of the text, repeated or cut to that length; without one, as those of
    tokens drawn from the vocabulary.
    """
    put(model, Prompt(begin(model, "default", seed=seed), _drawn(model, tokens, text, seed)))


def attach_prefix(
    model: Transformer, *, tokens: int, text: Sequence[int] = (), hidden: int | None = None, seed: int
) -> None:
    """Freeze the model and put the keys and values of `tokens` positions before every document.

    text: token ids. They begin as what the model computes for the text, repeated or cut to that length, or for tokens
    drawn from the vocabulary (section 7.4). With an MLP of `hidden` units they begin as what that
    makes of normal numbers.
    """
    a, adapter = model.architecture, begin(model, "default", seed=seed)
    if hidden is None:
        with torch.no_grad():
            found = read(model, _drawn(model, tokens, text, seed))
        put(model, Prefix(adapter, a, found.permute(3, 0, 1, 2, 4).reshape(tokens, -1).contiguous()))
        return
    if text:
        raise InputError("prefix: with a hidden layer it cannot begin as a text", hint="give `text` or `hidden`")
    size = a.num_key_value_heads * a.head_dim
    prefix = ProjectedPrefix(adapter, a, model.head_weight.new_empty(tokens, size), hidden=hidden)
    for name, parameter in prefix.named_parameters():
        generator = torch.Generator().manual_seed(keyed_seed(seed, name))
        spread = 1.0 if name == "embeddings" else 0.0 if parameter.ndim == 1 else parameter.shape[1] ** -0.5
        parameter.data.copy_(torch.empty(parameter.shape).normal_(0, spread, generator=generator))
    put(model, prefix)


def put(model: Transformer, start: Prompt | Prefix) -> None:
    """Let documents begin with it."""
    if model.start is None:
        model.start = Starts()
    model.start.add_module(start.adapter.name, start)


def begun(model: Transformer) -> int:
    """Positions that a soft prompt takes before every document."""
    carried = [] if model.start is None else list(model.start.children())
    on = (len(start.embeddings) for start in carried if isinstance(start, Prompt | Prefix) and start.adapter.weight)
    return next(on, 0)


def _drawn(model: Transformer, tokens: int, text: Sequence[int], seed: int) -> Tensor:
    """[P, D]: embeddings of the text, or of tokens drawn from the vocabulary."""
    if tokens < 1:
        raise InputError(f"tokens = {tokens} must be at least 1")
    generator = torch.Generator().manual_seed(keyed_seed(seed, "soft prompt"))
    drawn = torch.randint(model.architecture.vocab_size, (tokens,), generator=generator)
    ids = torch.tensor([text[i % len(text)] for i in range(tokens)]) if text else drawn
    return model.scaled(model.model.embed_tokens(ids.to(model.head_weight.device))).detach().float()
