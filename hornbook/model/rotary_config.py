"""The rotary settings of a `config.json`, in the form of transformers 4 (`rope_theta`, `rope_scaling`) and of 5
(`rope_parameters`, by type of layer or not).

The old form is written: transformers 5 reads both, older readers silently fall back to 10000 on the new one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hornbook.errors import InputError
from hornbook.model.architecture import Architecture
from hornbook.model.config_values import flag, number, numbers, whole
from hornbook.model.families import Family
from hornbook.model.rope import Linear, Llama3, LongRope, RopeScaling, Yarn

Config = Mapping[str, Any]

SCALINGS = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": (
        "factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "truncate",
    ),
    "longrope": (
        "short_factor", "long_factor", "factor", "attention_factor", "original_max_position_embeddings",
    ),
}  # fmt: skip
"""The ways of scaling that we compute, and the settings that each reads."""
ALWAYS = ("rope_type", "type", "rope_theta", "partial_rotary_factor")


def rotary_from_config(config: Config, family: Family, where: str, *, longest: int) -> dict[str, Any]:
    """The fields of Architecture that say how it rotates; `longest` is max_position_embeddings."""
    if "rope_theta" not in family.keys:
        return {}
    rope = settings(config, family, "full_attention", where)
    theta = number(rope, "rope_theta", where)
    fields: dict[str, Any] = {"rope_theta": theta, "rope_scaling": scaling(rope, config, where, longest=longest)}
    part = number(rope, "partial_rotary_factor", where, default=1.0)
    if "partial_rotary_factor" in family.keys:
        fields["partial_rotary_factor"] = part
    elif part != 1:
        raise InputError(f"{where}: partial_rotary_factor = {part!r} is not supported for {family.model_type}")
    if family.windows == "alternating":
        fields |= local(config, family, where, theta=theta, scaled=fields["rope_scaling"] is not None)
    return fields


def local(config: Config, family: Family, where: str, *, theta: float, scaled: bool) -> dict[str, float]:
    """`local_rope_theta`, where the sliding layers rotate otherwise than the others."""
    nested = config.get("rope_parameters")
    separate = family.model_type != "gemma2" or (isinstance(nested, Mapping) and "sliding_attention" in nested)
    if not separate:
        return {}
    rope = settings(config, family, "sliding_attention", where)
    if kind_of(rope, where) != "default":
        raise InputError(f"{where}: rope_type = {kind_of(rope, where)!r} is not supported for sliding layers")
    base = number(rope, "rope_theta", where)
    return {"local_rope_theta": base} if scaled or base != theta else {}


def settings(config: Config, family: Family, layer_type: str, where: str) -> dict[str, Any]:
    """The rotary settings of one type of layer in one dict, each from where it stands."""
    key = family.keys["rope_theta"]
    if layer_type == "sliding_attention":
        key = family.keys.get("local_rope_theta", key)
    part = family.keys.get("partial_rotary_factor", "partial_rotary_factor")
    top = {"rope_theta": config.get(key), "partial_rotary_factor": config.get(part)}
    nested = config.get("rope_parameters")
    if isinstance(nested, Mapping) and {"full_attention", "sliding_attention"} & nested.keys():
        nested = nested.get(layer_type)
    elif nested is None and layer_type == "full_attention":
        nested = config.get("rope_scaling")
    nested = nested or {}
    if not isinstance(nested, Mapping):
        raise InputError(f"{where}: rope_scaling = {nested!r} must be an object")
    return {name: value for name, value in top.items() if value is not None} | dict(nested)


def kind_of(rope: Config, where: str) -> str:
    """How frequencies are scaled. Raises InputError for ways and settings that we do not compute."""
    kind = rope.get("rope_type", rope.get("type", "default"))
    # What Phi-3 called it first.
    kind = "longrope" if kind == "su" else kind
    if not isinstance(kind, str) or kind not in SCALINGS:
        raise InputError(f"{where}: rope_type = {kind!r} is not supported", hint=f"supported: {', '.join(SCALINGS)}")
    for key, value in rope.items():
        if kind != "default" and value is not None and key not in (*ALWAYS, *SCALINGS[kind]):
            raise InputError(f"{where}: {key} = {value!r} is not supported for rope_type = {kind!r}")
    return kind


def scaling(rope: Config, config: Config, where: str, *, longest: int) -> RopeScaling | None:
    kind = kind_of(rope, where)
    if kind == "default":
        return None
    if kind == "linear":
        return Linear(factor=number(rope, "factor", where))
    before = "original_max_position_embeddings"
    original = whole({**rope, before: rope.get(before) or config.get(before) or longest}, before, where)
    if kind == "llama3":
        return Llama3(
            factor=number(rope, "factor", where),
            low_freq_factor=number(rope, "low_freq_factor", where),
            high_freq_factor=number(rope, "high_freq_factor", where),
            original_max_position_embeddings=original,
        )
    if kind == "yarn":
        return yarn(rope, where, original=original)
    return longrope(rope, where, original=original, longest=longest)


def yarn(rope: Config, where: str, *, original: int) -> Yarn:
    factor = number(rope, "factor", where)
    return Yarn(
        factor=factor,
        original_max_position_embeddings=original,
        attention_factor=number(rope, "attention_factor", where, default=0.1 * math.log(max(factor, 1)) + 1),
        beta_fast=number(rope, "beta_fast", where, default=32),
        beta_slow=number(rope, "beta_slow", where, default=1),
        truncate=flag(rope, "truncate", where, default=True),
    )


def longrope(rope: Config, where: str, *, original: int, longest: int) -> LongRope:
    growth = number(rope, "factor", where, default=longest / original)
    return LongRope(
        short_factor=numbers(rope, "short_factor", where),
        long_factor=numbers(rope, "long_factor", where),
        original_max_position_embeddings=original,
        attention_factor=number(rope, "attention_factor", where, default=natural_growth(growth, original)),
    )


def natural_growth(factor: float, original: int) -> float:
    """LongRoPE's attention factor, sqrt(1 + ln s / ln L) for s times the old context L."""
    return math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 < original else 1.0


