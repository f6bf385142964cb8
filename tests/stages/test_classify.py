from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from hornbook.config import check
from hornbook.errors import EmptyInput, InputError, UsageError
from hornbook.execute import execute
from hornbook.manifest import read_manifest
from hornbook.stages import load
from hornbook.stages.classify import Classify
from hornbook.text import trained
from hornbook.text.document import Document, write_documents

NAMES = ("Ardal", "Berun", "Cosse", "Dovin", "Elmar", "Fenby", "Garth", "Holme", "Ister", "Jarrow")
CALM = [f"The river {a} runs past the old mill of {b} and feeds the fields." for a in NAMES for b in NAMES]
LOUD = [f"BUY {a} now!!! click here for {b} >>> win win" for a in NAMES for b in NAMES]


def rows(path: Path, texts: list[str], **fields: Any) -> str:
    lines = "".join(json.dumps({"text": text, **fields}) + "\n" for text in texts)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return str(path)


def classify(folder: Path, **options: Any) -> Path:
    return execute(load("classify"), Classify(**options), runs=folder / "runs")


def results(run: Path) -> dict[str, Any]:
    return read_manifest(run).results


def test_it_learns_from_two_kinds_and_tells_how_well(tmp_path: Path) -> None:
    positives, negatives = rows(tmp_path / "calm.jsonl.gz", CALM), rows(tmp_path / "loud.jsonl", LOUD)
    run = classify(tmp_path, positives=positives, negatives=negatives, name="calm")
    told = results(run)
    assert told["roc_auc"] == 1
    assert told["suggested"]["recall"] == 1
    assert told["held_out"]["positive"] + told["held_out"]["negative"] == pytest.approx(20, abs=12)
    assert [row["threshold"] for row in told["thresholds"]] == [0.1, 0.3, 0.5, 0.7, 0.9]
    model = trained.load(run)
    assert model.name == "calm"
    ask = trained.filter_of(model)
    assert ask(Document("1", CALM[0], "s"), min_score=told["suggested"]["threshold"]) is None
    reason = ask(Document("1", LOUD[0], "s"), min_score=told["suggested"]["threshold"])
    assert reason is not None
    assert reason.startswith("classifier calm: score 0.")


def test_the_same_texts_in_other_files_give_the_same_bytes(tmp_path: Path) -> None:
    one = classify(tmp_path, positives=rows(tmp_path / "a.jsonl", CALM), negatives=rows(tmp_path / "b.jsonl", LOUD))
    halves = f"{rows(tmp_path / 'c.jsonl', CALM[50:][::-1])} {rows(tmp_path / 'd.jsonl', CALM[:50])}"
    other = classify(tmp_path, positives=halves, negatives=rows(tmp_path / "e.jsonl", LOUD[::-1]))
    assert one != other
    for name in ("config.json", "model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_changed_files_are_another_run(tmp_path: Path) -> None:
    options = {"positives": str(tmp_path / "a.jsonl"), "negatives": rows(tmp_path / "b.jsonl", LOUD)}
    rows(tmp_path / "a.jsonl", CALM)
    one = classify(tmp_path, **options)
    assert classify(tmp_path, **options) == one
    rows(tmp_path / "a.jsonl", CALM[1:])
    assert classify(tmp_path, **options) != one


def test_rows_can_be_labelled_and_of_groups(tmp_path: Path) -> None:
    rows(tmp_path / "a.jsonl", CALM, toxic=False, dialect="x")
    rows(tmp_path / "b.jsonl", LOUD, toxic=True, dialect="y")
    run = classify(tmp_path, positives=str(tmp_path / "*.jsonl"), label="toxic=true", group="dialect", name="toxicity")
    told = results(run)
    assert told["roc_auc"] == 1
    assert list(told["groups"]) == ["x"]
    assert told["groups"]["x"]["mistaken"] == 0
    assert told["groups"]["x"]["interval"][1] < 0.5
    model = trained.load(run)
    assert model.score([LOUD[0]])[0] > 0.5
    with pytest.raises(InputError, match=r"a.jsonl, row 1: no field hate") as caught:
        classify(tmp_path, positives=str(tmp_path / "*.jsonl"), label="hate=1")
    assert caught.value.hint == "it has: dialect, toxic"


def test_a_run_of_curate_stands_for_its_documents(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_documents(corpus / "documents-00000.parquet", [Document(str(n), text, "s") for n, text in enumerate(CALM)])
    write_documents(corpus / "removed-00000.parquet", [Document(str(n), text, "s") for n, text in enumerate(LOUD)])
    (corpus / "manifest.json").write_text("{}")
    run = classify(tmp_path, positives=str(corpus), kind="perplexity", name="usual")
    assert read_manifest(run).counts == {"positives": 100, "negatives": 0}
    told = results(run)
    assert 0 < told["bits_per_byte"]["positive"]["median"] < 3
    assert "roc_auc" not in told


def test_perplexity_can_be_measured_against_another_kind(tmp_path: Path) -> None:
    options = {"positives": rows(tmp_path / "a.jsonl", CALM), "negatives": rows(tmp_path / "b.jsonl", LOUD)}
    told = results(classify(tmp_path, kind="perplexity", **options))
    assert told["roc_auc"] == 1
    assert told["bits_per_byte"]["negative"]["head"] > told["bits_per_byte"]["positive"]["tail"]


def test_malformed_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(Path(rows(path, CALM)).read_text() + "5\n")
    run = classify(tmp_path, positives=str(path), kind="perplexity")
    assert read_manifest(run).counts == {"positives": 100, "negatives": 0, "malformed": 1}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, UsageError, "a linear classifier needs texts of two kinds"),
        ({"label": "toxic"}, UsageError, "label is 'toxic'"),
        ({"negatives": "nothing.jsonl"}, UsageError, "there is no file or folder nothing.jsonl"),
        ({"negatives": "{folder}/empty.jsonl"}, EmptyInput, "there is no negative text"),
        ({"negatives": "{folder}/one.jsonl"}, EmptyInput, "no negative text is left to learn from"),
        ({"label": "toxic=maybe"}, EmptyInput, "there is no positive text"),
        ({"kind": "perplexity", "held_out": 1.0}, UsageError, "held_out is 1.0"),
    ],
)
def test_what_cannot_be_learned_from_is_an_error(
    options: dict[str, Any], error: type[InputError], message: str, tmp_path: Path
) -> None:
    positives = rows(tmp_path / "calm.jsonl", CALM, toxic="no")
    rows(tmp_path / "empty.jsonl", [" "])
    rows(tmp_path / "one.jsonl", LOUD[:1])
    filled = {key: value.format(folder=tmp_path) if isinstance(value, str) else value for key, value in options.items()}
    with pytest.raises(error, match=message):
        execute(load("classify"), check(Classify(positives=positives, **filled)), runs=tmp_path / "runs")
