"""`config.json` to Architecture and back, by the keys of its family.

A config is foreign input: every value is checked, and what would change the computation otherwise is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from hornbook.errors import InputError
from hornbook.model.architecture import LARGEST, Activation, Architecture, LayerType
from hornbook.model.config_values import flag, number, whole
from hornbook.model.families import FAMILIES, Family, family_named
from hornbook.model.rotary_config import rotary_from_config, rotary_to_config

Config = Mapping[str, Any]

ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
WHOLE = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
FLAGS = ("tie_word_embeddings", "attention_bias", "output_bias", "mlp_bias", "parallel_residual")
NUMBERS = ("norm_eps",)
NUMBERS_OR_NONE = ("final_logit_softcapping", "attn_logit_softcapping")
NEUTRAL = {"partial_rotary_factor": 1.0, "rotary_pct": 1.0}
"""Keys of one family that another's config may hold with these values, which change nothing there."""


def family_of(architecture: Architecture) -> Family:
    """The first family whose config describes `architecture` exactly. Raises InputError where none does."""
    for family in FAMILIES.values():
        if describes(family, architecture):
            return family
    switches = [f"{name} = {value!r}" for name, value in vars(architecture).items() if value != PLAIN.get(name, value)]
    raise InputError(
        f"no model family has all of {', '.join(switches)}",
        hint=f"known families: {', '.join(FAMILIES)}",
    )


PLAIN = {field.name: field.default for field in fields(Architecture) if field.default is not MISSING}
"""Switches as they are where nobody sets them."""


def describes(family: Family, architecture: Architecture) -> bool:
    """Whether the family's config, read back, is the architecture."""
    if any(getattr(architecture, name) != value for name, value in family.parts.items()):
        return False
    try:
        return from_config(write(family, architecture)) == architecture
    except InputError:
        return False


def to_config(architecture: Architecture) -> dict[str, Any]:
    """The `config.json` that transformers 4 and 5 read."""
    return write(family_of(architecture), architecture)


def write(family: Family, a: Architecture) -> dict[str, Any]:
    """The config in a family's keys; what it cannot say is left out."""
    derived = ("intermediate_size", "num_key_value_heads", "head_dim", "query_pre_attn_scalar")
    plain = (*WHOLE, *derived, *FLAGS, *NUMBERS, *NUMBERS_OR_NONE)
    config = {family.keys[name]: getattr(a, name) for name in plain if name in family.keys}
    config[family.keys["activation"]] = activation_name(family, a.activation)
    config |= {"model_type": family.model_type, "architectures": [family.class_name]}
    if "nope_layers" in family.keys:
        config[family.keys["nope_layers"]] = [int(i not in a.nope_layers) for i in range(a.num_hidden_layers)]
    return config | windows_to_config(family, a) | rotary_to_config(family, a)


def activation_name(family: Family, activation: Activation) -> str:
    """The family's own name of the activation, where it has one of several."""
    default = str(family.defaults.get(family.keys["activation"]))
    if ACTIVATIONS.get(default) == activation:
        return default
    return next(name for name, meant in reversed(ACTIVATIONS.items()) if meant == activation)


def windows_to_config(family: Family, a: Architecture) -> dict[str, Any]:
    if family.windows == "none":
        return {}
    if family.windows == "everywhere":
        return {"sliding_window": a.sliding_window if a.layer_types is None else None}
    sliding = [a.kind(layer).sliding for layer in range(a.num_hidden_layers)]
    config: dict[str, Any] = {
        "sliding_window": a.sliding_window,
        "layer_types": ["sliding_attention" if slides else "full_attention" for slides in sliding],
    }
    if family.windows == "switched":
        # For readers that know no layer_types: the windows begin after the full layers.
        config |= {"use_sliding_window": any(sliding), "max_window_layers": sliding.index(True) if any(sliding) else 0}
    return config


def from_config(config: Config, *, where: str = "config.json") -> Architecture:
    """The Architecture of a `config.json`. Raises InputError naming a key that is not as it should be."""
    family = family_named(config.get("model_type"), where)
    refuse(config, family, where)
    config = {**family.defaults, **config}
    sizes = {name: whole(config, family.keys[name], where) for name in WHOLE}
    layers = sizes["num_hidden_layers"]
    values: dict[str, Any] = {**sizes, **shape_of(config, family, where, sizes)}
    values |= {name: flag(config, family.keys[name], where) for name in FLAGS if name in family.keys}
    values |= {name: number(config, family.keys[name], where) for name in NUMBERS}
    if "query_pre_attn_scalar" in family.keys:
        values["query_pre_attn_scalar"] = whole(config, family.keys["query_pre_attn_scalar"], where)
    for name in NUMBERS_OR_NONE:
        if name in family.keys and config.get(family.keys[name]) is not None:
            values[name] = number(config, family.keys[name], where)
    values |= windows_from_config(config, family, where, layers=layers)
    values |= nope_from_config(config, family, where, layers=layers)
    values["activation"] = activation_of(config, family, where)
    values |= rotary_from_config(config, family, where, longest=sizes["max_position_embeddings"])
    return Architecture(**{**values, **family.parts})


