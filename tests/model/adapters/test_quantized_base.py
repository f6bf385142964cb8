"""QLoRA: adapters on a base in few bits, beside the same adapters on the dense weights that the codes stand for."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hornbook.model.adapters import ia3, lora
from hornbook.model.adapters.attached import parts, trainable
from hornbook.model.adapters.merging import merge
from hornbook.model.adapters.soft import attach_prefix, attach_prompt
from hornbook.model.bnb import Kind
from hornbook.model.quantizing import quantize, quantized
from hornbook.model.recompute import recompute_layers
from hornbook.model.transformer import Transformer
from tests.model import tiny

ATTACH: dict[str, Callable[[Transformer], object]] = {
    "lora": lambda model: lora.attach(model, r=4, alpha=8, targets="all-linear", seed=0),
    "dora": lambda model: lora.attach(model, r=4, alpha=8, targets="attention", seed=0, dora=True),
    "pissa": lambda model: lora.attach(model, r=2, alpha=4, targets="all-linear", seed=0, init="pissa"),
    "ia3": lambda model: ia3.attach(model, targets=("keys-values-mlp",)),
    "prefix": lambda model: attach_prefix(model, tokens=3, text=[], hidden=None, seed=0),
    "prompt": lambda model: attach_prompt(model, tokens=3, text=[], seed=0),
}
SWITCHES = [{}, {"attention_bias": True, "output_bias": True, "mlp_bias": True}, {"fused_projections": True}]


def pair(kind: Kind, **changes: object) -> tuple[Transformer, Transformer]:
    """A model in few bits, and one that holds the weights that it stands for; in float64."""
    few = tiny.model(**changes)
    dense = copy.deepcopy(few)
    quantize(few, kind)
    for path, module in quantized(few).items():
        linear = dense.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        linear.weight = nn.Parameter(module.weight)
    return few.double(), dense.double()


def attached(model: Transformer, method: str) -> Transformer:
    """With an adapter whose every number is random, so that all have gradients."""
    ATTACH[method](model)
    tiny_numbers = torch.Generator().manual_seed(5)
    for parameter in trainable(model).values():
        noise = torch.randn(parameter.shape, generator=tiny_numbers)
        parameter.data = (parameter.detach() + 0.1 * noise).double()
    return model


def loss(model: Transformer) -> Tensor:
    rows = tiny.tokens(2, 12)
    return F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())


@pytest.mark.parametrize("kind", ["nf4", "int8"])
@pytest.mark.parametrize("method", ATTACH)
def test_loss_and_gradients_are_those_of_the_dense_weights(kind: Kind, method: str) -> None:
    found: list[tuple[Tensor, dict[str, Tensor]]] = []
    for model in pair(kind):
        attached(model, method)
        value = loss(model)
        value.backward()
        found.append((value.detach(), {name: p.grad for name, p in trainable(model).items() if p.grad is not None}))
    (ours, gradients), (theirs, expected) = found
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert gradients.keys() == expected.keys()
    assert len(gradients) > 0
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_lora_on_other_layouts(switch: dict[str, object]) -> None:
    values = [loss(attached(model, "lora")).detach() for model in pair("nf4", **switch)]
    torch.testing.assert_close(*values, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_evaluating_changes_nothing_and_no_gradient_is_zero_after_it(kind: Kind) -> None:
    """bitsandbytes repacks its weights when it evaluates on a CPU: most gradients are zero then, a save is wrong."""
    model, _ = pair(kind)
    attached(model, "lora")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.eval()
    with torch.no_grad():
        model(tiny.tokens(1, 1))
        model(tiny.tokens(3, 9))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    model.train()
    loss(model).backward()
    for name, parameter in trainable(model).items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_recomputed_layers_give_the_same_gradients() -> None:
    gradients = []
    for recompute in (False, True):
        model, _ = pair("nf4")
        attached(model, "lora")
        if recompute:
            recompute_layers(model)
        loss(model).backward()
        gradients.append([p.grad for p in trainable(model).values() if p.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_only_the_adapter_learns() -> None:
    model, _ = pair("nf4")
    attached(model, "lora")
    inside = tuple(f"{path}." for path in parts(model))
    assert all(name.startswith(inside) for name in trainable(model))


@pytest.mark.parametrize(("kind", "worst"), [("nf4", 0.4), ("int8", 0.02)])
@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_merged_into_few_bits_it_says_what_that_cost(kind: Kind, worst: float, switch: dict[str, object]) -> None:
    model, dense = pair(kind, **switch)
    for each in (model, dense):
        attached(each, "lora")
    merge(dense)
    held = {path: module.weight.clone() for path, module in quantized(model).items()}
    found = merge(model)
    assert quantized(model).keys() == held.keys()
    distance = max(
        (module.weight - dense.get_parameter(f"{path}.weight")).abs().max().item()
        for path, module in quantized(model).items()
    )
    assert found.error == pytest.approx(distance, rel=1e-4)
    assert 0 < found.error < worst
    found.undo()
    assert all(torch.equal(module.weight, held[path]) for path, module in quantized(model).items())


def test_merged_and_taken_out_again_and_again_nothing_drifts() -> None:
    model, _ = pair("nf4")
    attached(model, "lora")
    rows = tiny.tokens(2, 9)
    before = model(rows)
    for _ in range(5):
        merge(model).undo()
    assert torch.equal(model(rows), before)
