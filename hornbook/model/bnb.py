"""Quantized projections in bitsandbytes' layout: what its tensors are called, and what a config says of them.

    4 bits  P.weight uint8[W / 2, 1], .absmax, .quant_map, .quant_state.bitsandbytes__nf4 (JSON), and where scales are
            in 8 bits .nested_absmax, .nested_quant_map
    8 bits  P.weight int8[N, K], P.SCB float32[N] (the largest of each row), P.weight_format

The rows of a matrix lie as in the family's files, [out, in] in all families.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import ceil, prod
from typing import Any, Literal

import torch
from torch import Tensor

from hornbook.errors import InputError
from hornbook.model import nf4
from hornbook.model.blocks import BLOCK, NESTED
from hornbook.model.folder import Stored, check_finite, read
from hornbook.model.nf4 import Nested, Nf4

Kind = Literal["nf4", "int8"]
STATE = "quant_state.bitsandbytes__nf4"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
PART = re.compile(
    r"(?P<module>.+)\.(weight\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..+)|SCB|weight_format)"
)
"""What is stored beside a quantized weight."""


def nf4_parts(stored: Nf4, *, stored_as: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a matrix in 4 bits, by what follows the projection's path."""
    state: dict[str, Any] = {
        "quant_type": "nf4",
        "blocksize": BLOCK,
        "dtype": NAMES[stored_as],
        "shape": list(stored.shape),
    }
    # Copies of the tables, which all projections share in memory: a file of tensors that overlap is refused.
    parts = {"": stored.codes[:, None], ".absmax": stored.absmax, ".quant_map": stored.table.clone()}
    if (nested := stored.nested) is not None:
        parts |= {".nested_absmax": nested.absmax, ".nested_quant_map": nested.table.clone()}
        state |= {"nested_blocksize": NESTED, "nested_dtype": "float32", "nested_offset": nested.offset}
    parts[f".{STATE}"] = torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)
    return {f"weight{name}": tensor for name, tensor in parts.items()}


def int8_parts(whole: Tensor, largest: Tensor) -> dict[str, Tensor]:
    """The tensors of a matrix in 8 bits, by what follows the projection's path."""
    return {"weight": whole, "SCB": largest, "weight_format": torch.zeros((), dtype=torch.uint8)}


def groups(stored: Mapping[str, Stored]) -> dict[str, Kind]:
    """The file's path of every quantized projection, and how it is stored."""
    found: dict[str, Kind] = {}
    for name, its in stored.items():
        module, _, tensor = name.rpartition(".")
        if tensor == "weight" and its.kind in ("U8", "I8"):
            found[module] = "nf4" if its.kind == "U8" else "int8"
        elif match := PART.fullmatch(name):
            found.setdefault(match["module"], "int8" if name.endswith((".SCB", ".weight_format")) else "nf4")
    return found


def owner(name: str) -> str:
    """The path of the projection that a tensor would belong to, were it in few bits; "" for a bias."""
    if match := PART.fullmatch(name):
        return match["module"]
    return name.removesuffix(".weight") if name.endswith(".weight") else ""


class Parts:
    """The stored tensors of one quantized projection; each that is read is checked, and none may be left over."""

    def __init__(self, stored: Mapping[str, Stored], module: str) -> None:
        own = {name: its for name, its in stored.items() if name.startswith(f"{module}.")}
        self._left = {name: its for name, its in own.items() if name != f"{module}.bias"}
        self._module = module
        self._where = next(iter(own.values())).path

    def has(self, name: str) -> bool:
        return f"{self._module}.{name}" in self._left

    def what(self, name: str) -> str:
        path = self._left[f"{self._module}.{name}"].path if self.has(name) else self._where
        return f"{path}: tensor '{self._module}.{name}'"

    def read(self, name: str, kind: str, *shape: int | None) -> Tensor:
        """A tensor of that type and shape (None: of any length). Raises InputError where it is not."""
        what = self.what(name)
        if not self.has(name):
            raise InputError(f"{what} is missing")
        stored = self._left.pop(f"{self._module}.{name}")
        if stored.kind != kind:
            raise InputError(f"{what} is stored as {stored.kind}, not as {kind}")
        if len(stored.shape) != len(shape) or any(w not in (None, s) for s, w in zip(stored.shape, shape, strict=True)):
            raise InputError(f"{what} has shape {list(stored.shape)}, not {[w or 'any' for w in shape]}")
        tensor = read(stored, what, kinds=KINDS)
        if kind == "F32":
            check_finite(tensor, what)
        return tensor

    def close(self) -> None:
        """That everything was read."""
        if self._left:
            raise InputError(f"{self._where}: tensor {next(iter(self._left))!r} has no place in this model")


