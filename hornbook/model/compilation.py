"""torch.compile: where it pays, and how it is put on a model."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

from hornbook.model.transformer import Transformer

Compile = Literal["auto"] | bool

LEAST_FLOPS = {"cuda": 2e17}
"""Training FLOPs from which compiling saves more than its start-up takes, by kind of device; where a kind is absent,
it never did (docs/decisions.md)."""


def pays(wanted: Compile, *, device: str, flops: float) -> bool:
    """Whether to compile a run of so many training FLOPs in all on a kind of device.

    A function of the run alone and of no clock: compiled code rounds otherwise, and a run that goes on after a kill, or
    is made twice, must decide alike.
    """
    return flops >= LEAST_FLOPS.get(device, float("inf")) if wanted == "auto" else wanted


def compile_layers(model: Transformer) -> None:
    """Compile each layer, in place: all share one piece of code, so that start-up does not grow with depth."""
    for layer in model.model.layers:
        layer.compile()


def uncompiled() -> AbstractContextManager[None]:
    """Within it layers run as they are written: each of an evaluation's many shapes would be compiled anew."""
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance
