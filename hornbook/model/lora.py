"""LoRA: W = W0 + (alpha / r) B A, with W0 frozen (Hu et al., arXiv 2106.09685, eq. 3).

An adapted projection keeps the names of its frozen tensors (`...q_proj.weight`) and adds PEFT's
(`...q_proj.lora_A.weight`), so a plain model's names never change. PEFT's file has the names of the model's family
(`...attn.c_attn.lora_A.weight`) behind a prefix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.model.configuration import family_of
from hornbook.model.folder import check_shapes, held_tensors, inside, read_json, read_tensors, write_json, write_tensors
from hornbook.model.transformer import Transformer, keyed_seed

PRESETS = {"attention": "self_attn.", "all-linear": ""}
"""Targets that mean every projection of a layer whose path goes on so."""
PREFIX = "base_model.model."
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class LoraLinear(nn.Module):
    """x -> W0 x + bias + scale B A x; A [r, in], B [out, r]. Takes over the tensors of the projection it replaces."""

    def __init__(self, base: nn.Linear, *, r: int, alpha: float, scale: float) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.alpha, self.scale, self.enabled = alpha, scale, True
        device = base.weight.device
        self.lora_A = nn.Linear(base.in_features, r, bias=False, device="meta").to_empty(device=device)
        self.lora_B = nn.Linear(r, base.out_features, bias=False, device="meta").to_empty(device=device)

    def forward(self, x: Tensor) -> Tensor:
        out = F.linear(x, self.weight, self.bias)
        if not self.enabled:
            return out
        down = self.lora_A(x.to(self.lora_A.weight.dtype))
        update: Tensor = self.lora_B(down * self.scale)
        return out + update.to(out.dtype)

    def merged(self) -> nn.Linear:
        """The plain projection with the update added in, computed in float32."""
        delta = self.scale * (self.lora_B.weight @ self.lora_A.weight)
        linear = nn.Linear(self.weight.shape[1], self.weight.shape[0], bias=self.bias is not None, device="meta")
        linear.weight = nn.Parameter((self.weight.float() + delta).to(self.weight.dtype).detach())
        linear.bias = self.bias
        return linear


def attach(model: Transformer, *, r: int, alpha: float, targets: str | Sequence[str], seed: int) -> None:
    """Freeze the model and put adapters of rank `r` on its projections; the output does not change yet (B = 0).

    targets: "attention", "all-linear", or names, each a projection or the end of its path. Raises InputError for one
    that matches nothing. A is uniform in +-1/sqrt(in) as in PEFT, a function of (seed, name).
    """
    if r < 1:
        raise InputError(f"lora: r = {r} must be at least 1")
    names = match(model, targets)
    adapt(model, names, r=r, alpha=alpha, scale=alpha / r)
    for name, module in adapted(model).items():
        bound = 1 / math.sqrt(module.weight.shape[1])
        generator = torch.Generator().manual_seed(keyed_seed(seed, name))
        values = torch.empty(module.lora_A.weight.shape).uniform_(-bound, bound, generator=generator)
        module.lora_A.weight.data.copy_(values)
        module.lora_B.weight.data.zero_()


def adapt(model: Transformer, names: Sequence[str], *, r: int, alpha: float, scale: float) -> None:
    """Freeze the model and replace the named projections by adapted ones, not yet filled."""
    if adapted(model):
        raise InputError("lora: the model already carries an adapter", hint="merge it first")
    model.requires_grad_(False)
    for name in names:
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        model.set_submodule(name, LoraLinear(linear, r=r, alpha=alpha, scale=scale))


def match(model: Transformer, targets: str | Sequence[str]) -> list[str]:
    """Paths of the projections that `targets` mean, in the model's order."""
    wanted = (targets,) if isinstance(targets, str) else tuple(targets)
    if not wanted:
        raise InputError("lora: no targets named")
    paths = projections(model)
    for target in wanted:
        if not any(means(target, path, theirs) for path, theirs in paths.items()):
            kinds = dict.fromkeys(theirs.rpartition(".")[2] for theirs in paths.values())
            hint = f"known targets: {', '.join((*PRESETS, *kinds))}"
            raise InputError(f"lora: target {target!r} matches no projection of the model", hint=hint)
    return [path for path, theirs in paths.items() if any(means(target, path, theirs) for target in wanted)]


def projections(model: Transformer) -> dict[str, str]:
    """Our path of every projection of the layers -> the one of the model's family."""
    names = family_of(model.architecture).names
    kinds = (nn.Linear, LoraLinear)
    paths = [n for n, m in model.named_modules() if isinstance(m, kinds) and n.startswith("model.layers.")]
    return {path: names.module(path) for path in paths if not path.endswith((".lora_A", ".lora_B"))}


