"""Projections in few bits: made of dense ones, read from tensors in bitsandbytes' layout, and as such tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.model import bnb, nf4
from hornbook.model.bnb import Kind, Parts
from hornbook.model.configuration import family_of
from hornbook.model.int8 import Int8Linear, to_int8
from hornbook.model.names import WeightNames, regroup
from hornbook.model.quantized import Nf4Linear, Quantized
from hornbook.model.transformer import Transformer


def quantized(model: nn.Module) -> dict[str, Quantized]:
    """The quantized projections, by path."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Quantized)}


def dense_projections(model: nn.Module) -> dict[str, nn.Linear]:
    """The projections of the layers that are plain matrices, by path: what can be quantized."""
    named = model.named_modules()
    return {n: m for n, m in named if isinstance(m, nn.Linear) and n.startswith("model.layers.")}


def rounded_to(dtype: torch.dtype) -> torch.dtype:
    """The 16-bit type that a weight of some type is rounded to before it is quantized: its own, or else bf16."""
    return dtype if dtype in (torch.bfloat16, torch.float16) else torch.bfloat16


def quantize_weight(weight: Tensor, kind: Kind, *, double: bool) -> dict[str, Tensor]:
    """[N, K] in a 16-bit type, rows as in the files -> its tensors in bitsandbytes' layout."""
    if kind == "int8":
        return bnb.int8_parts(*to_int8(weight))
    return bnb.nf4_parts(nf4.quantize(weight, double=double), stored_as=weight.dtype)


def quantize(model: Transformer, kind: Kind) -> None:
    """Put the projections of a model into few bits, the same as if they were read so.

    Raises:
        InputError: some are already.
    """
    if quantized(model):
        raise InputError("the base's projections are quantized already", hint="leave out quantize")
    names = family_of(model.architecture).names
    for path, linear in dense_projections(model).items():
        weight = linear.weight.detach()
        rows = names.rows_to_file(path, weight, model.architecture).to(rounded_to(weight.dtype))
        model.set_submodule(path, quantize_projection(model, path, rows, kind, double=True, names=names))


def quantize_projection(
    model: Transformer, path: str, weight: Tensor, kind: Kind, *, double: bool, names: WeightNames
) -> Quantized:
    """The projection of `model` at `path` in few bits; weight: [N, K] in a 16-bit type, rows as in the files."""
    linear = model.get_submodule(path)
    assert isinstance(linear, nn.Linear)
    if kind == "int8":
        rows = names.rows_from_file(path, weight, model.architecture)
        return Int8Linear(*to_int8(rows), bias=linear.bias, stored_as=weight.dtype)
    made = nf4.quantize(weight, double=double)
    return Nf4Linear(made, bias=linear.bias, stored_as=weight.dtype, heads=heads(model, path, names))


def requantize(projection: Quantized, weight: Tensor, bias: nn.Parameter | None) -> Quantized:
    """A projection of another weight [N, K] and bias, in as many bits as this one."""
    rounded = weight.to(projection.stored_as)
    if isinstance(projection, Int8Linear):
        return Int8Linear(*to_int8(rounded), bias=bias, stored_as=projection.stored_as)
    assert isinstance(projection, Nf4Linear)
    rows = rounded if projection.heads is None else regroup(rounded, 3, projection.heads)
    made = nf4.quantize(rows, double=projection.nested_absmax is not None)
    return Nf4Linear(made, bias=bias, stored_as=projection.stored_as, heads=projection.heads)


def read_projection(
    model: Transformer, path: str, parts: Parts, kind: Kind, *, stored_as: torch.dtype, names: WeightNames
) -> Quantized:
    """The projection of `model` at `path`, from its tensors in files."""
    linear = model.get_submodule(path)
    assert isinstance(linear, nn.Linear)
    shape = (linear.out_features, linear.in_features)
    if kind == "int8":
        whole, largest = (names.rows_from_file(path, t, model.architecture) for t in bnb.read_int8(parts, shape))
        return Int8Linear(whole, largest, bias=linear.bias, stored_as=stored_as)
    stored, own = bnb.read_nf4(parts, shape)
    return Nf4Linear(stored, bias=linear.bias, stored_as=own, heads=heads(model, path, names))


def heads(model: Transformer, path: str, names: WeightNames) -> int | None:
    """How many groups the rows of a projection lie in, where they are not in our order."""
    count = model.architecture.num_attention_heads
    return count if names.by_head and path.endswith(".qkv_proj") else None


def parts_of(model: Transformer, path: str, module: Quantized, names: WeightNames) -> dict[str, Tensor]:
    """The tensors of a quantized projection in bitsandbytes' layout, by what follows its path."""
    if isinstance(module, Nf4Linear):
        return bnb.nf4_parts(module.stored, stored_as=module.stored_as)
    assert isinstance(module, Int8Linear)
    held = (module.whole, module.largest)
    return bnb.int8_parts(*(names.rows_to_file(path, tensor, model.architecture) for tensor in held))


def quantization_config(model: Transformer) -> dict[str, Any]:
    """What `config.json` says of quantized projections; empty where there are none.

    Raises:
        InputError: some are in 4 bits and some in 8, which bitsandbytes cannot say.
    """
    found = quantized(model)
    if not found:
        return {}
    first = next(iter(found.values()))
    if odd := [path for path, module in found.items() if type(module) is not type(first)]:
        raise InputError(f"the projection {odd[0]} is not in as many bits as others, and cannot be saved beside them")
    names = family_of(model.architecture).names
    dense = [names.module(path) for path in dense_projections(model)]
    kind: Kind = "nf4" if isinstance(first, Nf4Linear) else "int8"
    double = isinstance(first, Nf4Linear) and first.nested_absmax is not None
    return {"quantization_config": bnb.to_config(kind, double=double, stored_as=first.stored_as, dense=dense)}
