"""What a model of some shape costs, without making one."""

from __future__ import annotations

from functools import cache

import torch

from hornbook.model.architecture import Architecture
from hornbook.model.transformer import Transformer


def shapes(architecture: Architecture) -> dict[str, torch.Size]:
    """The shape of every parameter, by name."""
    with torch.device("meta"):
        return {name: parameter.shape for name, parameter in Transformer(architecture).named_parameters()}


def parameters(architecture: Architecture) -> int:
    """All parameters; a tied head counts once."""
    return sum(shape.numel() for shape in shapes(architecture).values())


def non_embedding_parameters(architecture: Architecture) -> int:
    """Parameters without the embeddings and the head: the N of Kaplan's scaling laws (arXiv 2001.08361)."""
    named = shapes(architecture).items()
    return sum(shape.numel() for name, shape in named if not name.startswith(("model.embed_", "lm_head")))


@cache
def training_flops(architecture: Architecture, *, length: int) -> int:
    """Floating-point operations to train on one token of rows of `length`: three times those of the forward pass.

    6 N + 12 heads head_dim keys, over layers (PaLM, arXiv 2204.02311, appendix B).
    """
    return 3 * forward_flops(architecture, length=length)


def forward_flops(architecture: Architecture, *, length: int) -> int:
    """Floating-point operations to compute one token in rows of `length`: 2 N + 4 heads head_dim keys, over layers.

    N: numbers in matrices; the head counts, embeddings do not. keys: `length`, though a causal mask hides half of them,
    or the window of a layer that has a shorter one.
    """
    named = shapes(architecture).items()
    layers = sum(shape.numel() for name, shape in named if name.startswith("model.layers.") and len(shape) == 2)
    head = architecture.vocab_size * architecture.hidden_size
    return 2 * (layers + head) + attention_flops(architecture, length=length)


def attention_flops(architecture: Architecture, *, length: int) -> int:
    """Of one token's scores and mixtures in all layers: 4 heads head_dim keys each."""
    kinds = (architecture.kind(layer) for layer in range(architecture.num_hidden_layers))
    keys = sum(min(length, architecture.window(kind) or length) for kind in kinds)
    return 4 * architecture.num_attention_heads * architecture.head_dim * keys