def means(target: str, path: str, theirs: str) -> bool:
    """Whether a target is that projection: a preset, or the whole or the end of its path, ours or the family's."""
    if target in PRESETS:
        return path.split(".", 3)[3].startswith(PRESETS[target])
    return any(name == target or name.endswith("." + target) for name in (path, theirs))


def adapted(model: nn.Module) -> dict[str, LoraLinear]:
    """The adapted projections by path."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that training changes, by name: an adapter's where one is attached, else all."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@contextmanager
def adapter_off(model: nn.Module) -> Iterator[None]:
    """The frozen base inside the `with`: the reference model of preference training."""
    before = {module: module.enabled for module in adapted(model).values()}
    for module in before:
        module.enabled = False
    try:
        yield
    finally:
        for module, enabled in before.items():
            module.enabled = enabled


def merge(model: Transformer) -> None:
    """Add the adapter into the weights: a plain model again, all of it trainable."""
    for name, module in adapted(model).items():
        model.set_submodule(name, module.merged())
    model.requires_grad_(True)


def adapter_tensors(model: Transformer) -> dict[str, str]:
    """PEFT's name of every A and B -> ours."""
    names = family_of(model.architecture).names
    return {PREFIX + names.tensor(name): name for name in model.state_dict() if ".lora_" in name}


def save_adapter(model: Transformer, folder: Path, *, base_name: str = "") -> None:
    """Write PEFT's adapter folder. base_name: where PEFT will look for the base model."""
    modules = adapted(model)
    if not modules:
        raise InputError("lora: the model carries no adapter to save")
    first = next(iter(modules.values()))
    names = family_of(model.architecture).names
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": first.lora_A.weight.shape[0],
        "lora_alpha": first.alpha,
        "lora_dropout": 0.0,
        "use_rslora": first.scale != first.alpha / first.lora_A.weight.shape[0],
        "bias": "none",
        "target_modules": target_names(model),
        "fan_in_fan_out": names.turned,
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, config)
    tensors = model.state_dict()
    write_tensors(
        folder / WEIGHTS,
        {
            theirs: names.to_file(ours, tensors[ours], model.architecture)
            for theirs, ours in adapter_tensors(model).items()
        },
    )


def target_names(model: Transformer) -> list[str]:
    """The shortest names that mean exactly the adapted projections: PEFT matches by the end of the path."""
    paths = list(adapted(model))
    theirs = [projections(model)[path] for path in paths]
    kinds = sorted({path.rpartition(".")[2] for path in theirs})
    return kinds if match(model, kinds) == paths else theirs


def load_adapter(model: Transformer, folder: Path) -> None:
    """Attach a LoRA from PEFT's folder, ours or theirs. Raises InputError naming a key or tensor that is wrong."""
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: not an adapter folder, it has no {CONFIG}")
    config = read_json(inside(folder, CONFIG))
    names = family_of(model.architecture).names
    check_config(config, folder / CONFIG, turned=names.turned)
    tensors = dict(read_tensors(held_tensors(inside(folder, WEIGHTS)), dtype=torch.float32))
    r, alpha = config["r"], float(config["lora_alpha"])
    scale = alpha / (math.sqrt(r) if config.get("use_rslora") else r)
    adapt(model, match(model, targets_of(config, tensors)), r=r, alpha=alpha, scale=scale)
    wanted, ours = adapter_tensors(model), model.state_dict()
    check_shapes(
        {name: tensor.shape for name, tensor in tensors.items()},
        {theirs: ours[name].shape for theirs, name in wanted.items()},
        folder / WEIGHTS,
    )
    with torch.no_grad():
        for theirs, name in wanted.items():
            ours[name].copy_(names.from_file(name, tensors[theirs], model.architecture))


def targets_of(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str | list[str]:
    """Targets by name or preset as the config has them; where it has a pattern, what the file holds."""
    targets = config.get("target_modules")
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
    for key in ("use_dora", "lora_bias", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save"):
        if config.get(key) and not (turned and key == "fan_in_fan_out"):
            raise InputError(f"{where}: {key} = {config[key]!r} is not supported")
    if config.get("bias", "none") != "none":
        raise InputError(f"{where}: bias = {config['bias']!r} is not supported", hint="supported: 'none'")
    r, alpha = config.get("r"), config.get("lora_alpha")
    if isinstance(r, bool) or not isinstance(r, int) or r < 1:
        raise InputError(f"{where}: r = {r!r} must be a whole number of at least 1")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise InputError(f"{where}: lora_alpha = {alpha!r} must be a number")
