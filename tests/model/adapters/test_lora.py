from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hornbook.errors import InputError
from hornbook.model.adapters.attached import adapter_off, adapters, trainable, updates
from hornbook.model.adapters.folder import load_adapter, save_adapter
from hornbook.model.adapters.lora import attach
from hornbook.model.adapters.merging import merge
from hornbook.model.adapters.projections import match
from hornbook.model.transformer import Transformer
from hornbook.model.weights import load_model, save_model
from tests.model import tiny

# PEFT 0.21 reads a property that transformers 5.23 renamed.
OLD_NAME = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
TARGETS = ["attention", "all-linear", ("q_proj", "down_proj"), ("layers.1.mlp.up_proj",)]


def trained(targets: Any = "all-linear") -> Transformer:
    """A model whose adapter does something."""
    model = tiny.model()
    attach(model, r=4, alpha=8, targets=targets, seed=0)
    fill(model)
    return model


def fill(model: Transformer) -> None:
    """Numbers into B, so that the adapter does something."""
    for (update,) in updates(model).values():
        torch.nn.init.normal_(update.B, 0, 0.1, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("targets", TARGETS, ids=str)
def test_attach_changes_nothing_and_trains_only_the_adapter(targets: Any) -> None:
    model, rows = tiny.model(), tiny.tokens(2, 9)
    before, names = model(rows), list(model.state_dict())
    attach(model, r=4, alpha=8, targets=targets, seed=0)
    after = model(rows)
    assert torch.equal(before, after)
    after.log_softmax(-1)[..., 3].sum().backward()
    assert all(".adapters." in name for name in trainable(model))
    assert len(trainable(model)) == 2 * len(match(model, targets, method="lora")) > 0
    assert {name for name, p in model.named_parameters() if p.grad is not None} == set(trainable(model))
    assert [name for name in model.state_dict() if ".adapters." not in name] == names


def test_the_equation() -> None:
    model = trained(("layers.0.mlp.up_proj",))
    module = model.get_submodule("model.layers.0.mlp.up_proj")
    (update,) = updates(model)["model.layers.0.mlp.up_proj"]
    x = torch.randn(3, 32)
    weight = module.weight + 8 / 4 * update.B @ update.A
    torch.testing.assert_close(module(x), x @ weight.T)


@pytest.mark.parametrize("changes", [{}, {"attention_bias": True}], ids=str)
def test_merge(changes: dict[str, Any], tmp_path: Path) -> None:
    model, rows = tiny.model(**changes), tiny.tokens(2, 9)
    attach(model, r=4, alpha=8, targets="all-linear", seed=0)
    fill(model)
    before = model(rows)
    merge(model)
    torch.testing.assert_close(model(rows), before, atol=1e-4, rtol=1e-4)
    assert not adapters(model)
    assert len(trainable(model)) == len(list(model.parameters()))
    save_model(tmp_path, model)
    torch.testing.assert_close(load_model(tmp_path)(rows), model(rows))


def test_adapter_off_is_the_base() -> None:
    model, base, rows = trained(), tiny.model(), tiny.tokens(2, 9)
    on = model(rows)
    with adapter_off(model):
        assert torch.equal(model(rows), base(rows))
    assert torch.equal(model(rows), on)
    assert not torch.allclose(on, base(rows))


def test_start_depends_on_seed_and_name_only() -> None:
    one, other = tiny.model(), tiny.model()
    attach(one, r=4, alpha=8, targets="all-linear", seed=5)
    attach(other, r=4, alpha=8, targets=["v_proj"], seed=5)
    name = "model.layers.1.self_attn.v_proj.adapters.default.A"
    start = one.state_dict()[name]
    assert torch.equal(start, other.state_dict()[name])
    assert start.abs().max() <= 32**-0.5
    assert start.std().item() == pytest.approx((3 * 32) ** -0.5, rel=0.15)


@pytest.mark.filterwarnings(OLD_NAME)
@pytest.mark.parametrize("targets", TARGETS, ids=str)
def test_ours_loads_in_peft(targets: Any, tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    model, rows = trained(targets), tiny.tokens(2, 9)
    save_model(tmp_path / "base", tiny.model(), eos=[0])
    save_adapter(model, tmp_path / "adapter", base_name="base")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(rows).logits, model(rows), atol=1e-4, rtol=1e-4)
    ours = tiny.model()
    load_adapter(ours, tmp_path / "adapter")
    assert torch.equal(ours(rows), model(rows))
    assert list(updates(ours)) == list(updates(model))


@pytest.mark.filterwarnings(OLD_NAME)
@pytest.mark.parametrize(
    "options",
    [{"target_modules": ["q_proj", "v_proj"]}, {"target_modules": "all-linear", "use_rslora": True},
     {"target_modules": r".*layers\.1.*up_proj"}],
    ids=str,
)  # fmt: skip
def test_theirs_loads_here(options: dict[str, Any], tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    rows = tiny.tokens(2, 9)
    save_model(tmp_path / "base", tiny.model(), eos=[0])
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, init_lora_weights=False, **options)
    theirs = peft.get_peft_model(base, config).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    ours = load_model(tmp_path / "base")
    load_adapter(ours, tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(ours(rows), theirs(rows).logits, atol=1e-4, rtol=1e-4)
    save_adapter(ours, tmp_path / "again")
    again = load_model(tmp_path / "base")
    load_adapter(again, tmp_path / "again")
    assert torch.equal(again(rows), ours(rows))


FAMILY_TARGETS: list[tuple[str, dict[str, Any], Any]] = [
    ("gpt2", {}, ["c_attn"]),
    ("gpt2", {}, ["c_attn", "c_proj", "c_fc"]),
    ("gpt_neox", {}, ["query_key_value"]),
    ("gpt_neox", {"use_parallel_residual": False}, ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]),
    ("phi3", {}, ["qkv_proj", "gate_up_proj"]),
    ("gemma2", {"head_dim": 8}, ["q_proj", "o_proj"]),
    *((kind, changes, "all-linear") for kind, changes in {row[0]: row for row in tiny.ROWS}.values()),
]


@pytest.mark.filterwarnings(OLD_NAME)
@pytest.mark.parametrize(
    ("kind", "changes", "targets"), FAMILY_TARGETS, ids=[f"{k}-{list(c)}-{t}" for k, c, t in FAMILY_TARGETS]
)
def test_families_with_peft_both_ways(kind: str, changes: dict[str, Any], targets: Any, tmp_path: Path) -> None:
    """Theirs loads here, and what we save of it there, under the names of the family; merged it is the same model."""
    peft, rows = pytest.importorskip("peft"), tiny.tokens(2, 9)
    base = tiny.saved(kind, changes, tmp_path / "base")
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, init_lora_weights=False, target_modules=targets,
                             fan_in_fan_out=kind == "gpt2")  # fmt: skip
    theirs = peft.get_peft_model(base, config).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        logits = theirs(rows).logits
    ours = load_model(tmp_path / "base")
    plain = ours(rows)
    load_adapter(ours, tmp_path / "adapter")
    assert not torch.allclose(ours(rows), plain, atol=1e-3)
    torch.testing.assert_close(ours(rows), logits, atol=1e-4, rtol=1e-4)
    save_adapter(ours, tmp_path / "again", base_name="base")
    stored = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "again")]
    assert stored[0].keys() == stored[1].keys()
    assert all(torch.equal(stored[0][name], stored[1][name]) for name in stored[0])
    again = peft.PeftModel.from_pretrained(theirs.unload(), tmp_path / "again").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(rows).logits, logits, atol=1e-4, rtol=1e-4)
    merge(ours)
    torch.testing.assert_close(ours(rows), logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"fused_projections": True}, {"gated_mlp": False}], ids=str)
