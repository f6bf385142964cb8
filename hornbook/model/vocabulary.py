"""A model for more tokens than it has learned: each new one begins as the mean of the pieces that it replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hornbook.model.transformer import Transformer

TABLES = ("model.embed_tokens.weight", "lm_head.weight")
"""Tensors with a row for each token."""


def extend(model: Transformer, pieces: Mapping[int, Sequence[int]]) -> Transformer:
    """The model with a row for each new token, in the embedding and in the head where that is not tied.

    A row is the mean of the rows of the token's pieces, which is better than chance from the first step on
    (Gee et al. 2022, "Fast Vocabulary Transfer"). Rows beyond the old vocabulary that a model has to spare are used.

    Args:
        pieces: new token id -> ids of the old tokens that spelt it.
    """
    size = max(model.architecture.vocab_size, max(pieces) + 1)
    tensors = model.state_dict()
    tensors |= {name: _more_rows(tensors[name], size, pieces) for name in TABLES if name in tensors}
    with torch.device("meta"):
        wider = Transformer(replace(model.architecture, vocab_size=size))
    wider.load_state_dict(tensors, assign=True)
    return wider


def _more_rows(table: Tensor, size: int, pieces: Mapping[int, Sequence[int]]) -> Tensor:
    """[V, D] -> [size, D]; rows that no token has are the mean of all."""
    wider = torch.cat([table, table.mean(0, keepdim=True).expand(size - len(table), -1)]).clone()
    for token, old in pieces.items():
        wider[token] = table[list(old)].mean(0)
    return wider
