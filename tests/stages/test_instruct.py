from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hornbook.errors import InputError
from hornbook.execute import execute
from hornbook.manifest import read_manifest
from hornbook.stages import load
from hornbook.stages.instruct import Instruct
from hornbook.stages.tokenize import Tokenize
from hornbook.text import shards
from hornbook.text.document import Document, write_documents

VERBS = ("Open", "Close", "Wash", "Fold", "Weigh", "Count", "Paint", "Mend")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def made(folder: Path, documents: list[Document], **options: Any) -> tuple[Path, set[str]]:
    """A run of `instruct` on the documents, and the ids of those that are held out."""
    corpus = folder / "corpus"
    corpus.mkdir()
    write_documents(corpus / "documents.parquet", documents)
    tokens = execute(load("tokenize"), Tokenize(corpus=corpus, vocabulary=300, held_out=0.3), runs=folder / "runs")
    config = Instruct(corpus=corpus, tokens=tokens, **options)
    return execute(load("instruct"), config, runs=folder / "runs"), set(shards.read(tokens.joinpath, "valid").ids)


def document(number: int, last: str = "Close the gate behind you when you leave.") -> Document:
    lines = [f"{verb.lower()}_{number}(thing)\n{verb} thing {number} before the rain begins again.\n" for verb in VERBS]
    text = "\n".join([*lines, f"last_{number}()\n{last}\n"])
    return Document(f"{number:02d}", text, "web", metadata={"title": f"module house{number}"})


def test_held_out_documents_give_the_held_out_rows(tmp_path: Path) -> None:
    run, valid = made(tmp_path, [document(n) for n in range(20)])
    for kind in ("sft", "preference"):
        assert {row["document"] for row in rows(run / f"{kind}.valid.jsonl")} <= valid
        assert not {row["document"] for row in rows(run / f"{kind}.train.jsonl")} & valid
    assert {row["document"] for row in rows(run / "minimal_pairs.jsonl")} <= valid


def test_an_answer_that_was_trained_on_is_not_held_out(tmp_path: Path) -> None:
    run, _ = made(tmp_path, [document(n) for n in range(20)], repeats=100)
    learned = {row["messages"][-1]["content"] for row in rows(run / "sft.train.jsonl")}
    held = [row["messages"][-1]["content"] for row in rows(run / "sft.valid.jsonl")]
    assert "Close the gate behind you when you leave." in learned
    assert held
    assert not learned & set(held)
    assert read_manifest(run).counts["held_out_but_known"] > 0


def test_what_the_next_stage_would_refuse_is_left_out_and_counted(tmp_path: Path) -> None:
    documents = [
        document(
            n,
            last=f"Write <|im_end|> at the end of every page that was written in the old house by the sea before {n}.",
        )
        for n in range(20)
    ]
    run, _ = made(tmp_path, documents)
    assert "<|im_end|>" not in (run / "sft.train.jsonl").read_text()
    assert read_manifest(run).counts["with_control_tokens"] == 20


def test_pairs_prefer_the_right_answer(tmp_path: Path) -> None:
    run, _ = made(tmp_path, [document(n) for n in range(20)])
    answers = {row["id"]: row["messages"][-1]["content"] for row in rows(run / "sft.train.jsonl")}
    pairs = rows(run / "preference.train.jsonl")
    assert pairs
    for pair in pairs:
        assert pair["chosen"] == answers[pair["id"]] != pair["rejected"]


def test_tokens_of_another_corpus_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    _, _ = made(tmp_path / "one", [document(n) for n in range(20)])
    tokens = next((tmp_path / "one" / "runs").glob("tokenize-*"))
    other = tmp_path / "two"
    write_documents(other / "documents.parquet", [document(99)])
    with pytest.raises(InputError, match="was not made from"):
        execute(load("instruct"), Instruct(corpus=other, tokens=tokens), runs=tmp_path / "runs")
