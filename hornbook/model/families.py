"""Model families: what Hugging Face's `config.json` calls them, and what of the decoder they use.

A family is a frozen value; a new one is one more value in FAMILIES and one more row in its table test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hornbook.errors import InputError
from hornbook.model import names
from hornbook.model.names import WeightNames

Windows = Literal["none", "everywhere", "switched", "alternating"]
"""Where a family's config puts the sliding window: nowhere, on all layers, on those after a switch, on all but every
n-th."""

SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "max_position_embeddings": "max_position_embeddings",
    "tie_word_embeddings": "tie_word_embeddings",
}
LLAMA_KEYS = {
    **SIZES,
    "num_key_value_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "norm_eps": "rms_norm_eps",
    "activation": "hidden_act",
    "rope_theta": "rope_theta",
}
BIASES = {"attention_bias": "attention_bias", "output_bias": "attention_bias"}
GEMMA_KEYS = {
    **LLAMA_KEYS,
    **BIASES,
    "activation": "hidden_activation",
    "query_pre_attn_scalar": "query_pre_attn_scalar",
    "final_logit_softcapping": "final_logit_softcapping",
}
LLAMA_DEFAULTS = {"rms_norm_eps": 1e-6, "hidden_act": "silu", "max_position_embeddings": 2048, "rope_theta": 10000.0}
GEMMA_DEFAULTS = {
    "tie_word_embeddings": True,
    "head_dim": 256,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}
GEMMA_PARTS = {"norm_unit_offset": True, "post_norm": True, "scale_embeddings": True}
FUSED_LAYER_NORM = {"norm": "layer", "gated_mlp": False, "mlp_bias": True, "fused_projections": True}


@dataclass(frozen=True, kw_only=True)
class Family:
    """One `model_type`: its config's keys, and the parts of the decoder that it switches on."""

    model_type: str
    class_name: str
    """The class in transformers, for `architectures`."""
    models: str
    """Whose it is, in words."""
    keys: Mapping[str, str] = field(default_factory=lambda: LLAMA_KEYS)
    """Fields of Architecture that the config tells -> its keys."""
    parts: Mapping[str, Any] = field(default_factory=dict)
    """Fields of Architecture that are so in every model of the family."""
    defaults: Mapping[str, Any] = field(default_factory=lambda: LLAMA_DEFAULTS)
    """What a key that the config leaves out stands for."""
    names: WeightNames = names.LLAMA
    windows: Windows = "none"
    full_every: int = 0
    """Of alternating layers, every n-th sees everything."""
    refused: Mapping[str, Any] = field(default_factory=dict)
    """Keys that would change what the network computes -> the one value besides null that we understand."""

    @property
    def classifier_name(self) -> str:
        """The class in transformers that gives scores instead of logits, for `architectures` of a reward model."""
        stem = self.class_name.removesuffix("ForCausalLM").removesuffix("LMHeadModel")
        return f"{stem}{'Text' if self.model_type.endswith('_text') else ''}ForSequenceClassification"


