# ruff: noqa: RUF001
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hornbook.config import build
from hornbook.errors import EmptyInput, InputError, UsageError
from hornbook.execute import execute
from hornbook.manifest import Input, read_manifest
from hornbook.stages import load
from hornbook.text import bpe
from hornbook.text.document import Document, write_documents
from hornbook.training.opening import open_model
from tests.stages.test_tokenize import document

GREEK = ["Η", "θάλασσα", "είναι", "ήρεμη", "και", "ο", "ουρανός", "καθαρός", "πάνω", "από", "τον", "ελαιώνα"]
TRAINING = {"length": 32, "batch": 4, "rows": 4, "train_tokens": 1024.0, "evaluation_tokens": 400}


def made(stage: str, folder: Path, **values: Any) -> Path:
    loaded = load(stage)
    return execute(loaded, build(loaded.config, values, where=stage), runs=folder / "runs")


def greek(number: int) -> Document:
    words = [GREEK[(number * 7 + at * at) % len(GREEK)] for at in range(30)]
    return Document(f"g{number:03}", " ".join(words), "greek")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("continued")


@pytest.fixture(scope="module")
def general(folder: Path) -> Path:
    (folder / "general").mkdir()
    write_documents(folder / "general/documents.parquet", map(document, range(60)))
    return made("tokenize", folder, corpus=str(folder / "general"), vocabulary=300, held_out=0.2)


@pytest.fixture(scope="module")
def base(folder: Path, general: Path) -> Path:
    return made("pretrain", folder, tokens=str(general), depth=1, **TRAINING)


@pytest.fixture(scope="module")
def tokens(folder: Path, base: Path) -> Path:
    (folder / "greek").mkdir()
    write_documents(folder / "greek/documents.parquet", map(greek, range(40)))
    return made("tokenize", folder, corpus=str(folder / "greek"), tokenizer=str(base), extend=50, held_out=0.2)


@pytest.fixture(scope="module")
def replay(folder: Path, tokens: Path) -> Path:
    return made("tokenize", folder, corpus=str(folder / "general"), tokenizer=str(tokens), held_out=0.2)


def test_a_new_language_is_written_in_fewer_pieces(tokens: Path) -> None:
    told = read_manifest(tokens).results
    assert told["vocabulary"] == 350
    assert told["fertility"]["greek"]["after"] < 0.7 * told["fertility"]["greek"]["before"]


def test_a_model_goes_on_with_more_tokens_and_some_of_what_it_knew(
    folder: Path, base: Path, tokens: Path, replay: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = made("pretrain", folder, tokens=str(tokens), base=str(base), replay=str(replay), replay_share=0.5, **TRAINING)
    results = read_manifest(run).results
    sources = {"bits_per_byte/greek", "bits_per_byte/replay/books", "bits_per_byte/replay/web"}
    assert all({key for key in results[name] if "/" in key} == sources for name in ("base", "before", "after"))
    assert results["after"]["bits_per_byte/greek"] < results["base"]["bits_per_byte/greek"]
    shares = results["epochs"]
    assert set(shares) == {"greek", "replay/books", "replay/web"}
    lines = capsys.readouterr().err.splitlines()
    (head,) = (line for line in lines if line.startswith("bits per byte"))
    assert head.split()[3:] == ["base", "before", "after", "change"]
    ours = open_model(Input(run), device=torch.device("cpu"))
    theirs, text = AutoModelForCausalLM.from_pretrained(run), greek(3).text
    ids = AutoTokenizer.from_pretrained(run)(text)["input_ids"]
    assert [ids] == bpe.encode_texts(ours.tokenizer, [text])
    with torch.no_grad():
        torch.testing.assert_close(
            theirs(torch.tensor([ids])).logits, ours.model(torch.tensor([ids])), atol=1e-4, rtol=0
        )


def test_before_new_pieces_are_learned_old_text_is_predicted_as_by_the_base(
    folder: Path, base: Path, replay: Path
) -> None:
    """The text has no new piece, so only the probability that goes to the new rows is lost."""
    run = made("pretrain", folder, tokens=str(replay), base=str(base), **TRAINING)
    results = read_manifest(run).results
    for key, value in results["base"].items():
        assert value == pytest.approx(results["before"][key], abs=0.3)
        assert value <= results["before"][key]


def test_phases_limits_and_late_sources(folder: Path, general: Path) -> None:
    phases = [{"until": 0.5, "weights": {"web": 1.0}}, {"until": 1.0, "weights": {"books": 1.0}}]
    by_phase = made("pretrain", folder, tokens=str(general), depth=1, phases=phases, packing="whole", **TRAINING)
    late = made("pretrain", folder, tokens=str(general), depth=1, late=["books"], **TRAINING)
    first, second = (read_manifest(run).results["epochs"] for run in (by_phase, late))
    assert set(first) == {"web", "books"}
    assert second["books"] < first["books"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"phases": [{"until": 1.0, "weights": {"town": 1.0}}]}, EmptyInput, "no tokens of source 'town'"),
        ({"phases": [{"until": 0.5, "weights": {"web": 1.0}}]}, UsageError, "the last one ends at 0.5"),
        ({"phases": [{"until": 1.0, "weights": {"web": -1.0}}]}, UsageError, "the weight of web is -1"),
        ({"phases": [{"until": 1.0, "weights": {}}], "late": ["web"]}, UsageError, "give one of them|say too"),
        ({"late": ["web"], "epochs": {"web": 2.0}}, UsageError, "late sources take their whole share"),
        ({"late": ["town"]}, EmptyInput, "no tokens of source 'town'"),
        ({"caps": {"town": 5.0}}, EmptyInput, "no tokens of source 'town'"),
        ({"caps": {"web": 50.0, "books": 50.0}}, EmptyInput, "its sources may give no more than"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    folder: Path, general: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        made("pretrain", folder, tokens=str(general), depth=1, **TRAINING, **options)


def test_other_tokenizers_are_refused(folder: Path, general: Path, base: Path, tokens: Path) -> None:
    with pytest.raises(InputError, match="to be replayed, has another tokenizer"):
        made("pretrain", folder, tokens=str(tokens), base=str(base), replay=str(general), **TRAINING)
    with pytest.raises(InputError, match="which leaves embeddings alone"):
        made("pretrain", folder, tokens=str(tokens), base=str(base), lora={"r": 2}, **TRAINING)
    with pytest.raises(UsageError, match="extend needs a tokenizer"):
        made("tokenize", folder, corpus=str(folder / "greek"), extend=5)
