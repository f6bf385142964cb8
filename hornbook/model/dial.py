"""The shape of a new model from one dial, its depth."""

from __future__ import annotations

from hornbook.model.architecture import Architecture

HEAD = 64
"""Channels of a head, and of width for each layer: as many heads as layers."""


def shape(depth: int, *, vocabulary: int, length: int) -> Architecture:
    """Width 64 depth, heads of 64, an MLP of 8/3 the width (as many weights as one of 4 without a gate, arXiv
    2002.05202), query and key normalized (arXiv 2010.04245), a head of its own: a Qwen3 of every size."""
    width = HEAD * depth
    return Architecture(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=-(-8 * width // 3 // HEAD) * HEAD,
        num_hidden_layers=depth,
        num_attention_heads=depth,
        num_key_value_heads=depth,
        head_dim=HEAD,
        qk_norm=True,
        tie_word_embeddings=False,
        max_position_embeddings=max(2048, length),
    )
