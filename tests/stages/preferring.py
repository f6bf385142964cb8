"""A tiny model, and pairs in which the better answer is the polite one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hornbook.model.architecture import Architecture
from hornbook.model.transformer import Transformer
from hornbook.model.weights import save_model
from hornbook.text import bpe

WORDS = ("river", "meadow", "barn", "lantern", "orchard")
SHAPE = Architecture(
    vocab_size=270,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=1,
    num_key_value_heads=1,
    head_dim=16,
    max_position_embeddings=128,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with `model`, `pairs.jsonl` and `judged.jsonl`."""
    monkeypatch.chdir(tmp_path)
    Path("tokens").mkdir()
    bpe.save(bpe.train(WORDS, vocabulary=270), Path("tokens"))
    save_model(tmp_path / "model", Transformer(SHAPE).initialize(0), tokenizer=Path("tokens"), bos=0, eos=[0], pad=3)
    pairs = [pair(f"{word} {n}") for word in WORDS for n in range(20)]
    write("pairs.jsonl", *pairs)
    write("judged.jsonl", *(judged(row, good=n % 2 == 0) for n, row in enumerate(pairs)))
    return tmp_path


def pair(word: str) -> dict[str, Any]:
    return {"prompt": f"Where is {word}?", "chosen": f"By {word}, please!", "rejected": f"By {word}, go away"}


def judged(row: dict[str, Any], *, good: bool) -> dict[str, Any]:
    return {"prompt": row["prompt"], "completion": row["chosen" if good else "rejected"], "label": good}


def write(name: str, *rows: object) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
