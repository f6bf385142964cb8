"""What a model of some shape costs, without making one."""

from __future__ import annotations

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
    """Parameters without the embedding and the head: the N of Kaplan's scaling laws (arXiv 2001.08361)."""
    named = shapes(architecture).items()
    return sum(shape.numel() for name, shape in named if not name.startswith(("model.embed_tokens", "lm_head")))


def training_flops(architecture: Architecture, *, length: int) -> int:
    """Floating-point operations to train on one token of rows of `length`: 6 N + 12 layers heads head_dim length.

    N: parameters of matrix products: the head counts, the embedding does not (PaLM, arXiv 2204.02311, appendix B).
    """
    head = architecture.vocab_size * architecture.hidden_size
    attention = architecture.num_hidden_layers * architecture.num_attention_heads * architecture.head_dim * length
    return 6 * (non_embedding_parameters(architecture) + head) + 12 * attention
