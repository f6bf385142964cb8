from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hornbook.errors import InputError, UsageError
from hornbook.manifest import Input, read_manifest
from hornbook.model.weights import load_model
from hornbook.training.opening import open_model
from tests.test_adapting import METHODS, SFT
from tests.test_training import folder, made

__all__ = ["folder"]
TEXT = torch.tensor([[0, 20, 21, 22]])


@pytest.mark.parametrize("method", ["lora", "pissa", "dora", "ia3"])
def test_merged_it_is_the_model_that_the_adapter_makes_of_its_base(
    folder: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_file("model/model.safetensors")
    adapter = made("sft", **SFT, **METHODS[method], learning_rate=0.05)
    run = made("merge", adapter=str(adapter))
    assert not (run / "adapter_config.json").exists()
    merged, opened = load_model(run), open_model(Input(adapter), device=torch.device("cpu"), merged=False).model
    torch.testing.assert_close(merged(TEXT), opened(TEXT), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(merged(TEXT), load_model(Path("model"))(TEXT), atol=1e-3)
    results = read_manifest(run).results
    assert results["change"] > 1e-3
    assert 0 < results["rounding"] < 1e-6
    assert 0 < results["logits"] < 1e-4
    assert "largest change of a weight" in capsys.readouterr().err
    assert all(torch.equal(before[name], tensor) for name, tensor in load_file("model/model.safetensors").items())
    assert (run / "chat_template.jinja").read_bytes() == (adapter / "chat_template.jinja").read_bytes()


def test_adapters_of_one_base_are_added_and_scaled(folder: Path) -> None:
    one, other = (made("sft", **SFT, lora={"r": 2}, learning_rate=0.05, seed=seed) for seed in (0, 1))
    run = made("merge", adapter=str(one), weight=0.5, also={"b": str(other)}, weights={"b": -2.0})
    base = load_model(Path("model")).state_dict()
    of = {path: load_model(made("merge", adapter=str(path))).state_dict() for path in (one, other)}
    for name, tensor in load_model(run).state_dict().items():
        expected = base[name] + 0.5 * (of[one][name] - base[name]) - 2 * (of[other][name] - base[name])
        torch.testing.assert_close(tensor, expected, atol=1e-5, rtol=1e-4)


def test_what_cannot_be_merged(folder: Path) -> None:
    with pytest.raises(InputError, match=r"model is no adapter: it has no adapter_config\.json"):
        made("merge", adapter="model")
    prompt = made("sft", **SFT, prompt={"tokens": 2})
    with pytest.raises(InputError, match="is a soft prompt, no change of weights"):
        made("merge", adapter=str(prompt))
    with pytest.raises(UsageError, match=r"weights\.law: there is no adapter of that name"):
        made("merge", adapter=str(prompt), weights={"law": 1.0})
    dora = made("sft", **SFT, lora={"r": 2, "dora": True})
    with pytest.raises(InputError, match="which is used whole and alone"):
        made("merge", adapter=str(dora), weight=0.5)
    lora = made("sft", **SFT, lora={"r": 2})
    moved = Path("elsewhere")
    moved.mkdir()
    for path in lora.iterdir():
        if path.is_file() and path.name != "manifest.json":
            (moved / path.name).write_bytes(path.read_bytes())
    config = json.loads((moved / "adapter_config.json").read_text())
    other = made("merge", adapter=str(lora))
    (moved / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(other)}))
    with pytest.raises(InputError, match="are adapters of different bases"):
        made("merge", adapter=str(lora), also={"b": str(moved)})
