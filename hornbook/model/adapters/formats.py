"""What each kind of adapter is in PEFT's folder: the keys of its config, and the names and the layout of its tensors.

A tensor of a projection is called as the model's family calls that (`...attn.c_attn.lora_A.weight`), behind a prefix.
The name of the adapter itself is in no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from hornbook.errors import InputError
from hornbook.model.adapters import ia3, lora, soft
from hornbook.model.adapters.attached import Part, begin
from hornbook.model.adapters.initial import fill as fill_factors
from hornbook.model.adapters.lora import LowRank, Settings
from hornbook.model.adapters.projections import PRESETS, match, matrix, projections, shortest
from hornbook.model.adapters.soft import Prefix, Prompt
from hornbook.model.configuration import family_of
from hornbook.model.transformer import Transformer

PREFIX = "base_model.model."
OTHERWISE = ("exclude_modules", "layers_to_transform", "layers_pattern")
"""Keys by which PEFT takes some targets out again: what the adapter adapts is then what its file holds."""
SAVED_WHOLE = ("modules_to_save",)
BASE_KEPT = ("gaussian", "eva", "orthogonal", "mica", "pissa")
"""Ways in which PEFT initializes LoRA that leave the base as it is, and one whose change of it we can make too."""
Config = Mapping[str, Any]


class Format(Protocol):
    """A kind of adapter in PEFT's folder."""

    @property
    def peft_type(self) -> str: ...

    @property
    def kinds(self) -> tuple[type[Part], ...]: ...

    def refused(self, model: Transformer) -> Sequence[str]:
        """Keys of the config that, where they are set, make the adapter compute something else than we do."""

    def config(self, model: Transformer, parts: Sequence[Any]) -> dict[str, Any]:
        """Keys of the config."""

    def tensors(self, model: Transformer, parts: Sequence[Any]) -> dict[str, Tensor]:
        """The tensors of the file, of these parts of one adapter."""

    def put(self, model: Transformer, config: Config, held: Sequence[str], *, where: Path, name: str) -> list[Any]:
        """Put the parts of the adapter on the model, not yet filled. held: names of the file's tensors."""

    def fill(self, model: Transformer, parts: Sequence[Any], config: Config, tensors: Mapping[str, Tensor]) -> None:
        """Fill the parts with the file's tensors, which have the right shapes."""


