"""Activation checkpointing (arXiv 1604.06174): less memory for more time, and the same numbers."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from hornbook.model.transformer import Transformer


def recompute_layers(model: Transformer) -> None:
    """Keep only the input of each layer for the backward pass, which computes the layer again.

    Bit for bit the same gradients: nothing in a layer is random. Names of parameters stay as they are.
    """
    for layer in model.model.layers:
        _recompute(layer)


def _recompute(layer: nn.Module) -> None:
    # On the object, below its hooks: what wraps the module later (FSDP's, compiled code) still sees one call.
    layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
