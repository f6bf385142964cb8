"""hornbook plan, from folders to a decision, a recipe and a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hornbook.config import build
from hornbook.errors import UsageError
from hornbook.recipe import read_recipe
from hornbook.stages.plan import Plan, plan

CONFIG = {
    "model_type": "llama", "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config without weights, sixty conversations, and a text."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps(CONFIG))
    turns = [
        [{"role": "user", "content": f"What is in box {n}?"}, {"role": "assistant", "content": f"There are {n} plums."}]
        for n in range(60)
    ]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps({"messages": one}) + "\n" for one in turns))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("The harbour opens at six, and the boats come in before seven. " * 40)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], **values: object) -> dict[str, object]:
    plan(build(Plan, {"json": True, "probe": 0, **values}, where="plan"))
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_config_is_enough_and_the_recipe_can_be_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, data="chats.jsonl", base="base", gpu="A100-80GB", hours=1.0, write="r.toml", page="p.html")
    assert found["decision"]["way"] == "LoRA"  # type: ignore[index]
    assert found["base"]["weights"] is False  # type: ignore[index]
    assert [one["method"] for one in found["options"]] == ["full", "lora", "qlora", "prefix", "prompt"]  # type: ignore[attr-defined]
    (table,) = read_recipe(Path("r.toml")).tables
    assert (table.stage.name, table.values["lora"]) == ("sft", {})
    assert table.planned["memory"] <= table.planned["memory_at_most"]
    page = Path("p.html").read_text()
    assert "<svg" in page
    assert "LoRA" in page


def test_conversations_without_a_base_have_no_recipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"chats\.jsonl holds conversations, and a new model learns from documents"):
        told(capsys, data="chats.jsonl", gpu="T4", method="pretrain", write="r.toml")
    assert not Path("r.toml").exists()


def test_documents_without_a_base_are_planned_from_the_crawl_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, data="notes", gpu="T4", method="pretrain", write="r.toml")
    tables = {table.name: table for table in read_recipe(Path("r.toml")).tables}
    assert list(tables) == ["crawl", "curate", "tokenize", "pretrain"]
    assert tables["pretrain"].planned["seconds"] > 0


def test_several_gpus_are_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, data="chats.jsonl", base="base", gpu="A100-80GB", gpus=8)
    assert [one["gpus"] for one in found["gpus"]] == [1, 2, 4, 8]  # type: ignore[attr-defined]


def test_a_plan_to_train_nothing_is_told_before_its_recipe_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="nothing"):
        plan(build(Plan, {"data": "notes", "gpu": "T4", "write": "r.toml"}, where="plan"))
    assert "decision: retrieve" in capsys.readouterr().out
    assert not Path("r.toml").exists()


@pytest.mark.parametrize(("values", "message"), [
    ({"data": "notes", "method": "lora", "gpu": "T4"}, "method lora needs a base"),
    ({"data": "chats.jsonl", "base": "base", "method": "pretrain", "gpu": "T4"}, "method pretrain goes with no base"),
])  # fmt: skip
def test_a_method_that_goes_with_no_such_base_is_refused(
    folder: Path, values: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=message):
        told(capsys, **values)