LLAMA = Family(
    model_type="llama",
    class_name="LlamaForCausalLM",
    models="Llama 2, 3; SmolLM, SmolLM2",
    keys={**LLAMA_KEYS, **BIASES, "mlp_bias": "mlp_bias"},
)
MISTRAL = Family(
    model_type="mistral",
    class_name="MistralForCausalLM",
    models="Mistral",
    windows="everywhere",
    defaults={**LLAMA_DEFAULTS, "num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096},
)
QWEN2 = Family(
    model_type="qwen2",
    class_name="Qwen2ForCausalLM",
    models="Qwen2, Qwen2.5",
    parts={"attention_bias": True},
    windows="switched",
    defaults={
        **LLAMA_DEFAULTS,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
        "sliding_window": 4096,
        "max_window_layers": 28,
    },
)
QWEN3 = Family(
    model_type="qwen3",
    class_name="Qwen3ForCausalLM",
    models="Qwen3; what `pretrain` makes",
    keys={**LLAMA_KEYS, **BIASES},
    parts={"qk_norm": True},
    windows="switched",
    defaults={**QWEN2.defaults, "head_dim": 128},
)
GEMMA2 = Family(
    model_type="gemma2",
    class_name="Gemma2ForCausalLM",
    models="Gemma 2",
    keys={**GEMMA_KEYS, "attn_logit_softcapping": "attn_logit_softcapping"},
    parts=GEMMA_PARTS,
    defaults={
        **GEMMA_DEFAULTS,
        "max_position_embeddings": 8192,
        "rope_theta": 10000.0,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    names=names.POST_NORMS,
    windows="alternating",
    full_every=2,
    refused={"use_bidirectional_attention": False},
)
GEMMA3 = Family(
    model_type="gemma3_text",
    class_name="Gemma3ForCausalLM",
    models="Gemma 3, text only",
    keys={**GEMMA_KEYS, "local_rope_theta": "rope_local_base_freq"},
    parts={**GEMMA_PARTS, "qk_norm": True},
    defaults={
        **GEMMA_DEFAULTS,
        "max_position_embeddings": 131072,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "sliding_window_pattern": 6,
    },
    names=names.POST_NORMS,
    windows="alternating",
    full_every=6,
    # transformers takes the cap of scores, and does not compute it.
    refused={"use_bidirectional_attention": False, "attn_logit_softcapping": None},
)
OLMO_PARTS = {"qk_norm": True, "qk_norm_across_heads": True, "pre_norm": False, "post_norm": True}
OLMO2 = Family(
    model_type="olmo2",
    class_name="Olmo2ForCausalLM",
    models="OLMo 2",
    keys={**LLAMA_KEYS, **BIASES},
    parts=OLMO_PARTS,
    defaults={**LLAMA_DEFAULTS, "rms_norm_eps": 1e-5},
    names=names.POST_NORMS,
)
OLMO3 = Family(
    model_type="olmo3",
    class_name="Olmo3ForCausalLM",
    models="OLMo 3",
    keys={**LLAMA_KEYS, **BIASES},
    parts=OLMO_PARTS,
    defaults={**LLAMA_DEFAULTS, "rms_norm_eps": 1e-5, "rope_theta": 5e5, "sliding_window": 4096},
    names=names.POST_NORMS,
    windows="alternating",
    full_every=4,
)
PHI3 = Family(
    model_type="phi3",
    class_name="Phi3ForCausalLM",
    models="Phi-3, Phi-3.5, Phi-4",
    keys={**LLAMA_KEYS, "partial_rotary_factor": "partial_rotary_factor"},
    parts={"fused_projections": True},
    defaults={**LLAMA_DEFAULTS, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096},
    windows="everywhere",
)
SMOLLM3 = Family(
    model_type="smollm3",
    class_name="SmolLM3ForCausalLM",
    models="SmolLM3",
    keys={**LLAMA_KEYS, **BIASES, "mlp_bias": "mlp_bias", "nope_layers": "no_rope_layers"},
    defaults={
        **LLAMA_DEFAULTS,
        "tie_word_embeddings": True,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "rope_theta": 2e6,
        "no_rope_layer_interval": 4,
    },
    refused={"use_sliding_window": False},
)
GPT2 = Family(
    model_type="gpt2",
    class_name="GPT2LMHeadModel",
    models="GPT-2",
    keys={
        "vocab_size": "vocab_size",
        "hidden_size": "n_embd",
        "intermediate_size": "n_inner",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "max_position_embeddings": "n_positions",
        "tie_word_embeddings": "tie_word_embeddings",
        "norm_eps": "layer_norm_epsilon",
        "activation": "activation_function",
    },
    parts={**FUSED_LAYER_NORM, "learned_positions": True, "attention_bias": True, "output_bias": True},
    defaults={
        "tie_word_embeddings": True,
        "n_positions": 1024,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
    },
    names=names.GPT2,
    refused={
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
)
GPT_NEOX = Family(
    model_type="gpt_neox",
    class_name="GPTNeoXForCausalLM",
    models="GPT-NeoX, Pythia",
    keys={
        **SIZES,
        **BIASES,
        "norm_eps": "layer_norm_eps",
        "activation": "hidden_act",
        "parallel_residual": "use_parallel_residual",
        "rope_theta": "rotary_emb_base",
        "partial_rotary_factor": "rotary_pct",
    },
    parts=FUSED_LAYER_NORM,
    defaults={
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu",
        "attention_bias": True,
        "use_parallel_residual": True,
        "rotary_emb_base": 10000.0,
        "rotary_pct": 0.25,
    },
    names=names.GPT_NEOX,
)
FAMILIES = {
    family.model_type: family
    for family in (
        LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA2, GEMMA3, OLMO2, OLMO3, PHI3, SMOLLM3, GPT2, GPT_NEOX,
    )
}  # fmt: skip


def family_named(model_type: object, where: str) -> Family:
    """Raises InputError that lists the known families."""
    if isinstance(model_type, str) and model_type in FAMILIES:
        return FAMILIES[model_type]
    known = ", ".join(FAMILIES)
    raise InputError(f"{where}: model_type = {model_type!r} is not a family we know", hint=f"known families: {known}")