KINDS = {"U8": torch.uint8, "I8": torch.int8, "F32": torch.float32}


def read_nf4(parts: Parts, shape: tuple[int, int]) -> tuple[Nf4, torch.dtype]:
    """A matrix in 4 bits, and the type that it was in before.

    Raises:
        InputError: names the tensor that is missing, or not as the others and the model's shape have it.
    """
    size = prod(shape)
    state, stored_as = read_state(parts, shape)
    codes = parts.read("weight", "U8", ceil(size / 2), 1).view(-1)
    blocks = ceil(size / BLOCK)
    nested = None
    if "nested_blocksize" in state:
        absmax = parts.read("weight.absmax", "U8", blocks)
        nested = Nested(
            absmax=parts.read("weight.nested_absmax", "F32", ceil(blocks / NESTED)),
            table=parts.read("weight.nested_quant_map", "F32", 256),
            offset=state["nested_offset"],
        )
    else:
        absmax = parts.read("weight.absmax", "F32", blocks)
    table = parts.read("weight.quant_map", "F32", len(nf4.VALUES))
    parts.close()
    return Nf4(shape=shape, codes=codes, table=table, absmax=absmax, nested=nested), stored_as


def read_state(parts: Parts, shape: tuple[int, int]) -> tuple[dict[str, Any], torch.dtype]:
    """The JSON beside a matrix in 4 bits, checked."""
    name = f"weight.{STATE}"
    what = parts.what(name)
    try:
        state = json.loads(bytes(parts.read(name, "U8", None).numpy()))
    except ValueError as error:
        raise InputError(f"{what} is not JSON: {error}") from error
    if not isinstance(state, dict):
        raise InputError(f"{what} holds no JSON object")
    wanted: dict[str, Any] = {"quant_type": "nf4", "blocksize": BLOCK, "shape": list(shape)}
    if "nested_blocksize" in state or parts.has("weight.nested_absmax"):
        wanted |= {"nested_blocksize": NESTED, "nested_dtype": "float32"}
        offset = state.get("nested_offset")
        if isinstance(offset, bool) or not isinstance(offset, int | float):
            raise InputError(f"{what}: nested_offset = {offset!r} must be a number")
    for key, value in wanted.items():
        if state.get(key) != value:
            raise InputError(f"{what}: {key} = {state.get(key)!r} is not supported here", hint=f"supported: {value!r}")
    if state.get("dtype") not in DTYPES:
        raise InputError(f"{what}: dtype = {state.get('dtype')!r} is not supported", hint=f"one of {', '.join(DTYPES)}")
    return state, DTYPES[state["dtype"]]


def read_int8(parts: Parts, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """int8[N, K] and float32[N], the largest of each row."""
    whole, largest = parts.read("weight", "I8", *shape), parts.read("SCB", "F32", shape[0])
    if parts.has("weight_format") and (number := int(parts.read("weight_format", "U8"))) != 0:
        raise InputError(f"{parts.what('weight_format')} is {number}, not 0: rows in another order are not read")
    parts.close()
    return whole, largest


def to_config(kind: Kind, *, double: bool, stored_as: torch.dtype, dense: Sequence[str] = ()) -> dict[str, Any]:
    """`quantization_config` of a `config.json`. dense: the family's paths of projections that are not quantized."""
    skipped = {"llm_int8_skip_modules": ["lm_head", *dense]} if dense else {}
    if kind == "int8":
        return {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False, **skipped}
    return skipped | {
        "quant_method": "bitsandbytes",
        "load_in_4bit": True,
        "load_in_8bit": False,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": double,
        "bnb_4bit_compute_dtype": NAMES[stored_as],
        "bnb_4bit_quant_storage": "uint8",
    }


def check_config(config: Mapping[str, Any], where: str, *, found: Sequence[str]) -> None:
    """That a `config.json` says of its weights what was found; `found`: paths of projections in few bits.

    Raises:
        InputError: it does not.
    """
    told = config.get("quantization_config")
    if told is None:
        if found:
            name = f"{found[0]}.weight"
            raise InputError(f"{where}: it has no quantization_config, but the tensor {name!r} is stored as integers")
    elif not found:
        raise InputError(f"{where}: it has a quantization_config, but no projection of the folder is quantized")
