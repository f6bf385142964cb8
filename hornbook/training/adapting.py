"""What of a model is to learn, and by which optimizer."""

from __future__ import annotations

from typing import Literal

from hornbook.errors import UsageError
from hornbook.learn.hyperparameters import rates
from hornbook.learn.optim import Optimizer, adamw, muon
from hornbook.model.adapters import lora
from hornbook.model.adapters.attached import adapters
from hornbook.model.transformer import Transformer
from hornbook.training.options import Training


def prepare(model: Transformer, options: Training, *, seed: int) -> None:
    """Make the model ready to learn: whole, or only a new adapter."""
    if (low_rank := options.lora) is not None:
        lora.attach(model, r=low_rank.r, alpha=low_rank.alpha, targets=low_rank.targets, seed=seed)


OptimizerName = Literal["muon", "adamw"]


def make_optimizer(model: Transformer, kind: OptimizerName, *, learning_rate: float, decay: float = 0.0) -> Optimizer:
    """AdamW; or Muon for the hidden matrices with AdamW for the rest.

    Raises:
        UsageError: Muon for an adapter, whose factors it would orthogonalize one by one.
    """
    if kind == "adamw":
        return adamw(model, learning_rate=learning_rate, decay=decay)
    if adapters(model):
        raise UsageError("Muon does not suit low-rank adapters", hint='optimizer = "adamw"')
    return muon(model, rates=rates(learning_rate), decay=decay)
