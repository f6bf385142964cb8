"""Where to compute and in which precision: what a config asks for, and what that comes to on this machine."""

from __future__ import annotations

from typing import Literal, Protocol

import torch

from hornbook.errors import UsageError
from hornbook.model.hardware import has_bf16

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "bf16", "fp32"]


def choose_device(wanted: Device) -> torch.device:
    """The device asked for, or the best there is.

    Raises:
        UsageError: it is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, is_there in there.items() if is_there))
    if not there[wanted]:
        raise UsageError(f"there is no {wanted} device on this machine", hint='device = "auto" takes the best there is')
    return torch.device(wanted)


def choose_precision(wanted: Precision, device: torch.device) -> torch.dtype | None:
    """bf16 for matrix products where the device computes it in hardware, else None: all in fp32."""
    return torch.bfloat16 if wanted == "bf16" or (wanted == "auto" and has_bf16(device)) else None


class _Computing(Protocol):
    @property
    def device(self) -> Device: ...
    @property
    def precision(self) -> Precision: ...


def arithmetic(config: _Computing) -> dict[str, str]:
    """The device and type that the config comes to on this machine: they change a run's bytes, so they name it."""
    device = choose_device(config.device)
    return {"device": device.type, "precision": str(choose_precision(config.precision, device) or torch.float32)}
