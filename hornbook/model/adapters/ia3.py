"""(IA)3: keys, values and what is inside the MLP, times vectors that are learned (arXiv 2205.05638, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hornbook.model.adapters.attached import Adapter, Update, begin
from hornbook.model.adapters.projections import device, match, projections, shape
from hornbook.model.transformer import Transformer

PRESET = "keys-values-mlp"
PAPER = ("k_proj", "v_proj", "qkv_proj", "down_proj")
"""What the preset means. Where keys and values are made together with queries, those are scaled too."""


class Rescale(Update):
    """Outputs of a projection times l [out], or what it reads times l [in]."""

    def __init__(self, adapter: Adapter, projection: nn.Module, *, path: str, inputs: bool) -> None:
        super().__init__(adapter, path)
        out, size = shape(projection)
        self.inputs = inputs
        self.l = nn.Parameter(torch.ones(size if inputs else out, device=device(projection)))

    def put_on(self, projection: nn.Module) -> None:
        super().put_on(projection)
        if self.inputs:
            projection.register_forward_pre_hook(self)
        else:
            projection.register_forward_hook(self)

    def forward(self, projection: nn.Module, given: tuple[Tensor, ...], out: Tensor | None = None) -> Tensor:
        """The projection's hook: what it reads, or gives, times l."""
        x = given[0] if out is None else out
        return x * self.l.to(x.dtype) if self.adapter.weight else x

    def applied(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        factor = self.l.detach().to(weight.dtype)
        if self.inputs:
            return weight * factor, bias
        return weight * factor[:, None], None if bias is None else bias * factor


def attach(model: Transformer, *, targets: Sequence[str] = (PRESET,)) -> None:
    """Freeze the model and put factors of one on its projections: on what `down_proj` reads, on what others give.

    Raises:
        InputError: a target matches nothing.
    """
    kinds = {path.rpartition(".")[2] for path in projections(model)}
    paper = [kind for kind in PAPER if kind in kinds]
    wanted = [name for target in targets for name in (paper if target == PRESET else [target])]
    names = match(model, wanted, method="ia3")
    put(model, names, inputs=[name for name in names if name.endswith("down_proj")])


def put(
    model: Transformer, names: Sequence[str], *, inputs: Sequence[str], adapter: str = "default"
) -> list[Rescale]:
    """Freeze the model and put factors on the named projections, on what those in `inputs` read."""
    shared = begin(model, adapter)
    added = [Rescale(shared, model.get_submodule(name), path=name, inputs=name in inputs) for name in names]
    for update in added:
        update.put_on(model.get_submodule(update.path))
    return added
