"""What published models say of themselves: the keys of their `config.json` that give their shape, and their parameters.

Counts are those of transformers for the same config.
"""

from __future__ import annotations

from typing import Any

LLAMA_31 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}  # fmt: skip
OLMO3_YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192, "beta_fast": 32.0,
              "beta_slow": 1.0, "attention_factor": 1.2079441541679836}  # fmt: skip


def shape(model_type: str, hidden: int, intermediate: int, layers: int, heads: int, groups: int | None, vocabulary: int,
          **more: Any) -> dict[str, Any]:  # fmt: skip
    config = {
        "model_type": model_type,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "vocab_size": vocabulary,
    }
    return {**config, **({} if groups is None else {"num_key_value_heads": groups}), **more}


PUBLISHED: dict[str, tuple[dict[str, Any], int]] = {
    "gpt2": (
        {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257},
        124_439_808,
    ),
    "pythia-70m": (
        shape("gpt_neox", 512, 2048, 6, 8, None, 50304, rotary_pct=0.25, rotary_emb_base=10000,
              use_parallel_residual=True, tie_word_embeddings=False),
        70_426_624,
    ),
    "Llama-2-7b": (shape("llama", 4096, 11008, 32, 32, 32, 32000, rms_norm_eps=1e-5), 6_738_415_616),
    "Llama-3.2-1B": (
        shape("llama", 2048, 8192, 16, 32, 8, 128256, head_dim=64, rope_theta=500000.0, tie_word_embeddings=True,
              rope_scaling={**LLAMA_31, "factor": 32.0}),
        1_235_814_400,
    ),
    "SmolLM2-135M": (shape("llama", 576, 1536, 30, 9, 3, 49152, tie_word_embeddings=True), 134_515_008),
    "Mistral-7B-v0.1": (shape("mistral", 4096, 14336, 32, 32, 8, 32000, sliding_window=4096), 7_241_732_096),
    "Qwen2.5-0.5B": (
        shape("qwen2", 896, 4864, 24, 14, 2, 151936, tie_word_embeddings=True, use_sliding_window=False,
              sliding_window=32768, max_window_layers=24, rope_theta=1000000.0),
        494_032_768,
    ),
    "Qwen3-0.6B": (
        shape("qwen3", 1024, 3072, 28, 16, 8, 151936, head_dim=128, tie_word_embeddings=True, attention_bias=False,
              rope_theta=1000000, use_sliding_window=False, sliding_window=None, max_window_layers=28),
        596_049_920,
    ),
    "gemma-2-2b": (
        shape("gemma2", 2304, 9216, 26, 8, 4, 256000, head_dim=256, hidden_act="gelu_pytorch_tanh",
              hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=256, sliding_window=4096,
              attn_logit_softcapping=50.0, final_logit_softcapping=30.0, cache_implementation="hybrid"),
        2_614_341_888,
    ),
    "gemma-3-1b": (
        shape("gemma3_text", 1152, 6912, 26, 4, 1, 262144, head_dim=256, query_pre_attn_scalar=256, sliding_window=512,
              sliding_window_pattern=6, rope_theta=1000000, rope_local_base_freq=10000, rope_scaling=None,
              attn_logit_softcapping=None, final_logit_softcapping=None),
        999_885_952,
    ),
    "OLMo-2-1B": (shape("olmo2", 2048, 8192, 16, 16, 16, 100352, rope_theta=500000), 1_484_916_736),
    "Olmo-3-7B": (
        shape("olmo3", 4096, 11008, 32, 32, 32, 100278, rope_theta=500000, sliding_window=4096, rope_scaling=OLMO3_YARN,
              max_position_embeddings=65536),
        7_298_011_136,
    ),
    "Phi-3-mini-4k": (
        shape("phi3", 3072, 8192, 32, 32, 32, 32064, sliding_window=2047, original_max_position_embeddings=4096,
              rope_scaling=None, embd_pdrop=0.0, resid_pdrop=0.0),
        3_821_079_552,
    ),
    "SmolLM3-3B": (
        shape("smollm3", 2048, 11008, 36, 16, 4, 128256, rope_theta=5000000.0, no_rope_layer_interval=4,
              use_sliding_window=False, sliding_window=None, max_window_layers=28),
        3_075_098_624,
    ),
}  # fmt: skip
