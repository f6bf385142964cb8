"""torch.compile: where it pays, and how it is put on a model."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from hornbook.model.transformer import Transformer

Compile = Literal["auto"] | bool

LEAST_FLOPS = {"cuda": 2e17}
"""Training FLOPs in all from which a run is compiled, by kind of device; a kind that is absent has no known gain. That
of CUDA is an estimate: a minute of start-up is a few hundredths of so long a run (docs/decisions.md)."""


def pays(wanted: Compile, *, device: str, flops: float) -> bool:
    """Whether to compile a run of so many training FLOPs in all on a kind of device.

    A function of the run alone and of no clock: compiled code rounds otherwise, and a run that goes on after a kill, or
    is made twice, must decide alike.
    """
    return flops >= LEAST_FLOPS.get(device, float("inf")) if wanted == "auto" else wanted


def compile_layers(model: Transformer) -> None:
    """Compile the layers for training, in place; all share one piece of code, so start-up does not grow with depth.

    In evaluation mode they run as they are written: each of the many shapes there would be compiled anew.
    """
    model.masked = True
    for layer in model.model.layers:
        _compile(layer)


def _compile(layer: nn.Module) -> None:
    plain, compiled = layer.forward, torch.compile(layer.forward)

    def forward(*given: Any) -> Any:
        return (compiled if layer.training else plain)(*given)

    layer.forward = forward
