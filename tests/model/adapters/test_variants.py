"""LoRA's variants and (IA)3, beside PEFT's and beside their papers' equations."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.model.adapters import ia3, lora
from hornbook.model.adapters.attached import adapter_off, adapters, parts, place, switch, trainable, updates
from hornbook.model.adapters.folder import load_adapter, save_adapter
from hornbook.model.adapters.lora import LowRank, add_low_rank
from hornbook.model.adapters.merging import merge
from hornbook.model.transformer import Transformer
from hornbook.model.weights import load_model, save_model
from tests.model import tiny
from tests.model.adapters.test_lora import OLD_NAME

PATTERNS: dict[str, Any] = {"rank_pattern": {"layers.1.mlp.up_proj": 2, "k_proj": 6}, "alpha_pattern": {"k_proj": 3}}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"init": "gaussian"},
    {"init": "pissa"},
    {"init": "pissa", "rslora": True},
    {"rslora": True},
    {"dora": True},
    {"dora": True, "rslora": True},
    PATTERNS,
    {"dora": True, **PATTERNS},
]
each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)


def adapted(variant: dict[str, Any], *, stir: bool = True, **changes: Any) -> Transformer:
    """A model with an adapter, whose parameters are moved away from where they begin."""
    model = tiny.model(**changes)
    lora.attach(model, r=4, alpha=8, targets="all-linear", seed=0, **variant)
    if stir:
        stirred(model)
    return model


def stirred(model: Transformer) -> None:
    generator = torch.Generator().manual_seed(1)
    for parameter in trainable(model).values():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.1


@each_variant
def test_an_adapter_begins_as_its_base(variant: dict[str, Any]) -> None:
    rows, base = tiny.tokens(2, 9), tiny.model()
    model = adapted(variant, stir=False)
    torch.testing.assert_close(model(rows), base(rows), atol=1e-5, rtol=1e-5)
    stirred(model)
    assert not torch.allclose(model(rows), base(rows), atol=1e-2)
    with adapter_off(model):
        assert torch.equal(model(rows), base(rows)), "the base is as it was"


@each_variant
@pytest.mark.parametrize("changes", [{}, {"attention_bias": True, "mlp_bias": True, "output_bias": True}], ids=str)
def test_merged_and_taken_out_again(variant: dict[str, Any], changes: dict[str, Any]) -> None:
    model, rows = adapted(variant, **changes), tiny.tokens(2, 9)
    before, learned = model(rows), list(trainable(model))
    state = copy.deepcopy(model.state_dict())
    merged = merge(model)
    assert not adapters(model)
    torch.testing.assert_close(model(rows), before, atol=1e-4, rtol=1e-4)
    assert 0 < merged.error < 1e-6 < merged.change
    assert len(trainable(model)) == len(list(model.parameters()))
    merged.undo()
    assert torch.equal(model(rows), before)
    assert list(trainable(model)) == learned
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_bf16_merged_a_hundred_times_does_not_drift() -> None:
    model = adapted({}).to(torch.bfloat16)
    state = copy.deepcopy(model.state_dict())
    for _ in range(100):
        merge(model).undo()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert merge(model).error > 1e-4


@each_variant
@pytest.mark.filterwarnings(OLD_NAME)
def test_ours_loads_in_peft_and_here(variant: dict[str, Any], tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    model, rows = adapted(variant), tiny.tokens(2, 9)
    save_model(tmp_path / "base", tiny.model(), eos=[0])
    save_adapter(model, tmp_path / "adapter", base_name="base")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(rows).logits, model(rows), atol=1e-4, rtol=1e-4)
    ours = tiny.model()
    load_adapter(ours, tmp_path / "adapter")
    torch.testing.assert_close(ours(rows), model(rows), atol=1e-5, rtol=1e-5)
    save_adapter(ours, tmp_path / "again", base_name="base")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "adapter" / name).read_bytes()


THEIRS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"use_dora": True, "use_rslora": True, "target_modules": "all-linear"}),
    ("llama", {"target_modules": ["q_proj", "k_proj"], "rank_pattern": {r"0\.self_attn\.q_proj": 2},
               "alpha_pattern": {"k_proj": 32}}),
    ("llama", {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1]}),
    ("llama", {"target_modules": "all-linear", "exclude_modules": ["o_proj"]}),
    ("llama", {"target_modules": ["q_proj"], "init_lora_weights": "pissa"}),
    ("gpt_neox", {"use_dora": True, "target_modules": ["query_key_value", "dense"]}),
    ("phi3", {"use_dora": True, "target_modules": ["qkv_proj", "down_proj"]}),
]  # fmt: skip


@pytest.mark.filterwarnings(OLD_NAME)
@pytest.mark.parametrize(("kind", "options"), THEIRS, ids=str)
def test_theirs_loads_here(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    peft, rows = pytest.importorskip("peft"), tiny.tokens(2, 9)
    base = tiny.saved(kind, {}, tmp_path / "base")
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, **{"init_lora_weights": False, **options})
    theirs = peft.get_peft_model(base, config).eval()
    generator = torch.Generator().manual_seed(2)
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.05
    theirs.save_pretrained(tmp_path / "adapter")
    ours = load_model(tmp_path / "base")
    load_adapter(ours, tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(ours(rows), theirs(rows).logits, atol=1e-4, rtol=1e-4)


IA3_FAMILIES = {row[0]: row for row in tiny.ROWS}
TRANSPOSED = {"gpt2": (["c_attn", "mlp.c_proj"], ["mlp.c_proj"]),
              "gpt_neox": (["query_key_value", "dense_4h_to_h"], ["dense_4h_to_h"]),
              "phi3": (["qkv_proj", "down_proj"], ["down_proj"])}  # fmt: skip


@pytest.mark.filterwarnings(OLD_NAME)
@pytest.mark.parametrize(("kind", "changes"), IA3_FAMILIES.values(), ids=IA3_FAMILIES)
def test_ia3_with_peft_both_ways(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    peft, rows = pytest.importorskip("peft"), tiny.tokens(2, 9)
    base = tiny.saved(kind, changes, tmp_path / "base")
    targets, inputs = TRANSPOSED.get(kind, (["k_proj", "v_proj", "down_proj"], ["down_proj"]))
    config = peft.IA3Config(task_type="CAUSAL_LM", target_modules=targets, feedforward_modules=inputs,
                            init_ia3_weights=False, fan_in_fan_out=kind == "gpt2")  # fmt: skip
    theirs = peft.get_peft_model(base, config).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    ours = load_model(tmp_path / "base")
    load_adapter(ours, tmp_path / "adapter")
    with torch.no_grad():
        logits = theirs(rows).logits
    torch.testing.assert_close(ours(rows), logits, atol=1e-3, rtol=1e-4)
    save_adapter(ours, tmp_path / "again", base_name="base")
    again = peft.PeftModel.from_pretrained(tiny.theirs(kind, changes), tmp_path / "again").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(rows).logits, logits, atol=1e-3, rtol=1e-4)
    before = ours(rows)
    merge(ours)
    torch.testing.assert_close(ours(rows), before, atol=1e-3, rtol=1e-3)


def test_ia3_begins_as_its_base_and_adapts_what_the_paper_does() -> None:
    model, rows = tiny.model(), tiny.tokens(2, 9)
    before = model(rows)
    ia3.attach(model)
    assert torch.equal(model(rows), before)
    kinds = {path.rpartition(".")[2]: [part.inputs for part in held] for path, held in updates(model).items()}  # type: ignore[attr-defined]
    assert kinds == {"k_proj": [False], "v_proj": [False], "down_proj": [True]}
    model(rows).log_softmax(-1)[..., 3].sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == trainable(model).keys()


@pytest.mark.parametrize("drop", [False, True])
def test_the_gradient_is_that_of_the_equation(drop: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    out, x, a, b = (torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
                    for shape in ((2, 3, 5), (2, 3, 7), (4, 7), (5, 4)))  # fmt: skip
    mask = lora.Dropout(0.3, "here", 0) if drop else None

    def plain(out: Tensor, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return out + 1.5 * (x if mask is None else x * mask.mask(x)) @ a.T @ b.T

    inputs = (out, x, a, b)
    torch.testing.assert_close(add_low_rank(*inputs, scale=1.5, drop=mask), plain(*inputs))
    weight = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    found = torch.autograd.grad((add_low_rank(*inputs, scale=1.5, drop=mask) * weight).sum(), inputs)
    expected = torch.autograd.grad((plain(*inputs) * weight).sum(), inputs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def saved_bytes(model: nn.Module, rows: Tensor) -> int:
    """Bytes that the backward pass keeps, parameters left out, each storage counted once."""
    kept: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(rows).sum()
    del loss
    return sum(size for at, size in kept.items() if at not in own)


def test_what_projections_read_is_kept_once() -> None:
    rows = tiny.tokens(4, 32)
    plain, dropping = adapted({}), adapted({"dropout": 0.5}).train()
    r, width = 4, 4 * 32 * 4
    low = sum(width * r for _ in updates(plain))
    assert saved_bytes(plain, rows) <= saved_bytes(tiny.model(), rows) + low
    assert saved_bytes(dropping, rows) == saved_bytes(plain, rows), "masks are drawn again"


def test_dropout_is_a_function_of_seed_step_micro_batch_and_module() -> None:
    model, rows = adapted({"dropout": 0.5}), tiny.tokens(2, 9)
    found: dict[Any, Tensor] = {}
    for step, micro in [(0, 0), (0, 1), (1, 0)]:
        place(model, step=step, micro=micro)
        found[step, micro] = model.train()(rows)
        torch.rand(3)
        assert torch.equal(model(rows), found[step, micro])
        assert torch.equal(model.eval()(rows), adapted({})(rows))
    assert not torch.equal(found[0, 0], found[0, 1])
    assert not torch.equal(found[0, 0], found[1, 0])
    update = next(part for part in parts(model).values() if isinstance(part, LowRank))
    masks = [lora.Dropout(0.5, f"{at}", 0).mask(torch.ones(10_000)) for at in (update.path, "other")]
    assert not torch.equal(*masks)
    assert masks[0].mean().item() == pytest.approx(1, abs=0.05)
    assert set(masks[0].tolist()) == {0.0, 2.0}


def test_pissa_begins_with_the_largest_singular_values() -> None:
    model = adapted({"init": "pissa"}, stir=False)
    (update,) = updates(model)["model.layers.0.mlp.up_proj"]
    assert isinstance(update, LowRank)
    weight = model.get_submodule("model.layers.0.mlp.up_proj").weight
    assert isinstance(weight, Tensor)
    values = torch.linalg.svdvals(weight)
    left = torch.linalg.svdvals(weight - update.scale * update.B @ update.A)
    torch.testing.assert_close(left[: len(values) - 4], values[4:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(update.A.norm(dim=1), update.B.norm(dim=0))


def test_adapters_are_switched_added_and_scaled(tmp_path: Path) -> None:
    rows, models = tiny.tokens(2, 9), {}
    for name, targets in (("law", "attention"), ("care", ["up_proj", "q_proj"])):
        models[name] = tiny.model()
        lora.attach(models[name], r=4, alpha=8, targets=targets, seed=len(name))
        stirred(models[name])
        save_adapter(models[name], tmp_path / name)
    both = tiny.model()
    for name in models:
        load_adapter(both, tmp_path / name, name=name)
    for name, alone in models.items():
        switch(both, name)
        assert torch.equal(both(rows), alone(rows))
    switch(both, {"law": 0.5, "care": 2.0})
    mixed = both(rows)
    for model, weight in ((models["law"], 0.5), (models["care"], 2.0)):
        for held in updates(model).values():
            held[0].scale *= weight  # type: ignore[attr-defined]
        merge(model)
    for path, module in tiny.model().named_modules():
        if isinstance(module, nn.Linear) and path.startswith("model.layers"):
            added = models["care"].get_submodule(path).weight - module.weight
            models["law"].get_submodule(path).weight.data += added
    torch.testing.assert_close(models["law"](rows), mixed, atol=1e-4, rtol=1e-4)
    merge(both)
    torch.testing.assert_close(both(rows), mixed, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="carries no adapter 'low'"):
        switch(both, "low")


ERRORS: list[tuple[Callable[[Transformer], object], str]] = [
    (lambda m: attach(m, rank_pattern={"q_porj": 2}), "lora: rank_pattern: 'q_porj' matches no adapted projection"),
    (lambda m: attach(m, alpha_pattern={"up_proj": 2}), "lora: alpha_pattern: 'up_proj' matches no adapted projection"),
    (lambda m: attach(m, rank_pattern={"q_proj": 0}), "r = 0 must be at least 1"),
    (lambda m: attach(m, dropout=1.0), "dropout = 1.0 must be at least 0 and less than 1"),
    (lambda m: attach(m, init="pissa", dora=True), "pissa and dora do not go together"),
    (lambda m: attach(m, init="pissa", r=40), "r = 40 is more than"),
    (lambda m: ia3.attach(m, targets=["q_porj"]), "ia3: target 'q_porj' matches no projection"),
    (lambda m: switch(m, "x"), "carries no adapter 'x'"),
]


def attach(model: Transformer, *, r: int = 4, **options: Any) -> None:
    lora.attach(model, r=r, alpha=8, targets="attention", seed=0, **options)


@pytest.mark.parametrize(("act", "message"), ERRORS, ids=[message for _, message in ERRORS])
def test_mistakes(act: Callable[[Transformer], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        act(tiny.model())


def test_dora_is_used_whole_and_alone() -> None:
    with pytest.raises(InputError, match="holds a LowRank, which is used whole and alone"):
        switch(adapted({"dora": True}), {"default": 0.5})
