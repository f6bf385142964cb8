"""Tiny real models for the tests: ours, and the same in transformers."""

from __future__ import annotations

import copy
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
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 16}
LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.5], "long_factor": [1.0, 2.0, 3.0, 4.0],
        "original_max_position_embeddings": 16}  # fmt: skip
DEEP = {"num_hidden_layers": 4}
FULL, SLIDING = "full_attention", "sliding_attention"
ROWS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True, "head_dim": 16, "rms_norm_eps": 1e-5}),
    ("llama", {"rope_parameters": {**LLAMA3, "rope_theta": 500.0}}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1}),
    ("mistral", {"sliding_window": 5}),
    ("mistral", {"sliding_window": 50}),
    ("mistral", {"sliding_window": None}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    ("qwen2", {"rope_parameters": {**YARN, "rope_theta": 1000.0}}),
    ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    ("qwen3", {"head_dim": 16, "rope_parameters": {**YARN, "beta_fast": 16.0, "attention_factor": 1.2}}),
    ("gemma2", {**DEEP, "sliding_window": 5, "head_dim": 8, "query_pre_attn_scalar": 20}),
    ("gemma2", {"sliding_window": 50, "head_dim": 16, "final_logit_softcapping": None, "tie_word_embeddings": False}),
    ("gemma2", {"head_dim": 8, "attn_logit_softcapping": 2.0}),
    ("gemma3_text", {"num_hidden_layers": 7, "sliding_window": 5, "head_dim": 16}),
    ("gemma3_text", {"sliding_window": 5, "head_dim": 8, "tie_word_embeddings": False, "final_logit_softcapping": 3.0,
                     "layer_types": [FULL, SLIDING], "rope_parameters": {
                         FULL: {"rope_type": "linear", "factor": 8.0, "rope_theta": 500.0},
                         SLIDING: {"rope_type": "default", "rope_theta": 100.0}}}),
    ("olmo2", {}),
    ("olmo2", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    ("olmo3", {**DEEP, "sliding_window": 5}),
    ("olmo3", {**DEEP, "sliding_window": 50, "rope_parameters": {
        FULL: {**YARN, "attention_factor": 1.2}, SLIDING: {"rope_type": "default", "rope_theta": 1000.0}}}),
    ("phi3", {}),
    ("phi3", {"sliding_window": 5, "tie_word_embeddings": True, "num_key_value_heads": 4}),
    ("phi3", {"rope_parameters": LONG}),
    ("phi3", {"rope_parameters": {**LONG, "original_max_position_embeddings": 32}}),
    ("phi3", {"head_dim": 16, "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}),
    ("smollm3", {**DEEP, "tie_word_embeddings": False}),
    ("smollm3", {"no_rope_layers": [0, 1]}),
    ("gpt2", {}),
    ("gpt2", {"tie_word_embeddings": False, "n_inner": 48, "activation_function": "gelu"}),
    ("gpt_neox", {}),
    ("gpt_neox", {"use_parallel_residual": False, "tie_word_embeddings": True, "hidden_act": "gelu_fast"}),
    ("gpt_neox", {"attention_bias": False, "rotary_pct": 1.0, "rotary_emb_base": 100}),
]  # fmt: skip
"""One row a family and a setting; each buys all parity tests."""
GPT2_NAMES = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads",
              "n_positions": "max_position_embeddings"}  # fmt: skip


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
    {"norm_unit_offset": True, "post_norm": True, "scale_embeddings": True, "query_pre_attn_scalar": 20},
    {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
]
"""Every switch of the decoder; each row buys all tests of what must hold for any model."""


def row_name(row: tuple[str, dict[str, Any]]) -> str:
    return "-".join([row[0], *(f"{key}={str(value)[:30]}" for key, value in row[1].items())])


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

    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, **{**shape_of(kind), **ids, **copy.deepcopy(changes)})
    return enlarge(AutoModelForCausalLM.from_config(config, dtype=torch.float32)).eval()


def shape_of(kind: str) -> dict[str, Any]:
    """SHAPE in a family's keys."""
    if kind == "gpt2":
        return {"vocab_size": SHAPE["vocab_size"]} | {key: SHAPE[name] for key, name in GPT2_NAMES.items()}
    return {key: value for key, value in SHAPE.items() if (kind, key) != ("gpt_neox", "num_key_value_heads")}


def saved(kind: str, changes: dict[str, Any], folder: Path) -> Any:
    """`theirs`, saved into `folder` too."""
    made = theirs(kind, changes)
    made.save_pretrained(folder)
    return made


def tokens(rows: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(0, SHAPE["vocab_size"], (rows, length), generator=torch.Generator().manual_seed(seed))


def prompts(lengths: Sequence[int]) -> list[list[int]]:
    return [tokens(1, length, seed=length)[0].tolist() for length in lengths]
