from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hornbook.config import build
from hornbook.errors import InputError, Interrupted
from hornbook.execute import execute
from hornbook.judge.rewards import conversation_rewards
from hornbook.learn.chat import encode
from hornbook.manifest import read_manifest
from hornbook.model.reward import load_reward_model
from hornbook.run import Run
from hornbook.stages import load
from hornbook.text import bpe
from tests.stages.preferring import folder as folder


def made(**values: Any) -> Path:
    stage = load("reward")
    given = {"base": "model", "rows": "pairs.jsonl", "length": 64, "batch": 8, "learning_rate": 3e-3} | values
    return execute(stage, build(stage.config, given, where="reward"), runs=Path("runs"))


@pytest.mark.parametrize("adapter", [{}, {"lora": {"r": 4}, "learning_rate": 2e-2}], ids=["whole", "lora"])
def test_it_learns_which_answer_is_better(folder: Path, adapter: dict[str, Any]) -> None:
    run = made(epochs=2, **adapter)
    results = read_manifest(run).results
    assert results["after"]["preference_accuracy"] == 1.0
    assert results["before"]["preference_accuracy"] < 1.0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    assert steps[0]["loss"] == pytest.approx(0.69, abs=0.02)
    assert steps[-1]["loss"] < 0.3
    assert steps[-1]["accuracy"] > 0.9
    assert steps[-1]["reward/chosen"] > steps[-1]["reward/rejected"]

    model = load_reward_model(run)
    words = bpe.load(run)
    good, bad = (
        [{"role": "user", "content": "Where is mill?"}, {"role": "assistant", "content": f"By mill, {end}"}]
        for end in ("please!", "go away")
    )
    found = conversation_rewards(model, [encode(row, words)[0] for row in (good, bad)])
    assert found[0] > found[1]


def test_transformers_gives_the_same_reward_of_a_whole_conversation(folder: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    run = made(epochs=0.2, lora={"r": 2})
    model, words = AutoModelForSequenceClassification.from_pretrained(run), AutoTokenizer.from_pretrained(run)
    rows = [
        [{"role": "user", "content": "Where is mill?"}, {"role": "assistant", "content": end}]
        for end in ("By the mill.", "No.")
    ]
    given = words.apply_chat_template(rows, tokenize=True, padding=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        theirs = model(**given).logits[:, 0]
    found = conversation_rewards(load_reward_model(run), [encode(row, bpe.load(run))[0] for row in rows])
    torch.testing.assert_close(torch.tensor(found), theirs, atol=1e-5, rtol=1e-5)


def test_stopped_and_gone_on_it_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made()
    files = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file() and path.name != "report.html"}
    whole.rename("aside")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "stop_requested", lambda run: (run.scratch / "metrics.jsonl").read_text().count("loss") > 3)
        with pytest.raises(Interrupted):
            made()
    again = made()
    assert again.name == whole.name
    assert {name: (again / name).read_bytes() for name in files} == files


def test_a_reward_model_is_no_base_and_writes_nothing(folder: Path) -> None:
    run = made(epochs=0.1)
    with pytest.raises(InputError, match="holds reward model, not model"):
        made(base=str(run))
    plain = folder / "plain"
    plain.mkdir()
    for path in run.iterdir():
        if path.name != "manifest.json" and path.is_file():
            (plain / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="plain is a reward model: it judges texts and writes none"):
        made(base=str(plain))
