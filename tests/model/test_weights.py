from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hornbook.errors import InputError
from hornbook.model.adapters import lora
from hornbook.model.families import FAMILIES
from hornbook.model.folder import WEIGHTS
from hornbook.model.weights import load_model, save_model
from tests.model import tiny

Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", tiny.model(), eos=[2, 3])
    return tmp_path / "model"


def change(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def configure(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def shard(folder: Path, file: str = "model-00002-of-00002.safetensors") -> None:
    """Split the weights into two files with an index; `file` is what the index calls the second."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    half = len(names) // 2
    first = "model-00001-of-00002.safetensors"
    save_file({name: tensors[name] for name in names[:half]}, folder / first)
    save_file({name: tensors[name] for name in names[half:]}, folder / "model-00002-of-00002.safetensors")
    index = {name: first if i < half else file for i, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "model.safetensors").unlink()


def same(one: Path, other: Path) -> bool:
    states = [load_model(path).state_dict() for path in (one, other)]
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0] | states[1])


def test_same_model_same_bytes(folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "again", load_model(folder), eos=[2, 3])
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["config.json", "generation_config.json", "model.safetensors"]
    assert all((folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in files)
    assert json.loads((folder / "generation_config.json").read_text()) == {"eos_token_id": [2, 3]}


def test_tied_head_is_not_stored(folder: Path) -> None:
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")


def test_shards(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "sharded")
    shard(tmp_path / "sharded")
    assert same(folder, tmp_path / "sharded")


@pytest.mark.parametrize("row", tiny.ROWS[::3], ids=tiny.row_name)
def test_saved_in_shards(row: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    """By the names that transformers gives them, which reads them; the same as in one file."""
    transformers = pytest.importorskip("transformers")
    theirs = tiny.saved(*row, tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs")
    save_model(tmp_path / "one", ours)
    save_model(tmp_path / "many", ours, shard_bytes=10_000)
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in (tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 2
    assert sorted(set(index["weight_map"].values())) == files
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in load_file(tmp_path / "one" / WEIGHTS).values())
    assert same(tmp_path / "one", tmp_path / "many")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "many").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in theirs.state_dict().items())


def test_a_shard_is_as_large_as_it_may_be_or_one_tensor(folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path, load_model(folder), shard_bytes=6000)
    shards = [load_file(path) for path in sorted(tmp_path.glob("*.safetensors"))]
    sizes = [sum(tensor.nbytes for tensor in shard.values()) for shard in shards]
    assert all(size <= 6000 or len(shard) == 1 for size, shard in zip(sizes, shards, strict=True))
    assert max(sizes) > 6000


OLD_FILES: list[tuple[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]]] = [
    # What the hub has of GPT-2 and Pythia: the decoder's file, masks and frequencies, the head's former name.
    ("gpt2", lambda t: {n.removeprefix("transformer."): v for n, v in t.items()}
        | {"h.0.attn.bias": torch.ones(1, 1, 64, 64), "h.1.attn.masked_bias": torch.tensor(-1e4)}),
    ("gpt_neox", lambda t: {n.replace("lm_head", "embed_out"): v for n, v in t.items()}
        | {"gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(1),
           "gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 64, 64).bool()}),
    ("gpt_neox", lambda t: {n.replace("embed_out", "lm_head"): v for n, v in t.items()}),
    ("llama", lambda t: t | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "edit"), OLD_FILES, ids=[kind for kind, _ in OLD_FILES])
def test_files_of_other_years(
    kind: str, edit: Callable[[dict[str, Tensor]], dict[str, Tensor]], tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    theirs = tiny.saved(kind, {}, tmp_path)
    tensors = edit(load_file(tmp_path / WEIGHTS))
    save_file(tensors, tmp_path / WEIGHTS, {"format": "pt"})
    with torch.no_grad():
        logits = theirs(tiny.tokens(1, 9)).logits
    torch.testing.assert_close(load_model(tmp_path)(tiny.tokens(1, 9)), logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", FAMILIES)
def test_errors_name_tensors_as_the_file_does(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    tiny.saved(kind, {}, tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    for name in sorted(tensors, key=lambda name: (-tensors[name].ndim, name))[:4]:
        save_file({n: t for n, t in tensors.items() if n != name}, tmp_path / WEIGHTS)
        with pytest.raises(InputError, match=f"tensor '{name}' is missing"):
            load_model(tmp_path)
        save_file({**tensors, name: tensors[name][1:].contiguous()}, tmp_path / WEIGHTS)
        have, want = ([len(t), *t.shape[1:]] for t in (tensors[name][1:], tensors[name]))
        with pytest.raises(
            InputError, match=re.escape(f"tensor '{name}' has shape {have}, the configuration says {want}")
        ):
            load_model(tmp_path)
        save_file({**tensors, name: torch.full_like(tensors[name], torch.nan)}, tmp_path / WEIGHTS)
        with pytest.raises(InputError, match=f"tensor '{name}' holds values that are not finite"):
            load_model(tmp_path)


def test_hugging_face_cache_links(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "models--a--b"
    (home / "snapshots" / "1").mkdir(parents=True)
    shutil.copytree(folder, home / "blobs")
    for path in (home / "blobs").iterdir():
        (home / "snapshots" / "1" / path.name).symlink_to(f"../../blobs/{path.name}")
    assert same(folder, home / "snapshots" / "1")


def test_types_are_converted(folder: Path) -> None:
    change(folder, lambda t: t.update({name: tensor.bfloat16() for name, tensor in t.items()}))
    assert {p.dtype for p in load_model(folder).parameters()} == {torch.float32}
    assert {p.dtype for p in load_model(folder, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}


def test_a_loaded_model_does_not_look_at_the_file_again(folder: Path) -> None:
    model = load_model(folder)
    before = model(tiny.tokens(1, 4))
    (folder / "model.safetensors").write_bytes(b"\0" * (folder / "model.safetensors").stat().st_size)
    assert torch.equal(model(tiny.tokens(1, 4)), before)


def test_derived_and_tied_tensors_may_be_stored(folder: Path) -> None:
    def edit(tensors: dict[str, Tensor]) -> None:
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    change(folder, edit)
    load_model(folder)


def test_tokenizer_files_are_copied(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer" / "secret.txt").write_text("no")
    save_model(folder, load_model(folder), tokenizer=tmp_path / "tokenizer")
    assert (folder / "tokenizer.json").exists()
    assert not (folder / "secret.txt").exists()


def test_an_adapter_is_not_saved_as_a_plain_model(tmp_path: Path) -> None:
    model = tiny.model()
    lora.attach(model, r=2, alpha=4, targets="attention", seed=0)
    with pytest.raises(InputError, match="carries an adapter") as caught:
        save_model(tmp_path / "x", model)
    assert "merge" in caught.value.hint
    assert not (tmp_path / "x").exists()


def outside(folder: Path) -> None:
    shard(folder, "../model.safetensors")
    shutil.copy(folder / "model-00002-of-00002.safetensors", folder.parent / "model.safetensors")


def linked(folder: Path) -> None:
    shutil.move(folder / "model.safetensors", folder.parent / "elsewhere")
    (folder / "model.safetensors").symlink_to("../elsewhere")


def truncated(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def misplaced(folder: Path) -> None:
    shard(folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.norm.weight"] = "model-00001-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


ERRORS: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: change(f, lambda t: t.pop(Q)), f"tensor '{Q}' is missing"),
    (lambda f: change(f, lambda t: t.update({"stray": torch.ones(1)})), "tensor 'stray' has no place"),
    (lambda f: change(f, lambda t: t[Q].view(-1)[3:4].fill_(torch.nan)), f"tensor '{Q}' holds values that are not fin"),
    (lambda f: change(f, lambda t: t.update({Q: torch.ones(32, 31)})), r"shape \[32, 31\], the configuration says"),
    (lambda f: change(f, lambda t: t.update({Q: torch.ones(32, 32, dtype=torch.int8)})), "stored as integers"),
    (lambda f: change(f, lambda t: t.update({"lm_head.weight": torch.ones(61, 32)})), "differs from the embedding"),
    (lambda f: change(f, lambda t: t.update({Q: t[Q].double() * 1e300})), "not finite"),
    (lambda f: configure(f, num_hidden_layers=10**6), "config.json has 1000000 layers, the weights fewer"),
    (lambda f: configure(f, vocab_size=62), r"'model.embed_tokens.weight' has shape \[61, 32\]"),
    (lambda f: configure(f, model_type="bert"), "model_type = 'bert'"),
    (outside, "'../model.safetensors' is not a plain file name"),
    (linked, "outside of its folder"),
    (truncated, "not a readable safetensors file"),
    (misplaced, "tensor 'model.norm.weight' is missing"),
    (pickled, "has no model.safetensors"),
    (lambda f: shard(f, "/etc/passwd"), "'/etc/passwd' is not a plain file name"),
    (lambda f: shard(f, "gone.safetensors"), "no such file"),
    (lambda f: (f / "config.json").unlink(), "not a model folder, it has no config.json"),
    (lambda f: (f / "config.json").write_text("{"), "config.json: not JSON"),
    (lambda f: (f / "config.json").write_text("[" * 100000), "config.json: not JSON"),
    (lambda f: (f / "config.json").write_text("[]"), "holds no JSON object"),
]


@pytest.mark.parametrize(("damage", "message"), ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_damaged_folders(damage: Callable[[Path], object], message: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_model(folder)
    assert str(folder) in caught.value.message


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a model folder"):
        load_model(tmp_path / "nothing")
