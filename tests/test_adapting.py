"""Adapters of every kind through the stages that train: resumed to the bit, saved by themselves, opened again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from hornbook.errors import InputError, Interrupted, UsageError
from hornbook.manifest import Input
from hornbook.model.adapters.attached import adapters
from hornbook.model.adapters.folder import save_adapter
from hornbook.model.adapters.soft import attach_prompt
from hornbook.model.weights import load_model
from hornbook.run import Run
from hornbook.training.opening import open_model
from tests.test_training import WORDS, chat, folder, made, tokens, write

__all__ = ["folder", "tokens"]

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"lora": {"r": 2, "dropout": 0.3, "loraplus": 4.0, "rank_pattern": {"q_proj": 3}}},
    "pissa": {"lora": {"r": 2, "init": "pissa"}},
    "dora": {"lora": {"r": 2, "init": "gaussian", "dora": True, "rslora": True, "targets": ("attention",)}},
    "prefix": {"prefix": {"tokens": 3}},
    "projected": {"prefix": {"tokens": 3, "hidden": 4}},
    "prompt": {"prompt": {"tokens": 3, "text": "By the river."}},
    "ia3": {"ia3": {"targets": ("keys-values-mlp", "o_proj")}},
}
SFT: dict[str, Any] = {"base": "model", "rows": "chats.jsonl", "epochs": 4, "length": 100, "batch": 2, "micro": 1}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def adapter_bytes(run: Path) -> list[bytes]:
    return [(run / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")]


@each_method
def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    folder: Path, method: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = adapter_bytes(made("sft", **SFT, **method, runs="whole"))
    calls = iter(range(1000))
    with monkeypatch.context() as patch:
        patch.setattr(Run, "stop_requested", lambda run: next(calls) == 2)
        with pytest.raises(Interrupted):
            made("sft", **SFT, **method)
    (checkpoint,) = Path("runs").glob(".tmp-sft-*/**/step-*/part-1-of-1.safetensors")
    with safe_open(checkpoint, "pt") as saved:
        held = [name for name in saved.keys() if name.startswith("model/")]  # noqa: SIM118
    assert held
    assert all("adapters." in name or "start." in name for name in held), "only what is trained"
    run = made("sft", **SFT, **method)
    assert adapter_bytes(run) == whole


@each_method
def test_an_adapter_is_opened_again(folder: Path, method: dict[str, Any]) -> None:
    run = made("sft", **SFT, **method, learning_rate=0.1)
    opened = open_model(Input(run), device=torch.device("cpu")).model
    soft = "prefix" in method or "prompt" in method
    assert bool(adapters(opened)) == soft
    text = torch.tensor([[0, 20, 21, 22]])
    assert not torch.allclose(opened(text), load_model(Path("model"))(text), atol=1e-4)
    scores = made("evaluate", models={"m": str(run)}, rows="rows", length=100, context=64, max_new_tokens=2)
    assert "answer_log_likelihood" in json.loads((scores / "scores.json").read_text())["m"]


@pytest.fixture(autouse=True)
def held_out(folder: Path) -> None:
    Path("rows").mkdir()
    write("rows/sft.valid.jsonl", chat("river"))
    write("rows/preference.valid.jsonl", {"prompt": "Where?", "chosen": "By the river.", "rejected": "By the barn."})
    write("rows/minimal_pairs.jsonl", {"sentence_good": "a b", "sentence_bad": "b a"})


@pytest.mark.parametrize("method", ["lora", "prefix", "prompt", "ia3"])
def test_every_stage_that_trains_takes_them(folder: Path, tokens: Path, method: str) -> None:
    pair = {"prompt": "Where?", "chosen": "By the river.", "rejected": "By the barn."}
    write("pairs.jsonl", *[{**pair, "prompt": word} for word in WORDS[:3]])
    for stage, values in (
        ("align", {"base": "model", "rows": "pairs.jsonl", "length": 100}),
        ("pretrain", {"tokens": str(tokens), "base": "model", "train_tokens": 128, "length": 32, "batch": 2}),
    ):
        run = made(stage, **values, **METHODS[method])
        assert (run / "adapter_model.safetensors").is_file()
        assert not (run / "model.safetensors").exists()


def test_align_starts_where_its_reference_is(folder: Path) -> None:
    """The first loss of preferences is ln 2: an adapter begins as its base. A soft prompt does not."""
    pair = {"prompt": "Where?", "chosen": "By the river.", "rejected": "By the barn."}
    write("pairs.jsonl", *[{**pair, "prompt": word} for word in WORDS[:3]])
    run = made("align", base="model", rows="pairs.jsonl", length=100, lora={"r": 2, "init": "pissa"})
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[1])
    assert row["loss"] == pytest.approx(0.6931, abs=1e-4)


def test_one_adapter_at_a_time(folder: Path) -> None:
    with pytest.raises(UsageError, match="lora and prompt are adapters, and a model learns one"):
        made("sft", **SFT, lora={"r": 2}, prompt={"tokens": 2})


def test_a_soft_prompt_is_no_base_and_has_a_whole_one(folder: Path) -> None:
    prompt = made("sft", **SFT, prompt={"tokens": 2})
    with pytest.raises(UsageError, match="is a soft prompt on a model, and nothing is trained through one") as caught:
        made("sft", **{**SFT, "base": str(prompt)}, lora={"r": 2})
    assert caught.value.hint == "train from its base: model"
    lora = made("sft", **SFT, lora={"r": 2})
    with pytest.raises(UsageError, match="is an adapter, and a soft prompt needs a whole model below it"):
        made("sft", **{**SFT, "base": str(lora)}, prefix={"tokens": 2})


def test_a_soft_prompt_takes_positions(folder: Path) -> None:
    with pytest.raises(UsageError, match="length = 120 and the 9 of the soft prompt are more than the model's 128"):
        made("sft", **{**SFT, "length": 120}, prompt={"tokens": 9})
    model = load_model(Path("model"))
    attach_prompt(model, tokens=100, seed=0)
    save_adapter(model, Path("prompt"), base_name="model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (Path("prompt") / name).write_bytes((Path("model") / name).read_bytes())
    with pytest.raises(UsageError, match="length = 100 and the 100 of the soft prompt"):
        made("evaluate", models={"m": "prompt"}, rows="rows", length=100)


def test_targets_that_match_nothing_end_the_run(folder: Path) -> None:
    for method in ({"lora": {"targets": ("q_proj", "q_porj")}}, {"ia3": {"targets": ("q_porj",)}}):
        with pytest.raises(InputError, match="target 'q_porj' matches no projection"):
            made("sft", **SFT, **method)
