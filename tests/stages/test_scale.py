"""A ladder on real steps: it predicts, it is held against the model itself, and a killed one goes on."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from hornbook.errors import UsageError
from hornbook.execute import execute
from hornbook.manifest import read_manifest
from hornbook.stages import load
from hornbook.stages.scale import Scale
from hornbook.stages.tokenize import Tokenize
from hornbook.text.document import Document, write_documents
from tests.forked import command, fork

SMALL: dict[str, Any] = {"depth": 3, "train_tokens": 6_000.0, "length": 32, "depths": (1, 2), "evaluation_tokens": 500}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Sentences of a small grammar, so that there is something to learn."""
    chance = random.Random(0)
    words = [("the", "a"), ("old", "small", "red"), ("barn", "goat", "mill"), ("stands", "waits"), ("here.", "there.")]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    texts = (" ".join(" ".join(map(chance.choice, words)) for _ in range(12)) for _ in range(60))
    write_documents(corpus / "documents.parquet", [Document(str(n), text, "farm") for n, text in enumerate(texts)])
    config = Tokenize(corpus=corpus, vocabulary=280, held_out=0.2)
    return execute(load("tokenize"), config, runs=tmp_path / "runs")


def test_a_ladder_predicts_and_is_held_against_the_model(tokens: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    pretrain = load("pretrain")
    options = {key: value for key, value in SMALL.items() if key != "depths"}
    large = execute(pretrain, pretrain.config(tokens, **options), runs=runs)
    run = execute(load("scale"), Scale(tokens, **SMALL, against=large), runs=runs)
    found = read_manifest(run).results
    assert json.loads((run / "scaling.json").read_text()) == found
    assert len(found["ladder"]) == 6
    assert found["ladder"][-1]["bits_per_byte"] < found["ladder"][0]["bits_per_byte"]
    target = found["predicted"]
    assert target["low"] <= target["law"] <= target["high"]
    page = (run / "report.html").read_text()
    assert "Predicted" in page
    assert "<svg" in page


def test_a_ladder_that_was_killed_goes_on_to_the_same_bytes(tokens: Path, tmp_path: Path) -> None:
    whole = execute(load("scale"), Scale(tokens, **SMALL), runs=tmp_path / "whole")
    options = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items() if key != "depths"]
    options += ["--depths", "1", "--depths", "2"]
    words = ("scale", str(tokens), *options, "--runs", str(tmp_path / "killed"))
    child = fork(command, *words, folder=tmp_path)
    while not list((tmp_path / "killed").glob(".tmp-*/scratch/losses.json")) and child.running:
        time.sleep(0.005)
    child.send(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    (partial,) = (tmp_path / "killed").glob(".tmp-*/scratch/losses.json")
    assert 1 <= len(json.loads(partial.read_text())) < 6
    again = fork(command, *words, folder=tmp_path)
    assert again.wait() == 0, again.errors
    assert (Path(again.out.strip()) / "scaling.json").read_bytes() == (whole / "scaling.json").read_bytes()


def test_a_ladder_as_high_as_its_end_is_refused(tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 layers are no fewer"):
        execute(load("scale"), Scale(tokens, **SMALL | {"depths": (2, 3)}), runs=tmp_path / "runs")
