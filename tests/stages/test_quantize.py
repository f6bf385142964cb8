from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hornbook.config import build
from hornbook.errors import InputError
from hornbook.execute import execute
from hornbook.manifest import read_manifest
from hornbook.model.bnb import Kind
from hornbook.model.folder import INDEX
from hornbook.model.quantize_folder import quantize_folder
from hornbook.model.quantizing import quantized
from hornbook.model.weights import load_model, save_model
from hornbook.stages import load
from tests.model import tiny


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a tiny model."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model", tiny.model(hidden_size=64, intermediate_size=192), eos=[2])
    return tmp_path


def made(**values: Any) -> Path:
    stage = load("quantize")
    return execute(stage, build(stage.config, {"model": "model"} | values, where="quantize"), runs=Path("runs"))


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_the_folder_is_what_quantizing_on_the_way_in_makes(folder: Path, kind: Kind) -> None:
    """The projections; the rest is rounded to 16 bits."""
    run = made(to=kind)
    ours, expected = load_model(run), load_model(folder / "model", quantize=kind)
    assert quantized(ours).keys() == quantized(expected).keys()
    for name, tensor in ours.state_dict().items():
        held = expected.state_dict()[name]
        assert torch.equal(
            tensor, held if name.rpartition(".")[2] in ("codes", "whole") else held.to(tensor.dtype)
        ) or (torch.equal(tensor, held.to(torch.bfloat16).float()))
    config = json.loads((run / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert config["quantization_config"]["quant_method"] == "bitsandbytes"
    assert config["eos_token_id"] == 2
    assert (run / "generation_config.json").read_bytes() == (folder / "model/generation_config.json").read_bytes()


def test_bits_and_errors_are_told(folder: Path) -> None:
    results = {name: read_manifest(made(**how)).results for name, how in HOW.items()}
    numbers = [result["bits_per_parameter"]["quantized"] for result in results.values()]
    # Small matrices have few groups of scales, and few weights to share the scale of an output.
    assert numbers == pytest.approx([4.13, 4.5, 8.4], abs=0.03)
    errors = [result["relative_error"] for result in results.values()]
    kinds = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert [list(found) for found in errors] == [kinds] * 3
    assert all(0.08 < error < 0.11 for found in errors[:2] for error in found.values())
    assert all(error < 0.01 for error in errors[2].values())


HOW: dict[str, dict[str, Any]] = {"double": {}, "single": {"double_quantization": False}, "int8": {"to": "int8"}}


def test_the_error_is_that_of_the_weights(folder: Path) -> None:
    (first,) = [w for w in quantize_folder(folder / "model", folder / "out", "nf4") if w.kind == "up_proj"][:1]
    path = "model.layers.0.mlp.up_proj"
    dense = load_model(folder / "model").get_submodule(path).weight.detach().to(torch.bfloat16).float()
    back = load_model(folder / "out").get_submodule(path).weight
    assert first.error == pytest.approx(float((back - dense).square().sum()), rel=1e-5)
    assert first.weight == pytest.approx(float(dense.square().sum()), rel=1e-5)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_shards_in_and_out(folder: Path, kind: Kind) -> None:
    save_model(folder / "sharded", load_model(folder / "model"), eos=[2], shard_bytes=40_000)
    assert (folder / "sharded" / INDEX).is_file()
    for source, out, size in (("model", "one", 1 << 30), ("sharded", "two", 1 << 30), ("sharded", "three", 9_000)):
        for _ in quantize_folder(folder / source, folder / out, kind, shard_bytes=size):
            pass
    files = sorted(path.name for path in (folder / "three").glob("*.safetensors"))
    assert len(files) > 3
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert all((folder / "one" / f.name).read_bytes() == f.read_bytes() for f in (folder / "two").iterdir())
    one, three = load_model(folder / "one").state_dict(), load_model(folder / "three").state_dict()
    assert all(torch.equal(one[name], three[name]) for name in one | three)


def test_what_is_quantized_is_not_again(folder: Path) -> None:
    with pytest.raises(InputError, match="quantized already"):
        made(model=str(made()))


MEASURE = """
import sys
from pathlib import Path
from hornbook.memory import forget_peak, resident, resident_peak
from hornbook.model.quantize_folder import quantize_folder
small, large = Path(sys.argv[1]), Path(sys.argv[2])
list(quantize_folder(small, small.parent / "warm", "nf4"))
forget_peak()
before = resident()
list(quantize_folder(large, large.parent / "out", "nf4"))
print(resident_peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory of a part of a process is told by Linux")
def test_peak_memory_is_near_the_size_of_the_result(folder: Path) -> None:
    """At most 1.3 times what is written, and the largest tensor."""
    shape = {"hidden_size": 1024, "intermediate_size": 2816, "num_attention_heads": 8, "head_dim": 128}
    save_model(folder / "large", tiny.model(**shape, num_hidden_layers=3), eos=[2])
    command = [sys.executable, "-c", MEASURE, "model", "large"]
    taken = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    written = (folder / "out" / "model.safetensors").stat().st_size
    assert written < 22e6
    assert taken < 1.3 * written + 1024 * 2816 * 4
