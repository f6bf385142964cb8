from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch

from hornbook.model.compilation import LEAST_FLOPS, Compile, compile_layers, pays
from tests.learn import tiny

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("wanted", "device", "flops", "expected"),
    [
        (True, "cpu", 1.0, True),
        (False, "cuda", 1e24, False),
        ("auto", "cuda", LEAST_FLOPS["cuda"], True),
        ("auto", "cuda", LEAST_FLOPS["cuda"] / 2, False),
        ("auto", "mps", 1e24, False),
    ],
)
def test_it_compiles_where_the_run_is_long_enough(wanted: Compile, device: str, flops: float, expected: bool) -> None:
    assert pays(wanted, device=device, flops=flops) == expected


def test_compiled_layers_say_the_same_and_are_not_used_to_evaluate(monkeypatch: pytest.MonkeyPatch) -> None:
    # Traced and differentiated as always, but not translated to C++, which takes half a minute.
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend="aot_eager"))
    plain, compiled = tiny.model(layers=2, exact=False), tiny.model(layers=2, exact=False)
    tokens = torch.arange(24).reshape(2, 12)
    with warnings.catch_warnings():
        # Of torch's own: what its compiler imports is deprecated here and there.
        warnings.simplefilter("ignore")
        compile_layers(compiled)
        found = compiled(tokens)
        found.sum().backward()
    expected = plain(tokens)
    expected.sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    compiled.eval()
    assert torch.equal(compiled(tokens), plain.eval()(tokens)), "evaluation is the plain code, bit for bit"
