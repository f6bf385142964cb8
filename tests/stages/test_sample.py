from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hornbook.config import build
from hornbook.errors import EmptyInput
from hornbook.execute import execute
from hornbook.manifest import read_manifest
from hornbook.stages import load
from tests import ranks
from tests.forked import command
from tests.stages.test_reinforce import folder

__all__ = ["folder"]
OPTIONS: dict[str, Any] = {
    "model": "model",
    "rows": "questions.jsonl",
    "rewards": {"length": 1.0},
    "target": 4,
    "n": 4,
    "prompt_length": 60,
    "max_new_tokens": 12,
    "temperature": 4.0,
}


def made(stage: str, **values: Any) -> Path:
    loaded = load(stage)
    return execute(loaded, build(loaded.config, values, where=stage), runs=Path("runs"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def stopping() -> None:
    """A model that ends its answers: random weights hardly ever do."""
    rows = [{"messages": [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": "ab" * (n % 4)
             or "c"}]} for n in range(64)]  # fmt: skip
    Path("chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    taught = made("sft", base="model", rows="chats.jsonl", length=100, epochs=4, learning_rate=2e-2, batch=8)
    Path("model").rename("untaught")
    taught.rename("model")


def test_the_best_is_a_conversation_and_best_and_worst_are_a_pair(folder: Path) -> None:
    stopping()
    run = made("sample", **{**OPTIONS, "temperature": 1.0})
    counts = read_manifest(run).counts
    chats, pairs = lines(run / "sft.train.jsonl"), lines(run / "preference.train.jsonl")
    assert (len(chats), len(pairs)) == (counts["train_conversations"], counts["train_preferences"])
    assert 0 < len(pairs) <= len(chats) <= counts["train_questions"]
    best = {row["id"]: row for row in chats}
    for row in pairs:
        said = {side: row[side][0]["content"] for side in ("chosen", "rejected")}
        assert row["reward_chosen"] == -min(1.0, abs(len(said["chosen"]) - 4) / 4)
        assert row["reward_chosen"] > row["reward_rejected"]
        assert best[row["id"]]["messages"][-1]["content"] == said["chosen"]
    told = read_manifest(run).results["reward_by_split"]["train"]
    assert told["best"] > told["mean"] > told["worst"]
    only = made("sample", **{**OPTIONS, "temperature": 1.0, "least": 0.0})
    assert {row["reward"] for row in lines(only / "sft.train.jsonl")} == {0.0}


def test_what_it_makes_is_learned_from(folder: Path) -> None:
    """sample -> align -> sample -> sft, each from what was made before."""
    stopping()
    rows = made("sample", **{**OPTIONS, "temperature": 1.0})
    aligned = made("align", base="model", rows=str(rows), length=100, batch=8)
    again = made("sample", **{**OPTIONS, "model": str(aligned), "temperature": 1.0})
    taught = made("sft", base=str(aligned), rows=str(again), length=100, batch=8)
    assert (taught / "model.safetensors").exists()


def test_the_batch_changes_nothing(folder: Path) -> None:
    stopping()
    few = made("sample", **OPTIONS, at_once=4)
    kept = {path.name: path.read_bytes() for path in few.glob("*.jsonl")}
    for path in Path("runs").iterdir():
        path.rename(Path("other-" + path.name))
    many = made("sample", **OPTIONS, at_once=1000)
    assert {path.name: path.read_bytes() for path in many.glob("*.jsonl")} == kept


def test_any_number_of_processes_makes_the_same_rows(folder: Path) -> None:
    given = "sample model --rows questions.jsonl --rewards.length 1 --target 4 --n 2 --prompt-length 60 "
    given += "--max-new-tokens 12 --temperature 4 --at-once 4 --device cpu --runs"
    stopping()
    for count in (1, 2):
        ranks.run(count, command, *given.split(), f"by-{count}", folder=folder)
    (alone,), (together,) = (list(Path(f"by-{count}").glob("sample-*")) for count in (1, 2))
    kept = {path.name: path.read_bytes() for path in alone.glob("*.jsonl")}
    assert kept == {path.name: path.read_bytes() for path in together.glob("*.jsonl")}
    assert kept["sft.train.jsonl"]


def test_nothing_worth_keeping_is_said(folder: Path) -> None:
    """Every answer is cut."""
    with pytest.raises(EmptyInput, match="questions none has a best answer that could be kept"):
        made("sample", **{**OPTIONS, "max_new_tokens": 1, "n": 1})
