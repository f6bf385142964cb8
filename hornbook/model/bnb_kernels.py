"""bitsandbytes' kernel that makes 4-bit weights dense, for CUDA: `pip install 'hornbook[bnb]'`.

It reads each code once and writes the type that the product takes, where PyTorch's own operations write several tensors
as large as the matrix in between. On a CPU ours is the faster one. It was checked on a CPU, where bitsandbytes has the
same function; on CUDA it has not been run yet.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from hornbook.model.blocks import BLOCK

TYPES = (torch.float32, torch.float16, torch.bfloat16)
"""That it writes."""


@cache
def installed() -> bool:
    return find_spec("bitsandbytes") is not None


def serve(codes: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernel is there for codes on that device."""
    return codes.device.type == "cuda" and dtype in TYPES and installed()


def dequantize(codes: Tensor, scales: Tensor, shape: tuple[int, ...], *, dtype: torch.dtype) -> Tensor:
    """A whole matrix in NF4: uint8[W / 2] and float32[B] -> `shape`, computed in float32 and rounded to `dtype`."""
    from bitsandbytes.functional import QuantState, dequantize_4bit

    parts = {"absmax": scales, "shape": torch.Size(shape), "blocksize": BLOCK, "quant_type": "nf4", "dtype": dtype}
    state = QuantState(**parts)  # type: ignore[no-untyped-call]
    dense: Tensor = dequantize_4bit(codes.view(-1, 1), state)
    return dense
