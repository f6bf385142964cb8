from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hornbook.errors import InputError
from hornbook.model import attention
from hornbook.model.adapters.soft import attach_prefix
from hornbook.model.architecture import Architecture
from hornbook.model.transformer import Transformer
from tests.model import tiny

LENGTHS = (5, 1, 7)
IDS = torch.tensor([[4] * 5 + [9] * 1 + [2] * 7])


@pytest.mark.parametrize("changes", tiny.SWITCHES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_packed_row_equals_separate_rows(changes: dict[str, object], dtype: torch.dtype) -> None:
    """Logits and gradients; bfloat16 on a CPU takes the matmul attention."""
    model, row = tiny.model(**changes).to(dtype), tiny.tokens(1, sum(LENGTHS))
    packed = model(row, documents=IDS)
    separate = torch.cat([model(part) for part in row.split(LENGTHS, 1)], 1)
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0.1}
    torch.testing.assert_close(packed, separate, **tolerance)
    if dtype == torch.float32:
        for one, other in zip(gradients(model, packed), gradients(model, separate), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def gradients(model: Transformer, logits: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(logits.float().log_softmax(-1)[..., 3].sum(), list(model.parameters()))


@pytest.mark.parametrize("changes", tiny.SWITCHES, ids=str)
@pytest.mark.parametrize("start", [None, attach_prefix], ids=["", "prefix"])
def test_by_document_and_under_a_mask_are_the_same(changes: dict[str, object], start: Any) -> None:
    """In float64, outputs and gradients; two answers to one prompt and another document in a row, and a padded row."""
    model, rows = tiny.model(**changes), tiny.tokens(2, 13)
    if start:
        start(model, tokens=3, seed=0)
    model.double()
    documents = torch.tensor([[0] * 6 + [1] * 3 + [2] * 4, [3] * 9 + [4] * 4])
    prefixes = torch.zeros(2, 13, 2, dtype=torch.int64)
    prefixes[0, 6:9, 1] = 4
    found = []
    for model.masked in (False, True):
        out = model.hidden(rows, documents=documents, prefixes=prefixes)
        learned = [p for p in model.parameters() if p.requires_grad]
        found.append((out, *torch.autograd.grad(out.sin().sum(), learned, allow_unused=True)))
    torch.testing.assert_close(*found, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("changes", tiny.SWITCHES, ids=str)
def test_what_is_not_wanted_changes_nothing(changes: dict[str, object]) -> None:
    """In float64, outputs and gradients; the last layer leaves it out."""
    model, rows = tiny.model(**changes).double(), tiny.tokens(1, sum(LENGTHS))
    places = torch.arange(1, 13, 3)
    found = []
    for out in (model.hidden(rows, documents=IDS, places=places), model.hidden(rows, documents=IDS)[0, places]):
        found.append((out, *torch.autograd.grad(out.sin().sum(), list(model.model.parameters()))))
    torch.testing.assert_close(*found, atol=1e-12, rtol=1e-12)


def test_one_document_a_row_is_the_same_as_none() -> None:
    model, rows = tiny.model(), tiny.tokens(2, 9)
    assert torch.equal(model(rows), model(rows, documents=torch.tensor([[3], [8]]).expand(2, 9)))


@pytest.mark.parametrize("changes", tiny.SWITCHES, ids=str)
def test_right_padding_changes_nothing(changes: dict[str, object]) -> None:
    model, row = tiny.model(**changes), tiny.tokens(1, 6)
    padded = torch.cat([row, tiny.tokens(1, 4, seed=5)], 1)
    torch.testing.assert_close(model(padded)[:, :6], model(row))


def test_autocast_attends_by_matmul_as_by_sdpa(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = tiny.model(), tiny.tokens(2, 13)
    outputs = []
    for limit in (512, 0):
        monkeypatch.setattr(attention, "MATMUL_ATTENTION_LIMIT", limit)
        with torch.autocast("cpu", torch.bfloat16):
            outputs.append(model(rows, documents=IDS.expand(2, -1)).float())
    torch.testing.assert_close(*outputs, atol=0.15, rtol=0.1)
    torch.testing.assert_close(outputs[0], model(rows, documents=IDS.expand(2, -1)), atol=0.3, rtol=0.1)


@pytest.mark.parametrize("changes", tiny.SWITCHES, ids=str)
def test_gradients_are_exact(changes: dict[str, object]) -> None:
    """Against finite differences in float64 along a random direction."""
    model, rows = tiny.model(**changes).double(), tiny.tokens(1, 13)
    parameters = list(model.parameters())
    generator = torch.Generator().manual_seed(2)
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]

    def loss() -> Tensor:
        return model(rows, documents=IDS).log_softmax(-1)[..., 3].sum()

    slope = sum((g * d).sum() for g, d in zip(torch.autograd.grad(loss(), parameters), directions, strict=True))
    ends, step = [], 1e-6
    with torch.no_grad():
        for sign in (1, -2):
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(direction, alpha=sign * step)
            ends.append(loss())
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-5)


def test_twice_the_same_bytes() -> None:
    model, rows = tiny.model(), tiny.tokens(4, 20)
    for one, other in zip(*(gradients(model, model(rows)) for _ in range(2)), strict=True):
        assert torch.equal(one, other)


def test_initialize_depends_on_seed_and_name_only() -> None:
    state = torch.random.get_rng_state()
    small = Transformer(tiny.architecture(num_hidden_layers=1)).initialize(7).state_dict()
    torch.random.set_rng_state(state)
    torch.manual_seed(99)
    large = Transformer(tiny.architecture(num_hidden_layers=1)).initialize(7).state_dict()
    other = Transformer(tiny.architecture(num_hidden_layers=1)).initialize(8).state_dict()
    assert all(torch.equal(small[name], large[name]) for name in small)
    assert not torch.equal(small["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
    std = small["model.layers.0.self_attn.q_proj.weight"].std()
    assert 0.018 < std < 0.022
    assert small["model.layers.0.mlp.down_proj.weight"].std() < 0.8 * std


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_key_value_heads": 3}, "not a multiple of num_key_value_heads = 3"),
        ({"head_dim": 7}, "head_dim = 7 must be even"),
        ({"partial_rotary_factor": 0.4}, r"head_dim = 8 \* 0.4 must be even"),
        ({"layer_types": ("full_attention",)}, "layer_types names 1 layers, num_hidden_layers = 2"),
        ({"layer_types": ("full_attention", "sliding_attention")}, "there is no sliding_window"),
        ({"nope_layers": (2,)}, r"nope_layers = \(2,\) are not all among 2 layers"),
        ({"hidden_size": 0}, "hidden_size = 0 must be at least 1"),
    ],
)
def test_architecture_that_does_not_fit_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Architecture(**{**tiny.SHAPE, "head_dim": 8, **changes})
