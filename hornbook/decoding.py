"""How `generate` and `chat` hold a model's weights, and what they say where it cannot be fast."""

from __future__ import annotations

import sys
from typing import Literal

import torch

from hornbook.model.decode import Decoder, decoder, why_plain
from hornbook.model.int8 import quantize
from hornbook.model.transformer import Transformer

Weights = Literal["fp32", "bf16", "int8"]


def prepare(model: Transformer, weights: Weights) -> Decoder:
    """A decoder over the model's weights, rounded as asked; the model itself is changed."""
    if weights == "int8":
        quantize(model)
    elif weights == "bf16":
        model.to(torch.bfloat16)
    on_cpu = model.head_weight.device.type == "cpu"
    if on_cpu and (why := why_plain(model)):
        print(f"decoding at the speed of training: {why}, which the fast kernels do not know", file=sys.stderr)
    return decoder(model)
