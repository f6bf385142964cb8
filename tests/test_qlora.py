"""QLoRA through the commands: adapters that learn on a base in few bits, by every stage that trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hornbook.errors import InputError, Interrupted, UsageError
from hornbook.learn import checkpoint
from hornbook.manifest import Input, read_manifest
from hornbook.model.adapters.attached import adapters
from hornbook.model.adapters.folder import load_adapter
from hornbook.model.bnb import Kind
from hornbook.model.quantizing import quantized
from hornbook.model.weights import load_model, save_model
from hornbook.run import Run
from hornbook.training.opening import open_model
from tests.test_training import folder, made, tokens, write

__all__ = ["folder", "tokens"]

SFT: dict[str, Any] = {"rows": "chats.jsonl", "epochs": 4, "length": 100, "batch": 1, "learning_rate": 1e-2}
LORA: dict[str, Any] = {"lora": {"r": 2}}


def files(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != "report.html"}


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_quantized_on_the_way_in_or_on_disk_it_learns_the_same(folder: Path, kind: Kind) -> None:
    """Of a base whose numbers have 16 bits, so that nothing else is rounded."""
    model = load_model(folder / "model")
    save_model(folder / "half", model.to(torch.bfloat16), tokenizer=Path("tokens"), bos=0, eos=[0], pad=3)
    made("quantize", model="half", to=kind).rename("few")
    ways = [made("sft", base="half", quantize=kind, **SFT, **LORA), made("sft", base="few", **SFT, **LORA)]
    one, other = ((run / "adapter_model.safetensors").read_bytes() for run in ways)
    assert one == other
    assert losses(ways[0]) == losses(ways[1])
    assert losses(ways[0])[-1] < losses(ways[0])[0]
    results = read_manifest(ways[0]).results
    plain = read_manifest(made("sft", base="half", **SFT, **LORA)).results
    assert {key: results[key] for key in ("parameters", "trainable")} == {
        key: plain[key] for key in ("parameters", "trainable")
    }


@pytest.mark.parametrize("adapter", [{"prefix": {"tokens": 2}}, {"prompt": {"tokens": 2}}, {"ia3": {}}], ids=str)
def test_other_adapters_learn_on_it_too(folder: Path, adapter: dict[str, Any]) -> None:
    run = made("sft", base="model", quantize="nf4", **SFT, **adapter)
    assert losses(run)[-1] < losses(run)[0]


def test_preferences_and_further_text(tokens: Path, folder: Path) -> None:
    write("pairs.jsonl", *({"prompt": f"{n}?", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(9)))
    aligned = made("align", base="model", rows="pairs.jsonl", quantize="nf4", length=64, **LORA)
    text = {"tokens": str(tokens), "base": "model", "train_tokens": 64, "length": 16, "batch": 1}
    further = made("pretrain", quantize="nf4", **text, **LORA)
    for run in (aligned, further):
        assert all(tensor.isfinite().all() for tensor in load_file(run / "adapter_model.safetensors").values())


def test_a_reward_model_keeps_its_bits(folder: Path) -> None:
    from hornbook.model.reward import load_reward_model

    write("pairs.jsonl", *({"prompt": f"{n}?", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(9)))
    run = made("reward", base="model", rows="pairs.jsonl", quantize="nf4", length=64, **LORA)
    assert len(quantized(load_reward_model(run))) == 7


def test_stopped_and_gone_on_it_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was saved on the way is the adapter."""
    run = {"base": "model", "quantize": "nf4", **SFT, **LORA}
    whole = made("sft", **run)
    before = files(whole)
    whole.rename("aside")
    saved: list[str] = []
    named = checkpoint._named

    def seen(*given: Any) -> dict[str, torch.Tensor]:
        found = named(*given)
        saved.extend(found)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_named", seen)
        patch.setattr(Run, "stop_requested", lambda run: (run.scratch / "metrics.jsonl").read_text().count("loss") > 3)
        with pytest.raises(Interrupted):
            made("sft", **run)
    assert saved
    assert not [name for name in saved if "codes" in name or name.endswith((".weight", ".absmax"))]
    again = made("sft", **run)
    assert files(again) == before


def test_what_learned_on_few_bits_is_read_on_them(folder: Path) -> None:
    """The base stays as it is, and the adapter is on it: nothing is rounded again."""
    few = made("quantize", model="model")
    run = made("sft", base=str(few), **SFT, **LORA)
    opened = open_model(Input(run), device=torch.device("cpu"))
    assert quantized(opened.model)
    assert adapters(opened.model)
    assert json.loads((run / "adapter_config.json").read_text())["base_model_name_or_path"] == few.name


def test_what_learned_on_a_base_put_into_few_bits_is_read_on_those_bits(folder: Path) -> None:
    run = made("sft", base="model", quantize="nf4", **SFT, **LORA)
    cpu, tokens = torch.device("cpu"), torch.tensor([[0, 5, 6, 7]])
    opened = open_model(Input(run), device=cpu).model
    as_trained = load_model(Path("model"), quantize="nf4")
    load_adapter(as_trained, run)
    assert torch.equal(opened(tokens), as_trained(tokens))
    # To be merged, it is put on the base in full precision.
    assert not quantized(open_model(Input(run), device=cpu, merged=False).model)


def test_mistakes(folder: Path) -> None:
    made("quantize", model="model").rename("few")
    with pytest.raises(UsageError, match="quantize = 'nf4' freezes the base in few bits, so only an adapter can learn"):
        made("sft", base="model", quantize="nf4", **SFT)
    with pytest.raises(InputError, match="quantized already"):
        made("sft", base="few", quantize="nf4", **SFT, **LORA)
    with pytest.raises(UsageError, match="the base's projections are in few bits, which do not learn"):
        made("sft", base="few", **SFT)


def test_generated_text_is_that_of_the_dense_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hornbook.config import build
    from hornbook.stages import load

    made("quantize", model="model").rename("few")
    told = []
    for weights in ("fp32", "int8", "bf16"):
        stage = load("generate")
        given = {"model": "few", "prompt": "Where?", "max_new_tokens": 5, "temperature": 0, "weights": weights}
        stage.function(build(stage.config, given, where="generate"))
        captured = capsys.readouterr()
        assert "at the speed of training" not in captured.err
        told.append(captured.out)
    assert all(text.startswith("Where?") for text in told)
