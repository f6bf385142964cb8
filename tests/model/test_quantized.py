"""Models with projections in few bits: files beside transformers and bitsandbytes, and what they compute."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.model import nf4
from hornbook.model.bnb import STATE, Kind
from hornbook.model.int8 import Int8Linear, to_int8
from hornbook.model.quantized import Nf4Linear, Quantized
from hornbook.model.quantizing import quantized
from hornbook.model.transformer import Transformer
from hornbook.model.weights import load_model, save_model
from tests.model import tiny

FAMILIES = [tiny.ROWS[0], tiny.ROWS[3], *(row for row in tiny.ROWS if row[0] in ("gpt2", "gpt_neox"))]
FAMILIES += [next(row for row in tiny.ROWS if row[0] == kind) for kind in ("qwen2", "olmo2", "phi3")]
"""Each layout of files: separate and fused projections, turned ones, rows by head; tied heads, biases."""
Q = "model.layers.0.self_attn.q_proj.weight"


def save_quantized(model: Transformer, folder: Path, kind: Kind = "nf4", *, double: bool = True) -> Transformer:
    """The folder of the model with its projections in few bits, and the model read from there."""
    save_model(folder / "dense", model)
    made = load_model(folder / "dense", quantize=kind, double=double)
    save_model(folder / kind, made)
    return load_model(folder / kind)


def dense_copy(model: Transformer) -> Transformer:
    """The same model with plain matrices."""
    plain = Transformer(model.architecture)
    state = {name: tensor for name, tensor in model.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(state | {f"{path}.weight": module.weight for path, module in quantized(model).items()})
    return plain


def theirs(folder: Path) -> Any:
    """What transformers and bitsandbytes read, computing in float32."""
    from transformers import AutoModelForCausalLM

    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["bnb_4bit_compute_dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config))
    made = AutoModelForCausalLM.from_pretrained(folder).eval()
    for parameter in made.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.float()
    return made


@pytest.mark.parametrize("row", FAMILIES, ids=tiny.row_name)
@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
def test_transformers_reads_ours(row: tuple[str, dict[str, Any]], double: bool, tmp_path: Path) -> None:
    tiny.saved(*row, tmp_path / "theirs")
    save_model(tmp_path / "nf4", load_model(tmp_path / "theirs", quantize="nf4", double=double))
    rows = tiny.tokens(2, 9)
    with torch.no_grad():
        torch.testing.assert_close(theirs(tmp_path / "nf4")(rows).logits, load_model(tmp_path / "nf4")(rows))


@pytest.mark.parametrize("row", FAMILIES, ids=tiny.row_name)
@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
def test_ours_is_theirs_to_the_byte(row: tuple[str, dict[str, Any]], double: bool, tmp_path: Path) -> None:
    """Quantized and saved by transformers and bitsandbytes; the same by us; and theirs, read and saved by us."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    tiny.theirs(*row).to(torch.bfloat16).save_pretrained(tmp_path / "dense")
    how = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip
    AutoModelForCausalLM.from_pretrained(
        tmp_path / "dense", quantization_config=how, dtype=torch.bfloat16
    ).save_pretrained(tmp_path / "theirs")
    save_model(tmp_path / "ours", load_model(tmp_path / "dense", quantize="nf4", double=double))
    save_model(tmp_path / "again", load_model(tmp_path / "theirs"))
    expected = load_file(tmp_path / "theirs" / "model.safetensors")
    for folder in ("ours", "again"):
        found = load_file(tmp_path / folder / "model.safetensors")
        assert found.keys() == expected.keys()
        assert all(same(found[name], expected[name]) for name in found), folder
    asked = json.loads((tmp_path / "theirs" / "config.json").read_text())["quantization_config"]
    told = json.loads((tmp_path / "ours" / "config.json").read_text())["quantization_config"]
    assert told.items() <= {key.removeprefix("_"): value for key, value in asked.items()}.items()