def rotary_to_config(family: Family, a: Architecture) -> dict[str, Any]:
    if "rope_theta" not in family.keys:
        return {}
    scaled = scaling_to_config(a)
    config: dict[str, Any] = {family.keys["rope_theta"]: a.rope_theta, "rope_scaling": scaled}
    if "partial_rotary_factor" in family.keys:
        config[family.keys["partial_rotary_factor"]] = a.partial_rotary_factor
    if isinstance(a.rope_scaling, LongRope):
        config["original_max_position_embeddings"] = a.rope_scaling.original_max_position_embeddings
    base = a.rope_theta if a.local_rope_theta is None else a.local_rope_theta
    if "local_rope_theta" in family.keys:
        config[family.keys["local_rope_theta"]] = base
    elif family.windows == "alternating" and family.model_type != "gemma2":
        # transformers 5 takes the base of the old form for the full layers only.
        full = {"rope_type": "default", "rope_theta": a.rope_theta} | (scaled or {})
        config["rope_parameters"] = {
            "full_attention": full,
            "sliding_attention": {"rope_type": "default", "rope_theta": base},
        }
    return config


def scaling_to_config(a: Architecture) -> dict[str, Any] | None:
    found = a.rope_scaling
    if found is None:
        return None
    if not isinstance(found, LongRope):
        return {"rope_type": type(found).__name__.lower(), **vars(found)}
    # transformers 4 takes these three keys and no other; the rest follows from the sizes.
    config: dict[str, Any] = {"rope_type": "longrope", "type": "longrope"}
    config |= {"short_factor": list(found.short_factor), "long_factor": list(found.long_factor)}
    original = found.original_max_position_embeddings
    if found.attention_factor != natural_growth(a.max_position_embeddings / original, original):
        config["attention_factor"] = found.attention_factor
    return config
