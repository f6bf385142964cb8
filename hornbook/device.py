"""Where to compute and in which precision: what a config asks for, and what that comes to on this machine."""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Literal, Protocol

import torch

from hornbook.errors import UsageError
from hornbook.model.hardware import has_bf16

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "bf16", "fp16", "fp32"]


def choose_device(wanted: Device, *, deterministic: bool = False) -> torch.device:
    """The device asked for, or the best there is.

    deterministic: from now on torch uses only kernels that give the same bytes each time, or raises where it has none.

    Raises:
        UsageError: it is not there.
    """
    if deterministic:
        # Read by cuBLAS when it is first used; without it its products may differ between streams.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, is_there in there.items() if is_there))
    if not there[wanted]:
        raise UsageError(f"there is no {wanted} device on this machine", hint='device = "auto" takes the best there is')
    return torch.device(wanted)


def choose_precision(wanted: Precision, device: torch.device) -> torch.dtype | None:
    """The type of matrix products, None for fp32: bf16 where the device computes it in hardware, fp16 on other GPUs."""
    known = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}
    return known[_best(device) if wanted == "auto" else wanted]


PROBE = {"cpu": 1024, "mps": 2048, "cuda": 8192}
"""Rows and columns of the matrices that the probe multiplies: enough to reach the device's rate."""
PROBES = 5
"""Timed products, of which the quickest counts: whatever else the machine does slows down the others."""


@cache
def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a square matrix product, measured once in a process; 2 n^3 are one."""
    size = PROBE[device.type]
    a, b = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    _seconds(a, b)
    return 2 * size**3 / min(_seconds(a, b) for _ in range(PROBES))


def _seconds(a: torch.Tensor, b: torch.Tensor) -> float:
    started = time.perf_counter()
    # Reading a number waits for the device.
    (a @ b)[0, 0].item()
    return time.perf_counter() - started


class _Computing(Protocol):
    @property
    def device(self) -> Device: ...
    @property
    def precision(self) -> Precision: ...


def arithmetic(config: _Computing) -> dict[str, str]:
    """The device and type that the config comes to on this machine: they change a run's bytes, so they name it."""
    device = choose_device(config.device)
    return {"device": device.type, "precision": str(choose_precision(config.precision, device) or torch.float32)}


def _best(device: torch.device) -> Literal["bf16", "fp16", "fp32"]:
    return "bf16" if has_bf16(device) else "fp16" if device.type == "cuda" else "fp32"
