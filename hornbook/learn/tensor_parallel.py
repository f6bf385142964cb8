"""Tensor parallelism: several processes compute each layer together, some heads and some of the MLP each.

This is Megatron-LM's (arXiv 1909.08053, section 3). Queries, keys, values, gate and up are divided by what they give,
W's rows; the projections after them by what they read, W's columns. So attention and MLP need one sum over the group
each, and one of gradients in the backward pass:

    x -> shared -> q k v (some heads) -> attention -> o (some columns) -> summed -> + bias

All else, the embeddings, the residual stream and its norms, each process computes alike. Shapes as in
`model/transformer.py`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from hornbook.errors import UsageError
from hornbook.learn.parallel import local
from hornbook.model.architecture import Architecture
from hornbook.model.attention import compute_dtype
from hornbook.model.layers import Attention, Layer
from hornbook.model.norms import RMSNorm
from hornbook.model.transformer import Transformer

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

LAST = ("o_proj", "down_proj")
"""Projections that write into the residual stream."""
DIVIDED = ("num_attention_heads", "num_key_value_heads", "intermediate_size")


def check(a: Architecture, *, tensor: int, processes: int) -> None:
    """That so many processes, in groups of `tensor`, can train such a model.

    Raises:
        UsageError: they cannot.
    """
    if processes % tensor:
        raise UsageError(
            f"tensor_parallel = {tensor} does not divide the number of processes, {processes}",
            hint=f"start {tensor} or a multiple: torchrun --nproc-per-node {tensor} -m hornbook ...",
        )
    if a.fused_projections:
        raise UsageError(
            "tensor_parallel does not divide query, key and value that are one matrix (GPT-2, GPT-NeoX, Phi-3)",
            hint="leave it out: FSDP2 alone shares out all parameters, gradients and optimizer state",
        )
    if a.qk_norm and a.norm != "rms":
        raise UsageError(
            f"tensor_parallel does not divide queries and keys that are normalized by {a.norm!r}",
            hint="leave it out: FSDP2 alone shares out all parameters, gradients and optimizer state",
        )
    for name in DIVIDED:
        if (number := getattr(a, name)) % tensor:
            raise UsageError(
                f"tensor_parallel = {tensor} does not divide the model's {name} = {number}",
                hint=f"it must divide {', '.join(f'{name} = {getattr(a, name)}' for name in DIVIDED)}",
            )


def divide(model: Transformer, device: torch.device, size: int) -> DeviceMesh:
    """Divide the layers among groups of `size` neighbouring processes; returns the processes that hold equal parts.

    The parts are DTensors, on `device`; FSDP2 is to share them out among those processes.
    """
    from torch.distributed.device_mesh import init_device_mesh

    shape = (dist.get_world_size() // size, size)
    mesh = init_device_mesh(device.type, shape, mesh_dim_names=("data", "tensor"))
    for layer in model.model.layers:
        assert isinstance(layer, Layer)
        _divide(layer.self_attn, mesh["tensor"], device)
        _divide(layer.mlp, mesh["tensor"], device)
        _divide_norms(layer.self_attn, mesh["tensor"], device)
    return mesh["data"]


def _divide(module: nn.Module, mesh: DeviceMesh, device: torch.device) -> None:
    """Keep this process' part of the projections of an attention or MLP, and compute with it."""
    group = mesh.get_group()
    module.register_forward_pre_hook(lambda _, given: (shared(given[0], group), *given[1:]))
    for name, linear in module.named_children():
        if not isinstance(linear, nn.Linear):
            continue
        last = name in LAST
        linear.weight = _part(linear.weight, mesh, device, dim=1 if last else 0)
        if last:
            linear.forward = partial(_last, linear, group)  # type: ignore[method-assign]
        else:
            linear.bias = None if linear.bias is None else _part(linear.bias, mesh, device, dim=0)
            linear.forward = partial(_first, linear)  # type: ignore[method-assign]


def _divide_norms(attention: Attention, mesh: DeviceMesh, device: torch.device) -> None:
    """Norms of queries and keys see this process' heads only."""
    group = mesh.get_group()
    for norm in (attention.q_norm, attention.k_norm):
        if not isinstance(norm, RMSNorm):
            continue
        if attention.across_heads:
            norm.weight = _part(norm.weight, mesh, device, dim=0)
            norm.forward = partial(_normed_across, norm, group)  # type: ignore[method-assign]
        else:
            norm.forward = partial(_normed, norm, group)  # type: ignore[method-assign]


def _part(whole: Tensor, mesh: DeviceMesh, device: torch.device, *, dim: int) -> nn.Parameter:
    from torch.distributed.tensor import DTensor, Shard

    part = whole.detach().chunk(mesh.size(), dim)[mesh.get_local_rank()]
    # In memory of its own: that of the whole is to be freed.
    part = part.to(device, copy=True, memory_format=torch.contiguous_format)
    made = DTensor.from_local(part, mesh, [Shard(dim)], run_check=False)
    return nn.Parameter(made, requires_grad=whole.requires_grad)


def _first(linear: nn.Linear, x: Tensor) -> Tensor:
    """[B, T, D] -> [B, T, some of W's rows]."""
    return F.linear(x, local(linear.weight), None if linear.bias is None else local(linear.bias))


def _last(linear: nn.Linear, group: dist.ProcessGroup, x: Tensor) -> Tensor:
    """[..., some of W's columns] -> [..., D], of all columns, and the bias once."""
    out = summed(F.linear(x, local(linear.weight)), group)
    return out if linear.bias is None else out + linear.bias.to(out.dtype)


def _normed(norm: RMSNorm, group: dist.ProcessGroup, x: Tensor) -> Tensor:
    """[B, T, some heads, C]: the weight is that of all heads, and its gradient comes from all of them."""
    return norm.scaled(x, shared(norm.weight, group))


def _normed_across(norm: RMSNorm, group: dist.ProcessGroup, x: Tensor) -> Tensor:
    """[B, T, some heads' C]: the mean square is that of all heads, and so is its gradient."""
    weight = local(norm.weight)
    x = x.to(weight.dtype)
    squares = shared(summed(x.square().sum(-1, keepdim=True), group), group)
    out = x * (squares / (x.shape[-1] * group.size()) + norm.eps).rsqrt() * norm.factor(weight)
    return out.to(compute_dtype(out))


def shared(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """What all of the group have alike and go on with in parts: its gradient is the sum of theirs."""
    out: Tensor = _Shared.apply(x, group)  # type: ignore[no-untyped-call]
    return out


def summed(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The sum of the group's parts, which all go on with alike: each part's gradient is that of the sum."""
    out: Tensor = _Summed.apply(x, group)  # type: ignore[no-untyped-call]
    return out


class _Shared(torch.autograd.Function):
    """f of Megatron-LM (section 3)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _over(gradients[0], ctx.group), None


class _Summed(torch.autograd.Function):
    """g of Megatron-LM."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        return _over(x, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def _over(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total
