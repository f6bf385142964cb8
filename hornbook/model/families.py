"""Model families: what Hugging Face's `config.json` calls them, and what of the decoder they use.

A family is a frozen value; a new one is one more value in FAMILIES and one more row in its table test. The families
here name their weights as the decoder does, so no family needs a name map yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hornbook.errors import InputError
from hornbook.model.architecture import Architecture
from hornbook.model.rope import Llama3, RopeScaling

Config = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One `model_type` and the parts of the decoder that it switches on."""

    model_type: str
    class_name: str
    """The class in transformers, for `architectures`."""
    qk_norm: bool = False
    attention_bias: bool = False
    sliding_window: bool = False
    """Whether `sliding_window` means anything in this family's config."""
    head_dim: int | None = None
    """Head size where the config names none; None: hidden_size / num_attention_heads."""

    def expresses(self, architecture: Architecture) -> bool:
        """Whether a config of this family can describe `architecture`."""
        windows = self.sliding_window or architecture.sliding_window is None
        switches = (architecture.qk_norm, architecture.attention_bias)
        square = architecture.head_dim * architecture.num_attention_heads == architecture.hidden_size
        return windows and switches == (self.qk_norm, self.attention_bias) and (square or self is not QWEN2)


LLAMA = Family(model_type="llama", class_name="LlamaForCausalLM")
MISTRAL = Family(model_type="mistral", class_name="MistralForCausalLM", sliding_window=True)
QWEN2 = Family(model_type="qwen2", class_name="Qwen2ForCausalLM", attention_bias=True)
QWEN3 = Family(model_type="qwen3", class_name="Qwen3ForCausalLM", qk_norm=True, head_dim=128)
FAMILIES = {family.model_type: family for family in (LLAMA, MISTRAL, QWEN2, QWEN3)}

COPIED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rope_theta",
    "tie_word_embeddings",
)
REFUSED = ("mlp_bias", "attention_bias", "use_sliding_window", "quantization_config")
"""Keys that would change what the network computes; only null and false are understood."""


def family_of(architecture: Architecture) -> Family:
    """The first family whose config can describe `architecture`. Raises InputError where none can."""
    for family in FAMILIES.values():
        if family.expresses(architecture):
            return family
    raise InputError(
        f"no model family has qk_norm = {architecture.qk_norm}, attention_bias = {architecture.attention_bias}, "
        f"sliding_window = {architecture.sliding_window}, head_dim = {architecture.head_dim} together"
    )


def to_config(architecture: Architecture) -> dict[str, Any]:
    """The `config.json` that transformers 4 and 5 read.

    The rotary base is written in the old form (`rope_theta`, `rope_scaling`): transformers 5 reads both forms, older
    readers silently fall back to 10000 on the new one.
    """
    family = family_of(architecture)
    config = {name: getattr(architecture, name) for name in COPIED}
    config |= {"model_type": family.model_type, "architectures": [family.class_name], "hidden_act": "silu"}
    config |= {"rms_norm_eps": architecture.norm_eps}
    config |= {"rope_scaling": scaling_to_config(architecture.rope_scaling)}
    if family.sliding_window:
        config["sliding_window"] = architecture.sliding_window
    return config


def scaling_to_config(scaling: RopeScaling | None) -> dict[str, Any] | None:
    return None if scaling is None else {"rope_type": "llama3", **vars(scaling)}


def from_config(config: Config, *, where: str = "config.json") -> Architecture:
    """The Architecture of a `config.json`. Raises InputError naming a key that is not as it should be."""
    family = family_named(config.get("model_type"), where)
    refuse(config, where)
    rope = rope_of(config)
    heads = whole(config, "num_attention_heads", where)
    hidden = whole(config, "hidden_size", where)
    return Architecture(
        vocab_size=whole(config, "vocab_size", where),
        hidden_size=hidden,
        intermediate_size=whole(config, "intermediate_size", where),
        num_hidden_layers=whole(config, "num_hidden_layers", where),
        num_attention_heads=heads,
        num_key_value_heads=whole(config, "num_key_value_heads", where, default=heads),
        head_dim=whole(config, "head_dim", where, default=family.head_dim or hidden // max(heads, 1)),
        max_position_embeddings=whole(config, "max_position_embeddings", where, default=2048),
        norm_eps=number(config, "rms_norm_eps", where, default=1e-6),
        rope_theta=number(rope, "rope_theta", where, default=10000.0),
        rope_scaling=scaling_from_config(rope, where),
        tie_word_embeddings=config.get("tie_word_embeddings") is True,
        qk_norm=family.qk_norm,
        attention_bias=family.attention_bias,
        sliding_window=window_of(config, family, where),
    )


def family_named(model_type: object, where: str) -> Family:
    if isinstance(model_type, str) and model_type in FAMILIES:
        return FAMILIES[model_type]
    known = ", ".join(FAMILIES)
    raise InputError(f"{where}: model_type = {model_type!r} is not a family we know", hint=f"known families: {known}")


def refuse(config: Config, where: str) -> None:
    """Raise on settings that this decoder would silently compute differently."""
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        raise InputError(f"{where}: hidden_act = {config['hidden_act']!r} is not supported", hint="supported: 'silu'")
    for key in REFUSED:
        if config.get(key):
            raise InputError(f"{where}: {key} = {config[key]!r} is not supported for this family")


def window_of(config: Config, family: Family, where: str) -> int | None:
    present = family.sliding_window and config.get("sliding_window") is not None
    return whole(config, "sliding_window", where) if present else None


def rope_of(config: Config) -> dict[str, Any]:
    """The rotary settings in one dict: transformers 5's `rope_parameters`, else `rope_scaling` beside `rope_theta`."""
    nested = config.get("rope_parameters") or config.get("rope_scaling") or {}
    top = {"rope_theta": config["rope_theta"]} if config.get("rope_theta") is not None else {}
    return top | (dict(nested) if isinstance(nested, Mapping) else {"rope_type": nested})


def scaling_from_config(rope: Config, where: str) -> Llama3 | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise InputError(f"{where}: partial_rotary_factor = {rope['partial_rotary_factor']!r} is not supported")
    if kind == "default":
        return None
    if kind != "llama3":
        raise InputError(f"{where}: rope_type = {kind!r} is not supported", hint="supported: 'default', 'llama3'")
    return Llama3(
        factor=number(rope, "factor", where),
        low_freq_factor=number(rope, "low_freq_factor", where),
        high_freq_factor=number(rope, "high_freq_factor", where),
        original_max_position_embeddings=whole(rope, "original_max_position_embeddings", where),
    )


def whole(config: Config, key: str, where: str, *, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{where}: {key} = {value!r} must be a whole number")
    return value


def number(config: Config, key: str, where: str, *, default: float | None = None) -> float:
    value = config.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
        raise InputError(f"{where}: {key} = {value!r} must be a number above 0, below 1e30")
    return float(value)