def same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
@pytest.mark.parametrize("row", [FAMILIES[1], ("gpt_neox", {})], ids=tiny.row_name)
def test_saved_and_read_it_is_the_same(kind: Kind, row: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    tiny.saved(*row, tmp_path / "dense")
    save_model(tmp_path / "one", load_model(tmp_path / "dense", quantize=kind), eos=[2])
    read = load_model(tmp_path / "one")
    with torch.no_grad():
        read.eval()(tiny.tokens(2, 9))
    save_model(tmp_path / "two", read, eos=[2])
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


@pytest.mark.parametrize("row", [FAMILIES[0], ("gpt_neox", {})], ids=tiny.row_name)
def test_8_bits_with_bitsandbytes(row: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    """Theirs stand for the weights that bitsandbytes says; ours are read there and stand for the same."""
    import bitsandbytes.functional as bnb
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    tiny.theirs(*row).to(torch.float16).save_pretrained(tmp_path / "dense")
    how = BitsAndBytesConfig(load_in_8bit=True)
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", quantization_config=how, dtype=torch.float16)
    made.save_pretrained(tmp_path / "theirs")
    save_model(tmp_path / "ours", load_model(tmp_path / "dense", quantize="int8"))
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    for theirs, folder in ((made, "theirs"), (again, "ours")):
        ours = load_model(tmp_path / folder)
        path, module = next(iter(quantized(ours).items()))
        name = "gpt_neox.layers.0.attention.query_key_value" if row[0] == "gpt_neox" else path
        layer = theirs.get_submodule(name)
        expected = bnb.int8_vectorwise_dequant(layer.weight.data, layer.weight.SCB)
        held = load_model(tmp_path / "dense").get_submodule(path).weight
        rows = expected if row[0] != "gpt_neox" else expected.view(4, 3, -1, 32).transpose(0, 1).reshape(expected.shape)
        assert torch.equal(module.weight, rows)
        assert float((module.weight - held.detach()).norm() / held.norm().detach()) < 0.01


def random_projection(kind: Kind, shape: tuple[int, int], *, bias: bool = True) -> Quantized:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    own = nn.Parameter(torch.randn(shape[0], generator=torch.Generator().manual_seed(1))) if bias else None
    if kind == "int8":
        return Int8Linear(*to_int8(weight), bias=own, stored_as=torch.bfloat16)
    return Nf4Linear(nf4.quantize(weight), bias=own, stored_as=torch.bfloat16)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
@pytest.mark.parametrize("shape", [(48, 32), (7, 33), (1, 1), (300, 129)], ids=str)
@pytest.mark.parametrize("piece", [1, 1000, 1 << 20], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "plain"])
def test_product_and_gradient_are_those_of_the_dense_weights(
    kind: Kind, shape: tuple[int, int], piece: int, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To float64's rounding, whatever is dense at a time."""
    monkeypatch.setattr("hornbook.model.quantized.PIECE", piece)
    module = random_projection(kind, shape, bias=bias).double()
    x = torch.randn(2, 3, shape[1], dtype=torch.float64, requires_grad=True)
    out = module(x)
    dense = F.linear(x, module.weight.double(), module.bias)
    torch.testing.assert_close(out, dense, rtol=1e-12, atol=1e-12)
    grad = torch.randn_like(out)
    (ours,), (expected,) = (torch.autograd.grad(o, x, grad, retain_graph=True) for o in (out, dense))
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_codes_and_scales_keep_their_types(kind: Kind) -> None:
    module = random_projection(kind, (48, 64))
    before = module.weight
    module.to(torch.bfloat16)
    assert module.bias is not None
    assert module.bias.dtype == torch.bfloat16
    assert torch.equal(module.weight, before)


def test_autocast_computes_in_its_type() -> None:
    module = random_projection("nf4", (48, 64))
    x = torch.randn(3, 64, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32


def test_nothing_dense_is_kept_for_the_backward_pass() -> None:
    module = random_projection("nf4", (640, 640))
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        module(torch.randn(4, 640, requires_grad=True))
    assert sum(t.numel() for t in kept) < 640 * 640 / 10


def change(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def state(tensors: dict[str, Tensor], **changes: object) -> None:
    held = json.loads(bytes(tensors[f"{Q}.{STATE}"].numpy()))
    text = json.dumps({key: value for key, value in {**held, **changes}.items() if value is not None})
    tensors[f"{Q}.{STATE}"] = torch.tensor(list(text.encode()), dtype=torch.uint8)


DAMAGE: list[tuple[Kind, Callable[[dict[str, Tensor]], object], str]] = [
    ("nf4", lambda t: t.pop(f"{Q}.absmax"), f"tensor '{Q}.absmax' is missing"),
    ("nf4", lambda t: t.pop(Q), f"tensor '{Q}' is missing"),
    ("nf4", lambda t: t.pop(f"{Q}.quant_map"), f"tensor '{Q}.quant_map' is missing"),
    ("nf4", lambda t: t.pop(f"{Q}.nested_absmax"), f"tensor '{Q}.nested_absmax' is missing"),
    ("nf4", lambda t: t.pop(f"{Q}.{STATE}"), f"tensor '{Q}.{STATE}' is missing"),
    ("nf4", lambda t: t.update({f"{Q}.extra": torch.zeros(1)}), f"tensor '{Q}.extra' has no place"),
    ("nf4", lambda t: t.update({Q: t[Q][:-1].clone()}), r"has shape \[511, 1\], not \[512, 1\]"),
    ("nf4", lambda t: t.update({f"{Q}.absmax": t[f"{Q}.absmax"].float()}), "is stored as F32, not as U8"),
    ("nf4", lambda t: t[f"{Q}.nested_absmax"].fill_(float("nan")), "not finite"),
    ("nf4", lambda t: state(t, blocksize=128), "blocksize = 128 is not supported"),
    ("nf4", lambda t: state(t, quant_type="fp4"), "quant_type = 'fp4' is not supported"),
    ("nf4", lambda t: state(t, shape=[16, 64]), r"shape = \[16, 64\] is not supported"),
    ("nf4", lambda t: state(t, nested_offset="0"), "nested_offset = '0' must be a number"),
    ("nf4", lambda t: state(t, dtype="float8"), "dtype = 'float8' is not supported"),
    ("nf4", lambda t: t[f"{Q}.{STATE}"].zero_(), "is not JSON"),
    ("int8", lambda t: t.pop(Q.replace("weight", "SCB")), "q_proj.SCB' is missing"),
    ("int8", lambda t: t[Q.replace("weight", "weight_format")].fill_(2), "weight_format' is 2, not 0"),
    ("int8", lambda t: t.update({Q: t[Q].view(torch.uint8)}), "is missing"),
]


@pytest.mark.parametrize(("kind", "damage", "message"), DAMAGE, ids=[row[2][-40:] for row in DAMAGE])
def test_damaged_folders(
    kind: Kind, damage: Callable[[dict[str, Tensor]], object], message: str, tmp_path: Path
) -> None:
    save_quantized(tiny.model(), tmp_path, kind)
    change(tmp_path / kind, damage)
    with pytest.raises(InputError, match=message) as caught:
        load_model(tmp_path / kind)
    assert caught.value.message.startswith(str(tmp_path))


def test_a_config_that_does_not_fit_the_weights(tmp_path: Path) -> None:
    save_quantized(tiny.model(), tmp_path)
    for source, target, message in (
        ("nf4", "dense", "but no projection of the folder is quantized"),
        ("dense", "nf4", f"no quantization_config, but the tensor '{Q}' is stored as integers"),
    ):
        text = (tmp_path / source / "config.json").read_text()
        copy = tmp_path / f"odd-{target}"
        shutil.copytree(tmp_path / target, copy)
        (copy / "config.json").write_text(text)
        with pytest.raises(InputError, match=message):
            load_model(copy)


def test_what_is_quantized_is_not_quantized_again(tmp_path: Path) -> None:
    save_quantized(tiny.model(), tmp_path)
    with pytest.raises(InputError, match="quantized already"):
        load_model(tmp_path / "nf4", quantize="nf4")