def test_presets_mean_all_projections_there_are(changes: dict[str, Any]) -> None:
    if changes.get("gated_mlp") is False:
        changes = {**changes, "fused_projections": True, "norm": "layer", "attention_bias": True, "output_bias": True,
                   "mlp_bias": True, "learned_positions": True, "num_key_value_heads": 4,
                   "activation": "gelu"}  # fmt: skip
    model = tiny.model(**changes)
    linear = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n.startswith("model.layers.")]
    assert match(model, "all-linear", method="lora") == linear
    assert match(model, ("attention",), method="lora") == [name for name in linear if ".self_attn." in name]


def edit_tensors(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")

    return damage


def edit_config(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, **changes}))

    return damage


A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
ERRORS: list[tuple[Callable[[Path], object], str]] = [
    (edit_tensors(lambda t: t.pop(A)), f"tensor '{A}' is missing"),
    (edit_tensors(lambda t: t.update({"x.lora_A.weight": torch.ones(1)})), "tensor 'x.lora_A.weight' has no place"),
    (edit_tensors(lambda t: t.update({A: torch.ones(3, 32)})), r"has shape \[3, 32\]"),
    (edit_tensors(lambda t: t[A].fill_(torch.inf)), "not finite"),
    (edit_config(target_modules=["q_proj", "W_pack"]), "target 'W_pack' matches no projection"),
    (edit_config(peft_type="VERA"), "peft_type = 'VERA' is not supported"),
    (edit_config(peft_type="IA3"), "q_proj.ia3_l' is missing"),
    (edit_config(use_dora=True), "q_proj.lora_magnitude_vector' is missing"),
    (edit_config(init_lora_weights="olora"), "init_lora_weights = 'olora' has changed the base"),
    (edit_config(modules_to_save=["lm_head"]), r"modules_to_save = \['lm_head'\] is not supported"),
    (edit_config(rank_pattern={"q_proj": 3}), r"has shape \[4, 32\], the configuration says \[3, 32\]"),
    (edit_config(rank_pattern={"p_proj": 3}), "rank_pattern: 'p_proj' matches no adapted projection"),
    (edit_config(alpha_pattern={"(": 3}), "'\\(' is not a regular expression"),
    (edit_config(bias="all"), "bias = 'all'"),
    (edit_config(r=0), "r = 0 must be"),
    (edit_config(r="4"), "r = '4' must be"),
    (edit_config(lora_alpha=None), "lora_alpha = None must be a number"),
    (lambda f: (f / "adapter_config.json").unlink(), "not an adapter folder"),
    (lambda f: (f / "adapter_model.safetensors").unlink(), "no such file"),
    (lambda f: (f / "adapter_model.safetensors").write_bytes(b"\xff" * 50), "not a readable safetensors file"),
]


@pytest.mark.parametrize(("damage", "message"), ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_damaged_adapters(damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    save_adapter(trained(), tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        load_adapter(tiny.model(), tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": ["q_proj", "qproj"]}, "target 'qproj' matches no projection"),
        ({"targets": "lm_head"}, "target 'lm_head' matches no projection"),
        ({"targets": []}, "no targets"),
        ({"r": 0}, "r = 0 must be at least 1"),
    ],
    ids=str,
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    model = tiny.model()
    with pytest.raises(InputError, match=message):
        attach(model, **{"r": 4, "alpha": 8, "targets": "attention", "seed": 0, **options})
    assert len(trainable(model)) == len(list(model.parameters()))


def test_one_adapter_at_a_time() -> None:
    with pytest.raises(InputError, match="already carries an adapter"):
        attach(trained(), r=2, alpha=2, targets="attention", seed=0)


def test_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no adapter to save"):
        save_adapter(tiny.model(), tmp_path)
