from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hornbook.execute import execute
from hornbook.manifest import read_manifest
from hornbook.stages import load
from hornbook.stages.tokenize import Tokenize
from hornbook.text import bpe, parts, shards
from hornbook.text.document import Document, order_key, write_documents
from tests.forked import fork

WORDS = [
    "river",
    "meadow",
    "barn",
    "lantern",
    "orchard",
    "kettle",
    "stove",
    "window",
    "gate",
    "path",
    "winter",
    "candle",
]


def document(number: int) -> Document:
    draw = random.Random(number)
    return Document(f"{number:04}", " ".join(draw.choices(WORDS, k=40)), "web" if number % 3 else "books")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four files of several parts when parts are as small as these tests make them."""
    folder = tmp_path_factory.mktemp("corpus")
    for at in range(4):
        write_documents(folder / f"documents-{at:05}.parquet", map(document, range(at * 50, at * 50 + 50)))
    return folder


def made(corpus: Path, runs: Path, **options: Any) -> Path:
    return execute(load("tokenize"), Tokenize(corpus=corpus, **{"vocabulary": 300, **options}), runs=runs)


def hashes(run: Path) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in read_manifest(run).files.items()}


def test_documents_are_encoded_in_order_and_told_of(corpus: Path, tmp_path: Path) -> None:
    run = made(corpus, tmp_path, held_out=0.2)
    tokenizer = bpe.load(run)
    splits = [shards.read(run.joinpath, split) for split in shards.SPLITS]
    texts = {id: tokenizer.decode(s.read(at, 1).tolist()) for s in splits for at, id in enumerate(s.ids)}
    assert texts == {f"{n:04}": document(n).text for n in range(200)}
    assert all(list(split.ids) == sorted(split.ids) for split in splits)
    results = read_manifest(run).results
    assert results["sources"]["web"]["documents"] == sum(bool(n % 3) for n in range(200))
    assert results["sources"]["web"]["bytes"] == sum(len(document(n).text) for n in range(200) if n % 3)
    ours = sum(cell["train_tokens"] + cell["valid_tokens"] for cell in results["sources"].values())
    assert ours == sum(int(split.lengths.sum()) for split in splits)


@pytest.mark.parametrize("megabytes", [0.01, 0.000001, 100.0])
def test_the_tokenizer_learns_from_the_first_by_hash_that_are_not_held_out(
    corpus: Path, tmp_path: Path, megabytes: float
) -> None:
    table = pq.read_table(made(corpus, tmp_path, held_out=0.2, sample_megabytes=megabytes) / "documents.parquet")
    rows = [row for row in table.to_pylist() if row["split"] == "train"]
    rows.sort(key=lambda row: order_key(row["id"], seed=0, purpose="tokenizer"))
    fits = np.cumsum([row["bytes"] for row in rows]) <= megabytes * 1e6
    assert [row["sampled"] for row in rows] == [True, *fits[1:]]
    assert not any(row["sampled"] for row in table.to_pylist() if row["split"] == "valid")


def test_how_the_work_is_cut_changes_no_byte(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hashes(made(corpus, tmp_path / "whole", workers=1, sample_megabytes=0.02))
    cut = parts.cut
    monkeypatch.setattr("hornbook.stages.tokenize.cut", lambda paths: cut(paths, size=1))
    assert hashes(made(corpus, tmp_path / "cut", workers=2, sample_megabytes=0.02)) == whole


def killed_before(count: int, corpus: Path, folder: Path) -> None:
    """Make the run in a process that ends itself before it renames a file for the so many-th time."""
    parts.cut.__kwdefaults__["size"] = 1
    left, replace = count, os.replace

    def die_instead(*paths: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(137)
        replace(*paths)

    os.replace = die_instead  # type: ignore[assignment]
    made(corpus, folder, workers=1, sample_megabytes=0.02)


def test_a_run_killed_anywhere_ends_with_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    """Killed in every phase: before a file of it gets its name, and each time a little further on."""
    whole = hashes(made(corpus, tmp_path / "whole", workers=1, sample_megabytes=0.02))
    folder = tmp_path / "killed"
    ended = [fork(killed_before, at, corpus, folder, folder=tmp_path).wait() for at in (4, 6, 3, 99)]
    assert ended == [137, 137, 137, 0]
    assert hashes(next(folder.glob("tokenize-*"))) == whole