class LoraFormat:
    peft_type = "LORA"
    kinds = (LowRank,)

    def refused(self, model: Transformer) -> Sequence[str]:
        keys = ("lora_bias", "trainable_token_indices", "target_parameters", "alora_invocation_tokens",
                "layer_replication", *SAVED_WHOLE)  # fmt: skip
        return keys if family_of(model.architecture).names.turned else (*keys, "fan_in_fan_out")

    def config(self, model: Transformer, parts: Sequence[LowRank]) -> dict[str, Any]:
        settings = parts[0].settings
        plain = {part.path: part.plain() for part in parts}
        r, rank_pattern = pattern(model, {path: len(a) for path, (a, _, _) in plain.items()})
        alpha, alpha_pattern = pattern(model, {path: alpha for path, (_, _, alpha) in plain.items()})
        return {
            "r": r,
            "lora_alpha": alpha,
            "rank_pattern": rank_pattern,
            "alpha_pattern": alpha_pattern,
            "lora_dropout": settings.dropout,
            "use_rslora": settings.rslora,
            "use_dora": settings.dora,
            "bias": "none",
            "target_modules": shortest(model, list(plain)),
            "fan_in_fan_out": family_of(model.architecture).names.turned,
        }

    def tensors(self, model: Transformer, parts: Sequence[LowRank]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for part in parts:
            a, b, _ = part.plain()
            found[_name(model, part.path, "lora_A.weight")] = a
            found[_name(model, part.path, "lora_B.weight")] = _to_file(model, part.path, b)
            if part.magnitude is not None:
                m = part.magnitude.detach()
                found[_name(model, part.path, "lora_magnitude_vector")] = _to_file(model, part.path, m)
        return found

    def put(self, model: Transformer, config: Config, held: Sequence[str], *, where: Path, name: str) -> list[LowRank]:
        if config.get("bias", "none") != "none":
            raise InputError(f"{where}: bias = {config['bias']!r} is not supported", hint="supported: 'none'")
        settings = Settings(
            r=_whole(config, "r", where),
            alpha=_number(config, "lora_alpha", where),
            rank_pattern=config.get("rank_pattern") or {},
            alpha_pattern=config.get("alpha_pattern") or {},
            rslora=bool(config.get("use_rslora")),
            dora=bool(config.get("use_dora")),
        )
        paths = match(model, targets(config, held, ".lora_A.weight"), method=str(where))
        added = list(lora.put(model, paths, settings, adapter=name, where=str(where)).values())
        init = config.get("init_lora_weights", True)
        if isinstance(init, str) and init not in BASE_KEPT:
            raise InputError(
                f"{where}: init_lora_weights = {init!r} has changed the base, and is not supported",
                hint="save it in peft with path_initial_model_for_weight_conversion: a plain LoRA on the base itself",
            )
        return added

    def fill(self, model: Transformer, parts: Sequence[LowRank], config: Config, tensors: Mapping[str, Tensor]) -> None:
        for part in parts:
            if config.get("init_lora_weights") == "pissa":
                # Not converted: the file's factors belong on the base without its principal part.
                fill_factors(part, matrix(model.get_submodule(part.path)), init="pissa", seed=0)
            part.A.copy_(tensors[_name(model, part.path, "lora_A.weight")])
            part.B.copy_(_from_file(model, part.path, tensors[_name(model, part.path, "lora_B.weight")]))
            if part.magnitude is not None:
                held = tensors[_name(model, part.path, "lora_magnitude_vector")]
                part.magnitude.copy_(_from_file(model, part.path, held))


class Ia3Format:
    peft_type = "IA3"
    kinds = (ia3.Rescale,)

    def refused(self, model: Transformer) -> Sequence[str]:
        turned = family_of(model.architecture).names.turned
        return SAVED_WHOLE if turned else (*SAVED_WHOLE, "fan_in_fan_out")

    def config(self, model: Transformer, parts: Sequence[ia3.Rescale]) -> dict[str, Any]:
        return {
            "target_modules": shortest(model, [part.path for part in parts]),
            "feedforward_modules": shortest(model, inputs) if (inputs := [p.path for p in parts if p.inputs]) else [],
            "fan_in_fan_out": family_of(model.architecture).names.turned,
        }

    def tensors(self, model: Transformer, parts: Sequence[ia3.Rescale]) -> dict[str, Tensor]:
        return {
            _name(model, part.path, "ia3_l"): part.l.detach()[None]
            if part.inputs
            else _to_file(model, part.path, part.l.detach())[:, None]
            for part in parts
        }

    def put(self, model: Transformer, config: Config, held: Sequence[str], *, where: Path, name: str) -> list[Any]:
        paths = match(model, targets(config, held, ".ia3_l"), method=str(where))
        forward = config.get("feedforward_modules") or []
        inputs = match(model, forward, method=str(where)) if forward else []
        return list(ia3.put(model, paths, inputs=inputs, adapter=name))

    def fill(
        self, model: Transformer, parts: Sequence[ia3.Rescale], config: Config, tensors: Mapping[str, Tensor]
    ) -> None:
        for part in parts:
            held = tensors[_name(model, part.path, "ia3_l")].flatten()
            part.l.copy_(held if part.inputs else _from_file(model, part.path, held))


class SoftFormat:
    """Both soft prompts are one tensor."""

    tensor = "prompt_embeddings"

    def refused(self, model: Transformer) -> Sequence[str]:
        return SAVED_WHOLE

    def tensors(self, model: Transformer, parts: Sequence[Prompt | Prefix]) -> dict[str, Tensor]:
        return {self.tensor: parts[0].table().detach()}

    def fill(
        self, model: Transformer, parts: Sequence[Prompt | Prefix], config: Config, tensors: Mapping[str, Tensor]
    ) -> None:
        parts[0].embeddings.copy_(tensors[self.tensor])


class PromptFormat(SoftFormat):
    peft_type = "PROMPT_TUNING"
    kinds = (Prompt,)

    def config(self, model: Transformer, parts: Sequence[Prompt]) -> dict[str, Any]:
        a = model.architecture
        return {
            "num_virtual_tokens": len(parts[0].embeddings),
            "token_dim": a.hidden_size,
            "num_transformer_submodules": 1,
            "num_attention_heads": a.num_attention_heads,
            "num_layers": a.num_hidden_layers,
            "prompt_tuning_init": "RANDOM",
        }

    def put(self, model: Transformer, config: Config, held: Sequence[str], *, where: Path, name: str) -> list[Prompt]:
        shape = _whole(config, "num_virtual_tokens", where), model.architecture.hidden_size
        prompt = Prompt(begin(model, name), model.head_weight.new_zeros(shape))
        soft.put(model, prompt)
        return [prompt]


class PrefixFormat(SoftFormat):
    peft_type = "PREFIX_TUNING"
    kinds = (Prefix,)

    def config(self, model: Transformer, parts: Sequence[Prefix]) -> dict[str, Any]:
        # PEFT means keys and values by these: their heads, and the width of all of them.
        a = model.architecture
        return {
            "num_virtual_tokens": len(parts[0].embeddings),
            "token_dim": a.num_key_value_heads * a.head_dim,
            "num_transformer_submodules": 1,
            "num_attention_heads": a.num_key_value_heads,
            "num_layers": a.num_hidden_layers,
            "prefix_projection": False,
            "encoder_hidden_size": a.num_key_value_heads * a.head_dim,
        }

    def put(self, model: Transformer, config: Config, held: Sequence[str], *, where: Path, name: str) -> list[Prefix]:
        a = model.architecture
        width = 2 * a.num_hidden_layers * a.num_key_value_heads * a.head_dim
        shape = _whole(config, "num_virtual_tokens", where), width
        prefix = Prefix(begin(model, name), a, model.head_weight.new_zeros(shape))
        soft.put(model, prefix)
        return [prefix]


FORMATS: tuple[Format, ...] = (LoraFormat(), PrefixFormat(), PromptFormat(), Ia3Format())


def pattern(model: Transformer, values: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """The commonest of the values of projections, and the others by the family's name of the projection."""
    theirs = projections(model)
    common = max(values.values(), key=list(values.values()).count)
    return common, {theirs[path]: value for path, value in values.items() if value != common}


def targets(config: Config, held: Sequence[str], ending: str) -> str | Sequence[str]:
    """Targets by name or preset as the config has them; where it says more than names, what the file holds.

    ending: of the names of the tensors that each target has in the file.
    """
    named = config.get("target_modules")
    if not any(config.get(key) for key in OTHERWISE):
        if isinstance(named, list):
            return [str(target) for target in named]
        if isinstance(named, str) and named in PRESETS:
            return named
    return [name.removeprefix(PREFIX).removesuffix(ending) for name in held if name.endswith(ending)]


def _name(model: Transformer, path: str, tensor: str) -> str:
    return f"{PREFIX}{family_of(model.architecture).names.module(path)}.{tensor}"


def _to_file(model: Transformer, path: str, rows: Tensor) -> Tensor:
    return family_of(model.architecture).names.rows_to_file(path, rows, model.architecture)


def _from_file(model: Transformer, path: str, rows: Tensor) -> Tensor:
    return family_of(model.architecture).names.rows_from_file(path, rows, model.architecture)


def _whole(config: Config, key: str, where: Path) -> int:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{where}: {key} = {value!r} must be a whole number of at least 1")
    return value


def _number(config: Config, key: str, where: Path) -> float:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {key} = {value!r} must be a number")
    return float(value)
