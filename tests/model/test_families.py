"""Parity with transformers, one row a family and setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hornbook.errors import InputError
from hornbook.model.families import FAMILIES, family_of, from_config, to_config
from hornbook.model.sample import complete
from hornbook.model.weights import load_model, save_model
from tests.model import tiny

transformers = pytest.importorskip("transformers")

CONFIG = {**tiny.SHAPE, "model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "head_dim": 8}


@pytest.mark.parametrize("row", tiny.ROWS, ids=tiny.row_name)
def test_theirs_loads_here_and_ours_there(row: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    """Equal logits both ways, nothing missing and nothing unexpected, and equal greedy completions."""
    theirs = tiny.saved(*row, tmp_path / "theirs")
    rows = tiny.tokens(2, 24)
    ours = load_model(tmp_path / "theirs")
    with torch.no_grad():
        torch.testing.assert_close(ours(rows), theirs(rows).logits, atol=1e-4, rtol=1e-4)
    save_model(tmp_path / "ours", ours, bos=0, eos=[0])
    again, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values())
    with torch.no_grad():
        torch.testing.assert_close(again(rows).logits, theirs(rows).logits, atol=1e-4, rtol=1e-4)
    reference = again.generate(rows[:1, :9], max_new_tokens=10, do_sample=False)[0, 9:].tolist()
    assert complete(ours, [rows[0, :9].tolist()], max_new_tokens=10, stop=frozenset({0})) == [reference]


@pytest.mark.parametrize("row", tiny.ROWS, ids=tiny.row_name)
def test_config_round_trip(row: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model(row[0], **{**tiny.SHAPE, **row[1]}).to_dict()
    architecture = from_config(config)
    assert from_config(to_config(architecture)) == architecture


def test_transformers_4_form_of_the_rotary_settings() -> None:
    llama3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    old = from_config({**CONFIG, "rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **llama3}})
    new = {key: value for key, value in CONFIG.items() if key != "rope_theta"}
    new |= {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **llama3}}
    assert old == from_config(new)
    assert old.rope_scaling is not None


def test_every_family_is_known_by_its_name() -> None:
    assert all(name == family.model_type for name, family in FAMILIES.items())
    assert family_of(tiny.architecture(qk_norm=True)).model_type == "qwen3"


def test_no_family_for_a_shape() -> None:
    with pytest.raises(InputError, match="no model family has qk_norm = True, attention_bias = True"):
        family_of(tiny.architecture(qk_norm=True, attention_bias=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt_neox"}, "model_type = 'gpt_neox' is not a family we know"),
        ({"model_type": None}, "model_type = None is not a family"),
        ({"model_type": ["llama"]}, "is not a family we know"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu' is not supported"),
        ({"mlp_bias": True}, "mlp_bias = True is not supported"),
        ({"attention_bias": True}, "attention_bias = True is not supported"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_type = 'yarn' is not supported"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "factor = None must be a number above 0"),
        ({"rope_scaling": "linear"}, "rope_type = 'linear' is not supported"),
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
)
def test_configs_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_config({**CONFIG, **changes})


def test_unknown_family_lists_the_known() -> None:
    with pytest.raises(InputError) as caught:
        from_config({"model_type": "bert"})
    assert caught.value.hint == "known families: llama, mistral, qwen2, qwen3"