def shape_of(config: Config, family: Family, where: str, sizes: Mapping[str, int]) -> dict[str, int]:
    """Sizes that follow from others where the config does not tell them."""
    hidden, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    derived = {
        "intermediate_size": 4 * hidden if family.model_type == "gpt2" else None,
        "num_key_value_heads": heads,
        "head_dim": hidden // max(heads, 1),
    }
    return {name: whole(config, family.keys.get(name, name), where, default=size) for name, size in derived.items()}


def refuse(config: Config, family: Family, where: str) -> None:
    """Raise on settings that this decoder would silently compute differently."""
    if (told := config.get("quantization_config")) is not None:
        method = told.get("quant_method") if isinstance(told, Mapping) else told
        if method != "bitsandbytes":
            hint = "supported: 'bitsandbytes'"
            raise InputError(f"{where}: quantization_config: quant_method = {method!r} is not supported", hint=hint)
    for key in KNOWN - understood(family):
        value = config.get(key)
        if value not in (None, False, family.refused.get(key), NEUTRAL.get(key)):
            raise InputError(f"{where}: {key} = {value!r} is not supported for {family.model_type}")


def understood(family: Family) -> frozenset[str]:
    """Keys of a family's config that change what is computed, and that we compute."""
    by_windows = {
        "none": (),
        "everywhere": ("sliding_window",),
        "switched": ("sliding_window", "use_sliding_window", "max_window_layers", "layer_types"),
        "alternating": ("sliding_window", "sliding_window_pattern", "layer_types"),
    }[family.windows]
    rotary = ("rope_theta", "rope_scaling", "rope_parameters") if "rope_theta" in family.keys else ()
    nope = (
        ("no_rope_layer_interval", "layer_types", "sliding_window", "max_window_layers")
        if "nope_layers" in family.keys
        else ()
    )
    # Gemma's files have the activation under two names, of which transformers reads one.
    doubled = ("hidden_act",) if family.keys["activation"] == "hidden_activation" else ()
    always = ("head_dim", "original_max_position_embeddings")
    return frozenset({*family.keys.values(), *by_windows, *rotary, *nope, *doubled, *always})


KNOWN = frozenset(key for family in FAMILIES.values() for key in (*understood(family), *family.refused))
"""Every key that changes what some family computes."""


def activation_of(config: Config, family: Family, where: str) -> Activation:
    key = family.keys["activation"]
    value = config.get(key, "")
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise InputError(f"{where}: {key} = {value!r} is not supported", hint=f"supported: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[value]


def windows_from_config(config: Config, family: Family, where: str, *, layers: int) -> dict[str, Any]:
    """`sliding_window` and `layer_types`, in one form: no window where no layer has it, no types where all have."""
    on = family.windows != "switched" or flag(config, "use_sliding_window", where)
    if family.windows == "none" or not on or config.get("sliding_window") is None:
        return {}
    window = whole(config, "sliding_window", where)
    types = types_of(config, family, where, layers=layers)
    if "sliding_attention" not in types:
        return {}
    return {"sliding_window": window, "layer_types": types if "full_attention" in types else None}


def types_of(config: Config, family: Family, where: str, *, layers: int) -> tuple[LayerType, ...]:
    """Each layer's type, as the config lists them or by the family's pattern."""
    if family.windows == "everywhere":
        return ("sliding_attention",)
    listed = config.get("layer_types")
    if listed is not None:
        return listed_types(listed, where, layers=layers)
    if layers > LARGEST:
        return ("sliding_attention",)
    if family.windows == "switched":
        first = whole(config, "max_window_layers", where)
        return tuple("sliding_attention" if i >= first else "full_attention" for i in range(layers))
    every = whole(config, "sliding_window_pattern", where, default=family.full_every)
    return tuple("full_attention" if every and (i + 1) % every == 0 else "sliding_attention" for i in range(layers))


def listed_types(listed: object, where: str, *, layers: int) -> tuple[LayerType, ...]:
    if not isinstance(listed, list) or len(listed) != layers:
        raise InputError(f"{where}: layer_types = {listed!r} must name each of {layers} layers")
    for kind in listed:
        if kind not in ("full_attention", "sliding_attention"):
            hint = "supported: 'full_attention', 'sliding_attention'"
            raise InputError(f"{where}: layer_types has {kind!r}, which is not supported", hint=hint)
    return tuple(listed)


def nope_from_config(config: Config, family: Family, where: str, *, layers: int) -> dict[str, Any]:
    """Layers whose flag in `no_rope_layers` is 0 (sic), or every n-th."""
    if "nope_layers" not in family.keys or layers > LARGEST:
        return {}
    listed = config.get("no_rope_layers")
    if listed is None:
        every = max(1, whole(config, "no_rope_layer_interval", where))
        return {"nope_layers": tuple(range(every - 1, layers, every))}
    if not isinstance(listed, list) or len(listed) != layers or any(value not in (0, 1) for value in listed):
        raise InputError(f"{where}: no_rope_layers = {listed!r} must be {layers} times 0 or 1")
    return {"nope_layers": tuple(i for i, rotates in enumerate(listed) if not rotates)}
