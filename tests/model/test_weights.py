from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hornbook.errors import InputError
from hornbook.model import lora
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
    (lambda f: change(f, lambda t: t.update({Q: torch.ones(32, 32, dtype=torch.int8)})), "stored as torch.int8"),
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
