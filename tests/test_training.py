from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hornbook.config import build
from hornbook.execute import execute
from hornbook.manifest import read_manifest
from hornbook.model.transformer import Architecture, Transformer
from hornbook.model.weights import save_model
from hornbook.stages import load
from hornbook.text import bpe

WORDS = ("river", "meadow", "barn", "lantern", "orchard")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a tiny model and three conversations, too few for one to be held out."""
    monkeypatch.chdir(tmp_path)
    Path("tokens").mkdir()
    bpe.save(bpe.train(WORDS, vocabulary=270), Path("tokens"))
    shape = Architecture(
        vocab_size=270,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=128,
    )
    save_model(tmp_path / "model", Transformer(shape).initialize(0), tokenizer=Path("tokens"), bos=0, eos=[0], pad=3)
    write("chats.jsonl", *map(chat, WORDS[:3]))
    return tmp_path


def chat(word: str, *, times: int = 1) -> dict[str, Any]:
    asked = " ".join([f"Where is the {word}?"] * times)
    answer = f"By the {word}."
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}


def write(name: str, *rows: object) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def made(stage: str, **values: Any) -> Path:
    loaded = load(stage)
    return execute(loaded, build(loaded.config, values, where=stage), runs=Path("runs"))


@pytest.mark.parametrize(
    ("targets", "adapted"),
    [
        (["attention"], ["k_proj", "o_proj", "q_proj", "v_proj"]),
        (["attention", "up_proj"], ["k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]),
        (["all-linear"], ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]),
    ],
)
def test_an_adapter_takes_projections_by_name_or_by_kind(folder: Path, targets: list[str], adapted: list[str]) -> None:
    run = made("sft", base="model", rows="chats.jsonl", epochs=1, lora={"r": 2, "targets": targets})
    assert json.loads((run / "adapter_config.json").read_text())["target_modules"] == adapted


def test_a_row_that_cannot_be_measured_is_set_aside(folder: Path) -> None:
    Path("rows").mkdir()
    write("rows/sft.valid.jsonl", {}, chat("river"), chat("meadow", times=50))
    write("rows/preference.valid.jsonl", {"prompt": "a", "chosen": "b", "rejected": "b"})
    write("rows/minimal_pairs.jsonl", {"sentence_good": "a b", "sentence_bad": "b a"})
    run = made("evaluate", models={"m": "model"}, rows="rows", length=100, max_new_tokens=2, bad_rows="skip")
    assert read_manifest(run).counts == {"rows_set_aside": 3}
    assert len((run / "quarantine.jsonl").read_text().splitlines()) == 3
    assert json.loads((run / "scores.json").read_text())["m"].keys() == {"answer_log_likelihood", "minimal_pairs"}
