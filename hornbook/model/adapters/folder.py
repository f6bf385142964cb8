"""Adapter folders as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`.

A tensor is called there as the model's family calls the projection (`...attn.c_attn.lora_A.weight`), behind a prefix;
the adapter's own name is in no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hornbook.errors import InputError
from hornbook.model.adapters.lora import LowRank, put, updates
from hornbook.model.adapters.projections import PRESETS, by_pattern, match, projections, shortest
from hornbook.model.configuration import family_of
from hornbook.model.folder import check_shapes, held_tensors, inside, read_json, read_tensors, write_json, write_tensors
from hornbook.model.transformer import Transformer

PREFIX = "base_model.model."
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
OTHERWISE = ("exclude_modules", "layers_to_transform", "layers_pattern")
"""Keys by which PEFT takes some targets out again: what the adapter adapts is then what its file holds."""
REFUSED = ("use_dora", "lora_bias", "fan_in_fan_out", "modules_to_save", "trainable_token_indices", "target_parameters",
           "alora_invocation_tokens", "layer_replication")  # fmt: skip
"""What would make an adapter compute something else than we do."""


def save_adapter(model: Transformer, folder: Path, *, base_name: str = "") -> None:
    """Write PEFT's adapter folder. base_name: where PEFT will look for the base model.

    Raises:
        InputError: the model carries no adapter.
    """
    added = {name: held[0] for name, held in updates(model).items()}
    if not added:
        raise InputError("the model carries no adapter to save")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, lora_config(model, added, base_name=base_name))
    tensors = lora_tensors(model, added)
    write_tensors(folder / WEIGHTS, {name: tensor for name, (_, tensor) in tensors.items()})


def lora_config(model: Transformer, added: Mapping[str, LowRank], *, base_name: str) -> dict[str, Any]:
    """PEFT's `LoraConfig` of these updates."""
    r, rank_pattern = pattern(model, {name: update.r for name, update in added.items()})
    alpha, alpha_pattern = pattern(model, {name: update.alpha for name, update in added.items()})
    first = next(iter(added.values()))
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": r,
        "lora_alpha": alpha,
        "rank_pattern": rank_pattern,
        "alpha_pattern": alpha_pattern,
        "lora_dropout": 0.0,
        "use_rslora": first.scale != first.alpha / first.r,
        "bias": "none",
        "target_modules": shortest(model, list(added)),
        "fan_in_fan_out": family_of(model.architecture).names.turned,
        "inference_mode": True,
    }


def pattern(model: Transformer, values: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """The commonest of the values of projections, and the others by the family's name of the projection."""
    theirs = projections(model)
    common = max(values.values(), key=list(values.values()).count)
    return common, {theirs[name]: value for name, value in values.items() if value != common}


def lora_tensors(model: Transformer, added: Mapping[str, LowRank]) -> dict[str, tuple[str, Tensor]]:
    """PEFT's name of every tensor -> the projection, and the tensor as it lies in the file."""
    names, theirs = family_of(model.architecture).names, projections(model)
    found: dict[str, tuple[str, Tensor]] = {}
    for name, update in added.items():
        stem = f"{PREFIX}{theirs[name]}.lora_"
        found[f"{stem}A.weight"] = name, update.A.detach()
        found[f"{stem}B.weight"] = name, names.rows_to_file(name, update.B.detach(), model.architecture)
    return found


def load_adapter(model: Transformer, folder: Path, *, name: str = "default") -> None:
    """Put the adapter of PEFT's folder, ours or theirs, on its base.

    Raises:
        InputError: names the key or tensor that is wrong.
    """
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: not an adapter folder, it has no {CONFIG}")
    where, config = folder / CONFIG, read_json(inside(folder, CONFIG))
    names = family_of(model.architecture).names
    check_config(config, where, turned=names.turned)
    tensors = dict(read_tensors(held_tensors(inside(folder, WEIGHTS)), dtype=torch.float32))
    adapted = match(model, targets_of(config, tensors), method=str(where))
    ranks = by_pattern(model, adapted, _pattern(config, "rank_pattern"), config["r"], key=f"{where}: rank_pattern")
    alphas = by_pattern(
        model, adapted, _pattern(config, "alpha_pattern"), float(config["lora_alpha"]), key=f"{where}: alpha_pattern"
    )
    root = bool(config.get("use_rslora"))
    scales = [alpha / (math.sqrt(r) if root else r) for alpha, r in zip(alphas, ranks, strict=True)]
    added = put(model, adapted, ranks=ranks, alphas=alphas, scales=scales, adapter=name)
    wanted = lora_tensors(model, added)
    check_shapes(
        {key: tensor.shape for key, tensor in tensors.items()},
        {key: tensor.shape for key, (_, tensor) in wanted.items()},
        folder / WEIGHTS,
    )
    with torch.no_grad():
        for path, update in added.items():
            stem = f"{PREFIX}{projections(model)[path]}.lora_"
            update.A.copy_(tensors[f"{stem}A.weight"])
            update.B.copy_(names.rows_from_file(path, tensors[f"{stem}B.weight"], model.architecture))


def _pattern(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = config.get(key) or {}
    return dict(found)


def targets_of(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str | Sequence[str]:
    """Targets by name or preset as the config has them; where it says more than names, what the file holds."""
    targets = config.get("target_modules")
    if not any(config.get(key) for key in OTHERWISE):
        if isinstance(targets, list):
            return [str(target) for target in targets]
        if isinstance(targets, str) and targets in PRESETS:
            return targets
    ending = ".lora_A.weight"
    return [name.removeprefix(PREFIX).removesuffix(ending) for name in tensors if name.endswith(ending)]


def check_config(config: Mapping[str, Any], where: Path, *, turned: bool) -> None:
    """Raise on what would make this adapter compute something else than we do.

    turned: the family's files hold matrices as [in, out]; then `fan_in_fan_out` says nothing else.
    """
    if config.get("peft_type") != "LORA":
        raise InputError(f"{where}: peft_type = {config.get('peft_type')!r} is not supported", hint="supported: 'LORA'")
    for key in REFUSED:
        if config.get(key) and not (turned and key == "fan_in_fan_out"):
            raise InputError(f"{where}: {key} = {config[key]!r} is not supported")
    if config.get("bias", "none") != "none":
        raise InputError(f"{where}: bias = {config['bias']!r} is not supported", hint="supported: 'none'")
    r, alpha = config.get("r"), config.get("lora_alpha")
    if isinstance(r, bool) or not isinstance(r, int) or r < 1:
        raise InputError(f"{where}: r = {r!r} must be a whole number of at least 1")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise InputError(f"{where}: lora_alpha = {alpha!r} must be a number")
