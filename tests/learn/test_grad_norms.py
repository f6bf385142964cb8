from __future__ import annotations

import pytest
import torch

from hornbook.learn.grad_norms import kind, norms
from hornbook.model.adapters.attached import trainable
from hornbook.model.adapters.lora import attach
from tests.learn import tiny


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.embed_tokens.weight", "embedding"),
        ("lm_head.weight", "head"),
        ("model.layers.3.self_attn.q_proj.weight", "attention"),
        ("model.layers.3.self_attn.q_norm.weight", "norms"),
        ("model.layers.3.mlp.down_proj.weight", "mlp"),
        ("model.layers.3.post_attention_layernorm.weight", "norms"),
        ("model.norm.weight", "norms"),
    ],
)
def test_every_parameter_has_a_kind(name: str, expected: str) -> None:
    assert kind(name) == expected


def test_the_norms_are_those_of_the_gradient_and_add_up() -> None:
    g = torch.Generator().manual_seed(0)
    gradients = {
        name: torch.randn(p.shape, generator=g, dtype=p.dtype) for name, p in tiny.model(tied=False).named_parameters()
    }
    total, kinds = norms(gradients)
    assert kinds.keys() == {"embedding", "head", "attention", "mlp", "norms"}
    assert total == pytest.approx(float(torch.nn.utils.get_total_norm(list(gradients.values()))), rel=1e-12)
    assert total**2 == pytest.approx(sum(value**2 for value in kinds.values()), rel=1e-12)
    flat = torch.cat([v.flatten() for name, v in gradients.items() if ".mlp." in name])
    assert kinds["mlp"] == pytest.approx(float(flat.norm()), rel=1e-12)


def test_an_adapter_is_of_the_kind_of_what_it_adapts() -> None:
    model = tiny.model()
    attach(model, r=2, alpha=4, targets=["q_proj", "down_proj"], seed=0)
    assert {kind(name) for name in trainable(model)} == {"attention", "mlp"}
