from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import EmptyInput, InputError
from hornbook.text import sentences
from hornbook.text.audit import Slices, as_documents, audit, built_in, joined, read_slices
from hornbook.text.document import Document
from hornbook.text.rates import at_threshold, best_threshold, roc_auc, wilson


def holds(word: str) -> Callable[[Sequence[Document]], list[str | None]]:
    found = re.compile(rf"\b{word}\b").search
    return lambda documents: [f"holds: {word}" if found(document.text) else None for document in documents]


def test_a_filter_that_removes_a_dialect_is_visible_at_once() -> None:
    slices = {"aae": ["she be late", "he be home", "they left"], "standard": ["she is late", "he is home", "they left"]}
    table = audit([("be", holds("be")), ("left", holds("left"))], slices, {"aae": "standard"})
    be, left, together = table["filters"]
    assert be["slices"]["aae"] == {
        "removed": 2, "texts": 3, "rate": 0.6667, "interval": [0.2077, 0.9385], "ratio_to_all": 2.0, "ratio": None,
    }  # fmt: skip
    assert left["slices"]["aae"]["ratio"] == 1
    assert together["filter"] == "all filters"
    assert together["slices"]["aae"]["ratio"] == 3
    assert be["overall"]["rate"] == 0.3333
    assert table["warnings"] == ["be removes 0.67 (0.21 to 0.94) of aae, and nothing of standard"]
    assert together["warnings"] == ["all filters removes 1.00 (0.44 to 1.00) of aae, 3.00 times the rate of standard"]
    json.dumps(table, allow_nan=False)


def test_the_ratio_that_is_a_warning_is_above_five_fourths() -> None:
    def warned(often: int, seldom: int, of: int) -> bool:
        texts = {"a": ["x"] * often + ["y"] * (of - often), "b": ["x"] * seldom + ["y"] * (of - seldom)}
        return bool(audit([("x", holds("x"))], texts, {"a": "b"})["warnings"])

    assert not warned(500, 400, 1000)
    assert warned(505, 400, 1000)
    assert not warned(6, 4, 10), "which is as good as chance"
    assert warned(5, 0, 20)
    assert not warned(1, 0, 20)


def test_toxic_texts_count_for_the_recall() -> None:
    (row, _) = audit([("x", holds("x"))], {"a": ["y"]}, {}, toxic=["x", "x", "y", "x"])["filters"]
    assert row["recall"]["rate"] == 0.75
    assert row["overall"]["rate"] == 0
    assert audit([], {"a": ["y"]}, {})["filters"][0]["recall"] is None


def test_short_texts_are_joined_to_documents() -> None:
    texts = ["one two", "three", "four five six", "seven"]
    assert joined(texts, words=3) == ["one two\nthree", "four five six"]
    assert joined(texts, words=3, overlap=True) == [
        "one two\nthree", "three\nfour five six", "four five six", "seven\none two",
    ]  # fmt: skip
    assert joined([], words=3) == []


def test_slices_of_short_texts_become_slices_of_documents() -> None:
    short = as_documents(built_in())
    assert all(len(text.split()) >= 60 for name, some in short.texts.items() for text in some if "language" not in name)
    aae = "dialect/african american english"
    assert len(short.texts[aae]) == len(short.texts[short.reference[aae]]) == len(built_in().texts[aae])
    long = Slices({"a": ["word " * 60]}, {}, ["x"])
    assert as_documents(long) is long


def test_the_sentences_that_come_with_it() -> None:
    slices = built_in()
    assert set(slices.reference) <= set(slices.texts)
    assert set(slices.reference.values()) <= set(slices.texts)
    for dialect, pairs in sentences.PAIRS.items():
        assert len(slices.texts[f"dialect/{dialect}"]) == len(pairs) >= 10
        assert all(one != other for one, other in pairs)
    assert len(sentences.PAIRS["african american english"]) >= 40
    assert len({len(texts) for name, texts in slices.texts.items() if name.startswith("identity/")}) == 1
    mentions = slices.texts["identity/religion"]
    assert all(sum(term in text for text in mentions) == 6 for term in sentences.TERMS["religion"])


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_slices_are_read_from_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "slices.jsonl",
        {"text": "A", "slice": "a", "reference": "b"},
        {"text": "B", "slice": "b", "toxic": False},
        {"text": "C", "slice": "a"},
        {"text": "D", "toxic": True},
    )
    slices = read_slices(path)
    assert slices.texts == {"a": ["A", "C"], "b": ["B"]}
    assert slices.reference == {"a": "b"}
    assert slices.toxic == ["D"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["text"], "row 1: not an object"),
        ([{"text": "A"}], "row 1: no slice"),
        ([{"slice": "a"}], "row 1: .*text"),
        ([{"text": "A", "slice": "a", "toxic": 2}], "row 1: toxic is '2'"),
        ([{"text": "A", "slice": "a", "reference": "b"}], 'the reference of "a" is "b"'),
        ([{"text": "A", "slice": s, "reference": r} for s, r in ("ab", "ac")], 'row 2: the reference of "a" is "c"'),
        ([{"text": "A", "toxic": True}], "holds no slice"),
        ([], "holds no slice"),
    ],
)
def test_a_wrong_row_is_named(rows: list[object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_slices(write(tmp_path / "slices.jsonl", *rows))
    assert "slices.jsonl" in caught.value.message
    assert caught.value.hint
    assert isinstance(caught.value, EmptyInput) == ("holds no slice" in message)


def test_wilson() -> None:
    assert wilson(0, 0) == (0, 1)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 10)[0] == 0


scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=12)


@given(scores, scores)
def test_roc_auc_is_the_share_of_pairs_in_order(positives: list[float], negatives: list[float]) -> None:
    pairs = [(a > b) + (a == b) / 2 for a in positives for b in negatives]
    assert roc_auc(positives, negatives) == pytest.approx(sum(pairs) / len(pairs))


def test_thresholds() -> None:
    positives, negatives = [0.9, 0.8, 0.4], [0.1, 0.2, 0.5, 0.3]
    assert at_threshold(positives, negatives, 0.5) == {
        "threshold": 0.5, "precision": 0.7273, "recall": 0.6667, "false_positives": 0.25,
    }  # fmt: skip
    assert best_threshold(positives, negatives) == 0.35
    assert at_threshold(positives, negatives, 2)["precision"] == 0
