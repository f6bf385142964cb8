from __future__ import annotations

import pytest
import torch

from hornbook.errors import InputError
from hornbook.learn.ema import Ema
from hornbook.model.transformer import Transformer
from tests.learn import tiny

torch.set_num_threads(1)


def moved(model: Transformer, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=g).to(p.dtype))


def test_it_is_the_recurrence_of_its_docstring() -> None:
    model = tiny.model()
    average = Ema(model, decay=0.5)
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    for t in range(12):
        moved(model, t)
        average.update()
        decay = min(0.5, (1 + t) / (10 + t))
        for name, p in model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * p.detach()
    torch.testing.assert_close(average.tensors(), expected)
    assert average.updates == 12


def test_the_model_holds_the_average_within_the_block_only() -> None:
    model = tiny.model(exact=False)
    average = Ema(model, decay=0.9)
    moved(model, 0)
    average.update()
    weights = [p.detach().clone() for p in model.parameters()]
    averages = [a.clone() for a in average.tensors().values()]

    def check(held: list[torch.Tensor]) -> None:
        assert all(torch.equal(p, w) for p, w in zip(model.parameters(), held, strict=True))

    with average.in_place():
        check(averages)
    check(weights)
    with pytest.raises(ZeroDivisionError), average.in_place():
        raise ZeroDivisionError
    check(weights)
    assert all(torch.equal(a, b) for a, b in zip(average.tensors().values(), averages, strict=True))
    average.settle()
    check(averages)


def test_other_tensors_are_refused() -> None:
    average = Ema(tiny.model(exact=False), decay=0.9)
    held = average.tensors()
    name = "model.norm.weight"
    rest = {k: v for k, v in held.items() if k != name}
    for tensors, words in (
        (rest, f"f: '{name}' is missing from the averages"),
        (held | {"odd": held[name]}, "f: 'odd' is not in the model"),
        (rest | {name: held[name][:3]}, rf"f: the average of '{name}' is \(3,\) torch.float32, not \(16,\)"),
        (rest | {name: held[name].double()}, f"the average of '{name}' is .* torch.float64, not .* torch.float32"),
    ):
        with pytest.raises(InputError, match=words):
            average.load(tensors, updates=1, where="f")
