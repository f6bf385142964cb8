"""Parity with transformers, one row a family and setting."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from hornbook.errors import InputError
from hornbook.model.cache import Cache
from hornbook.model.configuration import WHOLE, family_of, from_config, to_config, understood
from hornbook.model.families import FAMILIES
from hornbook.model.sample import complete
from hornbook.model.weights import load_model, save_model
from tests.model import tiny

transformers = pytest.importorskip("transformers")

CONFIG = {**tiny.SHAPE, "model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "head_dim": 8}
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "hidden_act": None, "head_dim": None,
        "rms_norm_eps": None, "rope_theta": None, "num_key_value_heads": None, "hidden_size": None,
        "intermediate_size": None, "num_hidden_layers": None, "num_attention_heads": None,
        "max_position_embeddings": None}  # fmt: skip
LLAMA3 = tiny.LLAMA3


@pytest.mark.parametrize("row", tiny.ROWS, ids=tiny.row_name)
def test_theirs_loads_here_and_ours_there(row: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    """Equal logits both ways and from the cache, nothing missing and nothing unexpected, equal greedy completions."""
    theirs = tiny.saved(*row, tmp_path / "theirs")
    rows = tiny.tokens(2, 24)
    ours = load_model(tmp_path / "theirs")
    with torch.no_grad():
        torch.testing.assert_close(ours(rows), theirs(rows).logits, atol=1e-4, rtol=1e-4)
    cache = Cache(layers=len(ours.kinds), rows=2, capacity=24)
    with torch.no_grad():
        cached = torch.cat([ours(piece, cache=cache) for piece in rows.split((11, 1, 12), 1)], 1)
    torch.testing.assert_close(cached, ours(rows), atol=1e-4, rtol=1e-4)
    save_model(tmp_path / "ours", ours, bos=0, eos=[0])
    again, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values())
    with torch.no_grad():
        torch.testing.assert_close(again(rows).logits, theirs(rows).logits, atol=1e-4, rtol=1e-4)
    reference = again.generate(rows[:1, :9], max_new_tokens=10, do_sample=False)[0, 9:].tolist()
    assert complete(ours, [rows[0, :9].tolist()], max_new_tokens=10, stop=frozenset({0})) == [reference]


@pytest.mark.parametrize("row", tiny.ROWS, ids=tiny.row_name)
def test_config_round_trip(row: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model(row[0], **{**tiny.shape_of(row[0]), **copy.deepcopy(row[1])}).to_dict()
    architecture = from_config(config)
    assert from_config(to_config(architecture)) == architecture


def test_transformers_4_form_of_the_rotary_settings() -> None:
    llama3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    old = from_config({**CONFIG, "rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **llama3}})
    new = {key: value for key, value in CONFIG.items() if key != "rope_theta"}
    new |= {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **llama3}}
    assert old == from_config(new)
    assert old.rope_scaling is not None


def test_olmo_3_in_the_form_of_transformers_4_rotates_all_layers_alike() -> None:
    config = {**CONFIG, "model_type": "olmo3", "rope_theta": 777.0, "sliding_window": 8}
    architecture = from_config(config)
    assert (architecture.rope_theta, architecture.local_rope_theta) == (777.0, None)
    theirs = transformers.AutoConfig.for_model(**to_config(architecture))
    assert {part["rope_theta"] for part in theirs.rope_parameters.values()} == {777.0}


def test_every_family_is_known_by_its_name() -> None:
    assert all(name == family.model_type for name, family in FAMILIES.items())
    assert {row[0] for row in tiny.ROWS} == set(FAMILIES)
    assert family_of(tiny.architecture(qk_norm=True)).model_type == "qwen3"


NOT_COMPUTED = {
    "_name_or_path", "_sliding_window_pattern", "architectures", "attention_dropout", "attn_pdrop", "bos_token_id",
    "chunk_size_feed_forward", "classifier_dropout", "dtype", "embd_pdrop", "eos_token_id", "hidden_dropout",
    "id2label", "initializer_range", "is_decoder", "is_encoder_decoder", "label2id", "model_type",
    "output_attentions", "output_hidden_states", "pad_token_id", "pretraining_tp", "problem_type",
    "reorder_and_upcast_attn", "resid_pdrop", "return_dict", "summary_activation", "summary_first_dropout",
    "summary_proj_to_labels", "summary_type", "summary_use_proj", "transformers_version", "use_cache",
}  # fmt: skip
"""Keys that say nothing of logits in evaluation mode, or (pretraining_tp, reorder) only of the order of sums;
`_sliding_window_pattern` stands beside the `layer_types` that follow from it."""


@pytest.mark.parametrize("name", FAMILIES)
def test_every_key_of_transformers_is_understood_refused_or_not_computed(name: str) -> None:
    """A key that a later transformers computes with fails here, before it is ignored silently."""
    keys = transformers.AutoConfig.for_model(name).to_dict().keys()
    assert not keys - understood(FAMILIES[name]) - FAMILIES[name].refused.keys() - NOT_COMPUTED


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_config_leaves_out_stands_for_what_it_does_in_transformers(name: str) -> None:
    config = transformers.AutoConfig.for_model(name).to_dict()
    required = {"model_type", *(FAMILIES[name].keys[size] for size in (*WHOLE, "intermediate_size"))}
    sparse = {key: value for key, value in config.items() if key in required}
    sparse.pop("max_position_embeddings", sparse.pop("n_positions", None))
    assert from_config(sparse) == from_config(config)


def test_no_family_for_a_shape() -> None:
    with pytest.raises(InputError, match=r"no model family has all of .*parallel_residual = True, qk_norm = True$"):
        family_of(tiny.architecture(qk_norm=True, parallel_residual=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "model_type = 'mamba' is not a family we know"),
        ({"model_type": None}, "model_type = None is not a family"),
        ({"model_type": ["llama"]}, "is not a family we know"),
        ({"hidden_act": "xielu"}, "hidden_act = 'xielu' is not supported"),
        ({"mlp_bias": "no"}, "mlp_bias = 'no' must be true or false"),
        ({"model_type": "qwen3", "mlp_bias": True}, "mlp_bias = True is not supported for qwen3"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping = 50.0 is not supported for llama"),
        ({"model_type": "gemma3_text", "attn_logit_softcapping": 50.0}, "attn_logit_softcapping = 50.0 is not sup"),
        ({"model_type": "gemma2", "use_bidirectional_attention": True}, "use_bidirectional_attention = True is not"),
        ({**GPT2, "scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True is not supported"),
        ({**GPT2, "scale_attn_weights": False, "add_cross_attention": True}, "add_cross_attention = True is not"),
        ({"no_rope_layers": [1, 0]}, r"no_rope_layers = \[1, 0\] is not supported for llama"),
        ({"model_type": "smollm3", "no_rope_layers": [1, 2]}, r"no_rope_layers = \[1, 2\] must be 2 times 0 or 1"),
        ({"model_type": "smollm3", "use_sliding_window": True}, "use_sliding_window = True is not supported for smol"),
        ({"model_type": "olmo3", "layer_types": ["full_attention", "linear_attention"]}, "has 'linear_attention'"),
        ({"model_type": "olmo3", "layer_types": ["sliding_attention"]}, "must name each of 2 layers"),
        ({"model_type": "olmo3", "layer_types": "full_attention"}, "layer_types = 'full_attention' must name each"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5 is not supported for llama"),
        ({"rope_theta": 0.5}, "rope_theta = 0.5 must be above 1"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "rope_type = 'dynamic' is not supported"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0, "mscale": 0.7}}, "mscale = 0.7 is not supported for rope_ty"),
        ({"rope_scaling": {**LLAMA3, "high_freq_factor": 1.0}}, "high_freq_factor = 1.0 must be above low_freq_factor"),
        ({"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}, "must hold 4 numbers"),
        ({"rope_scaling": {"type": "su", "short_factor": ["1"]}}, r"short_factor = \['1'\] must be a list of numbers"),
        ({"model_type": "olmo3", "rope_parameters": {"sliding_attention": {"type": "linear", "factor": 2.0}}},
         "rope_type = 'linear' is not supported for sliding layers"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "has no factor"),
        ({"rope_scaling": "linear"}, "rope_scaling = 'linear' must be an object"),
        ({"hidden_size": "32"}, "hidden_size = '32' must be a whole number"),
        ({"hidden_size": None}, "hidden_size = None must be a whole number"),
        ({"num_hidden_layers": True}, "num_hidden_layers = True must be a whole number"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps = -1.0 must be a number above 0"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps = nan must be a number above 0"),
        ({"rope_theta": 10**400}, "must be a number above 0, below 1e30"),
        ({"hidden_size": 10**30}, "must be at least 1, at most 16777216"),
        ({"num_attention_heads": 2**14, "head_dim": 2**14}, r"num_attention_heads \* head_dim must be at most"),
        ({"model_type": "mistral", "sliding_window": 0}, "sliding_window = 0 must be at least 1"),
        ({"num_attention_heads": 0}, "num_attention_heads = 0 must be at least 1"),
    ],
)  # fmt: skip
def test_configs_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_config({**CONFIG, **changes})


def test_what_a_config_lacks_is_named_with_a_hint() -> None:
    with pytest.raises(InputError, match="has no hidden_size") as caught:
        from_config({key: value for key, value in CONFIG.items() if key != "hidden_size"}, where="config.json")
    assert "save_pretrained" in str(caught.value.hint)


def test_unknown_family_lists_the_known() -> None:
    with pytest.raises(InputError) as caught:
        from_config({"model_type": "bert"})
    assert caught.value.hint == f"known families: {', '.join(FAMILIES)}"
    assert "gpt_neox" in caught.value.hint
