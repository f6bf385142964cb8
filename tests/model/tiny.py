"""Tiny real models for the tests: ours, and the same in transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hornbook.model.architecture import Architecture
from hornbook.model.transformer import Transformer

SHAPE: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
ROWS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True, "head_dim": 16, "rms_norm_eps": 1e-5}),
    ("llama", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16}}),
    ("mistral", {"sliding_window": 5}),
    ("mistral", {"sliding_window": None}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}}),
    ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
]  # fmt: skip
"""One row a family and a setting; each buys all parity tests."""


SWITCHES: list[dict[str, Any]] = [
    {},
    {"qk_norm": True},
    {"qk_norm": True, "qk_norm_across_heads": True, "pre_norm": False, "post_norm": True},
    {"attention_bias": True, "tie_word_embeddings": False},
    {"attention_bias": True, "output_bias": True, "mlp_bias": True},
    {"sliding_window": 4},
    {"sliding_window": 3, "layer_types": ("sliding_attention", "full_attention"), "local_rope_theta": 100.0},
    {"sliding_window": 50, "layer_types": ("full_attention", "sliding_attention")},
    {"nope_layers": (1,)},
    {"norm": "layer", "learned_positions": True, "gated_mlp": False, "activation": "gelu_tanh"},
    {"norm": "layer", "parallel_residual": True, "partial_rotary_factor": 0.5, "activation": "gelu"},
    {"fused_projections": True, "attention_bias": True},
    {"fused_projections": True, "gated_mlp": False},
    {"norm_unit_offset": True, "post_norm": True, "scale_embeddings": True, "query_pre_attn_scalar": 20.0},
    {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
]
"""Every switch of the decoder; each row buys all tests of what must hold for any model."""


def row_name(row: tuple[str, dict[str, Any]]) -> str:
    return "-".join([row[0], *row[1]])


def architecture(**changes: Any) -> Architecture:
    return Architecture(**{**SHAPE, "head_dim": 8, **changes})


def model(**changes: Any) -> Transformer:
    """A random model with weights large enough that attention is far from uniform."""
    made = Transformer(architecture(**changes)).initialize(1)
    return enlarge(made)


def enlarge(made: Any, seed: int = 3) -> Any:
    """Replace every parameter by larger random numbers, biases and norms too."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.15 + (parameter.ndim == 1) * 0.5)
    return made


def theirs(kind: str, changes: dict[str, Any]) -> Any:
    """A tiny random transformers model in float32, in evaluation mode."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(kind, **{**SHAPE, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, **changes})
    return enlarge(AutoModelForCausalLM.from_config(config, dtype=torch.float32)).eval()


def saved(kind: str, changes: dict[str, Any], folder: Path) -> Any:
    """`theirs`, saved into `folder` too."""
    made = theirs(kind, changes)
    made.save_pretrained(folder)
    return made


def tokens(rows: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(0, SHAPE["vocab_size"], (rows, length), generator=torch.Generator().manual_seed(seed))


def prompts(lengths: Sequence[int]) -> list[list[int]]:
    return [tokens(1, length, seed=length)[0].tolist() for length in lengths]
