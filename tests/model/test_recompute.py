from __future__ import annotations

import torch

from hornbook.learn.batches import Batch
from hornbook.learn.examples import batched
from hornbook.learn.loop import next_token
from hornbook.model.recompute import recompute_layers
from hornbook.model.transformer import Transformer
from tests.learn import tiny
from tests.learn.test_examples import examples

torch.set_num_threads(1)


def batch() -> Batch:
    return batched(examples([5, 9, 3, 14]), length=14, rows=4)[0]


def gradients(model: Transformer) -> tuple[float, dict[str, torch.Tensor], int]:
    """The loss, its gradients, and how many bytes the graph keeps for the backward pass besides weights."""
    kept: dict[int, int] = {}
    weights = {p.data_ptr() for p in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss, _ = next_token(model, batch())
    held = sum(kept.values())
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, held


def test_it_keeps_less_and_changes_no_bit() -> None:
    plain, thrifty = tiny.model(layers=3, exact=False), tiny.model(layers=3, exact=False)
    recompute_layers(thrifty)
    loss, expected, held = gradients(plain)
    same, found, less = gradients(thrifty)
    assert same == loss
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert less < held / 2
