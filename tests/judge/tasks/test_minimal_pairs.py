from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from hornbook.errors import EmptyInput, InputError
from hornbook.judge.tasks.minimal_pairs import MinimalPair, minimal_pairs, read_pairs
from tests.learn import tiny

torch.set_num_threads(1)
GOOD = {"sentence_good": "The boys run.", "sentence_bad": "The boys runs.", "UID": "agreement"}


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_reading(tmp_path: Path) -> None:
    rows = [GOOD, {"sentence_good": "a b", "sentence_bad": "b a"}]
    pairs = [MinimalPair("The boys run.", "The boys runs.", "agreement"), MinimalPair("a b", "b a", "")]
    path = written(tmp_path / "blimp.jsonl", *rows)
    assert read_pairs(path) == pairs
    packed = tmp_path / "blimp.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_pairs(packed) == pairs


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "b.jsonl row 2: not JSON"),
        ("[]", "b.jsonl row 2: not an object"),
        ({"sentence_good": "a"}, "b.jsonl row 2: no 'sentence_bad'"),
        (GOOD | {"sentence_bad": None}, "b.jsonl row 2: sentence_bad = None is not a sentence"),
        (GOOD | {"sentence_good": " "}, "b.jsonl row 2: sentence_good = ' ' is not a sentence"),
    ],
)
def test_a_bad_row_is_named(row: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read_pairs(written(tmp_path / "b.jsonl", GOOD, row))
    assert raised.value.message.startswith(message)


def test_an_empty_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EmptyInput, match="no rows"):
        read_pairs(written(tmp_path / "b.jsonl"))
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(tmp_path / "none.jsonl")


def test_the_likelier_sentence_wins_and_kinds_are_told_apart() -> None:
    model = tiny.model()
    # The head likes token 3 after anything, and token 4 after nothing.
    model.model.norm.weight.data.zero_()
    model.model.norm.weight.data[0] = 1.0
    model.model.embed_tokens.weight.data[:, 0] = 1.0
    model.model.embed_tokens.weight.data[3, 0], model.model.embed_tokens.weight.data[4, 0] = 2.0, 0.5
    pairs = [MinimalPair("33", "44", "liked"), MinimalPair("35", "45", "liked"), MinimalPair("4", "3", "not")]
    found = minimal_pairs(model, pairs, encode=lambda text: [int(c) for c in text], separator=0)
    assert found.by_kind["liked"].value == 1.0
    assert found.by_kind["not"].value == 0.0
    assert found.overall.value == pytest.approx(2 / 3)
    assert found.overall.count == 3


def test_equal_likelihoods_are_a_tie() -> None:
    model = tiny.model()
    model.model.embed_tokens.weight.data.zero_()
    found = minimal_pairs(model, [MinimalPair("12", "21", "")], encode=lambda t: [int(c) for c in t], separator=0)
    assert found.overall.value == 0.5


def test_blimp_reads() -> None:
    path = Path(os.environ.get("HORNBOOK_DATA", "../shared/data")) / "eval" / "blimp.jsonl.gz"
    if not path.exists():
        pytest.skip(f"needs {path}")
    pairs = read_pairs(path)
    assert len(pairs) > 1000
    assert len({pair.kind for pair in pairs}) > 10
