"""LoRA: W = W0 + (alpha / r) B A, with W0 frozen (Hu et al., arXiv 2106.09685, eq. 3).

An adapted projection keeps the names of its frozen tensors (`...q_proj.weight`) and adds PEFT's
(`...q_proj.lora_A.weight`), so PEFT's file is our state dict behind a prefix, and a plain model's names never change.
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
from hornbook.model.transformer import Transformer, keyed_seed
from hornbook.model.weights import check_tensors, inside, read_json, read_tensors, write_json, write_tensors

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL_LINEAR = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
PRESETS = {"attention": ATTENTION, "all-linear": ALL_LINEAR}
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
    wanted = PRESETS.get(targets, (targets,)) if isinstance(targets, str) else tuple(targets)
    if not wanted:
        raise InputError("lora: no targets named")
    kinds = (nn.Linear, LoraLinear)
    names = [n for n, m in model.named_modules() if isinstance(m, kinds) and n.startswith("model.layers.")]
    names = [name for name in names if not name.endswith((".lora_A", ".lora_B"))]
    for target in wanted:
        if not any(ends(name, target) for name in names):
            hint = f"known targets: {', '.join((*PRESETS, *ALL_LINEAR))}"
            raise InputError(f"lora: target {target!r} matches no projection of the model", hint=hint)
    return [name for name in names if any(ends(name, target) for target in wanted)]


def ends(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)


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


def adapter_tensors(model: nn.Module) -> dict[str, Tensor]:
    """A and B by PEFT's names."""
    return {PREFIX + name: tensor for name, tensor in model.state_dict().items() if ".lora_" in name}


def save_adapter(model: Transformer, folder: Path, *, base_name: str = "") -> None:
    """Write PEFT's adapter folder. base_name: where PEFT will look for the base model."""
    modules = adapted(model)
    if not modules:
        raise InputError("lora: the model carries no adapter to save")
    first = next(iter(modules.values()))
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
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, config)
    write_tensors(folder / WEIGHTS, adapter_tensors(model))


def target_names(model: Transformer) -> list[str]:
    """The shortest names that mean exactly the adapted projections: PEFT matches by the end of the path."""
    paths = list(adapted(model))
    kinds = sorted({path.rpartition(".")[2] for path in paths})
    return kinds if match(model, kinds) == paths else paths


def load_adapter(model: Transformer, folder: Path) -> None:
    """Attach a LoRA from PEFT's folder, ours or theirs. Raises InputError naming a key or tensor that is wrong."""
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: not an adapter folder, it has no {CONFIG}")
    config = read_json(inside(folder, CONFIG))
    check_config(config, folder / CONFIG)
    tensors = read_tensors(inside(folder, WEIGHTS), dtype=torch.float32)
    r, alpha = config["r"], float(config["lora_alpha"])
    scale = alpha / (math.sqrt(r) if config.get("use_rslora") else r)
    adapt(model, match(model, targets_of(config, tensors)), r=r, alpha=alpha, scale=scale)
    check_tensors(tensors, adapter_tensors(model), folder / WEIGHTS)
    model.load_state_dict({name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}, strict=False)


def targets_of(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str | list[str]:
    """Targets by name or preset as the config has them; where it has a pattern, what the file holds."""
    targets = config.get("target_modules")
    if isinstance(targets, list):
        return [str(target) for target in targets]
    if isinstance(targets, str) and targets in PRESETS:
        return targets
    ending = ".lora_A.weight"
    return [name.removeprefix(PREFIX).removesuffix(ending) for name in tensors if name.endswith(ending)]


def check_config(config: Mapping[str, Any], where: Path) -> None:
    """Raise on what would make this adapter compute something else than we do."""
    if config.get("peft_type") != "LORA":
        raise InputError(f"{where}: peft_type = {config.get('peft_type')!r} is not supported", hint="supported: 'LORA'")
    for key in ("use_dora", "lora_bias", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save"):
        if config.get(key):
            raise InputError(f"{where}: {key} = {config[key]!r} is not supported")
    if config.get("bias", "none") != "none":
        raise InputError(f"{where}: bias = {config['bias']!r} is not supported", hint="supported: 'none'")
    r, alpha = config.get("r"), config.get("lora_alpha")
    if isinstance(r, bool) or not isinstance(r, int) or r < 1:
        raise InputError(f"{where}: r = {r!r} must be a whole number of at least 1")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise InputError(f"{where}: lora_alpha = {alpha!r} must be a number")
