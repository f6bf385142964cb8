"""The ways to make a model one's own that a plan compares, each as the options of a stage that trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hornbook.config import build
from hornbook.learn.optim import Optimizer
from hornbook.model.quantizing import quantize
from hornbook.model.recompute import recompute_layers
from hornbook.model.transformer import Transformer
from hornbook.planning import four_bit
from hornbook.training.adapting import OptimizerName, make_optimizer, prepare
from hornbook.training.options import Training

Name = Literal["full", "lora", "qlora", "prefix", "prompt", "pretrain"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way, and what a stage is told for it."""

    title: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `training.options.Training`."""
    optimizer: OptimizerName = "adamw"
    four_bit: bool = False
    """The frozen weights are held in 4 bits."""

    @property
    def adapts(self) -> bool:
        """Whether the model itself stays as it is."""
        return bool(self.options)

    def prepare(self, model: Transformer, *, recompute: bool) -> None:
        """Make a model ready to learn in this way."""
        if self.four_bit:
            quantize(model, "nf4")
        self._attach(model, recompute=recompute)

    def rehearse(self, model: Transformer, *, recompute: bool, gpu: bool = False) -> None:
        """The same of a model without numbers, as it is on a GPU or on a CPU."""
        model.masked = gpu
        if self.four_bit:
            four_bit.quantize(model, whole=gpu)
        self._attach(model, recompute=recompute)

    def _attach(self, model: Transformer, *, recompute: bool) -> None:
        prepare(model, build(Training, self.options, where=self.title), seed=0)
        if recompute:
            recompute_layers(model)

    def make_optimizer(self, model: Transformer) -> Optimizer:
        """What it is trained with."""
        return make_optimizer(model, self.optimizer, learning_rate=1e-3)


METHODS: dict[Name, Method] = {
    "full": Method(title="full finetuning"),
    "lora": Method(title="LoRA", options={"lora": {}}),
    "qlora": Method(title="QLoRA", options={"lora": {}}, four_bit=True),
    "prefix": Method(title="prefix tuning", options={"prefix": {}}),
    "prompt": Method(title="prompt tuning", options={"prompt": {}}),
    "pretrain": Method(title="a new model", optimizer="muon"),
}
