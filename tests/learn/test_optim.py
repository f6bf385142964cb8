from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from hornbook.errors import InputError
from hornbook.learn.hyperparameters import Rates, rates
from hornbook.learn.optim import Optimizer, adamw, muon
from hornbook.model.transformer import Transformer
from tests.learn import tiny

torch.set_num_threads(1)
MAKERS: dict[str, Callable[[Transformer], Optimizer]] = {
    "adamw": lambda m: adamw(m, learning_rate=1e-2),
    "muon": lambda m: muon(m, rates=rates(2e-3)),
}
every_kind = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def push(model: Transformer, *, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=g).to(p.dtype) if p.requires_grad else None


def stepped(model: Transformer, optimizer: Optimizer, seeds: range) -> None:
    for seed in seeds:
        push(model, seed=seed)
        optimizer.step(0.5)


@pytest.mark.parametrize("tied", [True, False])
def test_only_matrices_decay(tied: bool) -> None:
    model = tiny.model(tied=tied)
    (part,) = adamw(model, learning_rate=1.0, decay=0.1).parts
    decays = {id(p): group.weight_decay for group in part.groups for p in group.params}
    for name, p in model.named_parameters():
        assert decays[id(p)] == (0.1 if "proj" in name or "lm_head" in name else 0.0), name


def test_muon_takes_the_hidden_matrices_and_no_other() -> None:
    model = tiny.model(tied=False)
    _, orthogonal = muon(model, rates=rates(1.0)).parts
    taken = {id(p) for group in orthogonal.groups for p in group.params}
    assert taken == {id(p) for name, p in model.named_parameters() if "proj" in name}


@pytest.mark.parametrize("tied", [True, False])
def test_every_kind_of_parameter_has_its_own_rate(tied: bool) -> None:
    model = tiny.model(tied=tied)
    wanted = Rates(matrices=1.0, embeddings=2.0, head=3.0, vectors=4.0)
    parts = muon(model, rates=wanted).parts
    found = {id(p): group.lr for part in parts for group in part.groups for p in group.params}
    for name, p in model.named_parameters():
        kinds = {"proj": 1.0, "embed_tokens": 3.0 if tied else 2.0, "lm_head": 3.0, "norm": 4.0}
        assert found[id(p)] == next(rate for kind, rate in kinds.items() if kind in name), name


@every_kind
def test_state_restores_bit_for_bit(make: Callable[[Transformer], Optimizer]) -> None:
    model = tiny.model(exact=False)
    optimizer = make(model)
    stepped(model, optimizer, range(3))
    copy = tiny.model(exact=False)
    copy.load_state_dict(model.state_dict())
    resumed = make(copy)
    resumed.load_state({name: t.clone() for name, t in optimizer.state().items()}, where="f")
    for m, o in ((model, optimizer), (copy, resumed)):
        stepped(m, o, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), copy.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(optimizer.state().values(), resumed.state().values(), strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_state_goes_to_the_device_of_its_parameter() -> None:
    model = tiny.model(exact=False).cuda()
    optimizer = adamw(model, learning_rate=1e-2)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(1.0)
    resumed = adamw(model, learning_rate=1e-2)
    resumed.load_state({name: t.cpu() for name, t in optimizer.state().items()}, where="f")
    resumed.step(1.0)
    assert all(value.is_cuda for value in resumed.state().values())


@every_kind
def test_broken_state_is_named(make: Callable[[Transformer], Optimizer]) -> None:
    model = tiny.model(exact=False)
    optimizer = make(model)
    stepped(model, optimizer, range(1))
    state = optimizer.state()
    key = next(key for key in state if not key.startswith("step/"))
    with pytest.raises(InputError, match=r"f: the optimizer's '.*' is missing"):
        optimizer.load_state({k: v for k, v in state.items() if k != key}, where="f")
    with pytest.raises(InputError, match="shape"):
        optimizer.load_state(state | {key: torch.zeros(3)}, where="f")
    with pytest.raises(InputError, match=r"'exp_avg' of 'model.nothing' belongs to no parameter"):
        optimizer.load_state(state | {"exp_avg/model.nothing": torch.zeros(3)}, where="f")


def test_adamw_is_torchs_to_the_bit() -> None:
    model, theirs = tiny.model(exact=False), tiny.model(exact=False)
    ours = adamw(model, learning_rate=1e-2, decay=0.1)
    matrices, rest = ([dict(theirs.named_parameters())[n] for n in names] for names in _names(ours, model))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.5e-2, betas=(0.9, 0.95), fused=True)
    for seed in range(3):
        push(model, seed=seed)
        push(theirs, seed=seed)
        ours.step(0.5)
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), theirs.parameters(), strict=True))


def _names(optimizer: Optimizer, model: Transformer) -> list[list[str]]:
    """Of the parameters of each group."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [[names[id(p)] for p in group.params] for part in optimizer.parts for group in part.groups]


def test_adamw_follows_its_equation() -> None:
    model = tiny.model()
    name = "model.layers.0.mlp.up_proj.weight"
    before = model.get_parameter(name).detach().clone()
    push(model, seed=0)
    gradient = model.get_parameter(name).grad
    assert gradient is not None
    adamw(model, learning_rate=0.1, decay=0.2).step(0.5)
    expected = before * (1 - 0.05 * 0.2) - 0.05 * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(model.get_parameter(name).detach(), expected)


def test_frozen_parameters_have_no_part_in_it() -> None:
    model = tiny.model()
    model.model.embed_tokens.weight.requires_grad_(False)
    assert "model.embed_tokens.weight" not in adamw(model, learning_rate=1.0).named
