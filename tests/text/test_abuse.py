from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hornbook.text import sentences
from hornbook.text.abuse import abuse, terms
from hornbook.text.audit import audit, built_in, joined
from hornbook.text.document import Document
from hornbook.text.rules.quality import Filter
from hornbook.text.safety import blocklist

DATA = Path(os.environ.get("HORNBOOK_DATA", Path(__file__).parents[3] / "shared" / "data")) / "safety"


def judged(text: str) -> str | None:
    return abuse(Document("", text, ""))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("You are a complete idiot.", {"idiot": 2}),
        ("IDIOTS and Cowards", {"idiots": 2, "cowards": 2}),
        ("He called the plan stupid, twice stupid.", {"stupid": 2}),
        ("They should be shot.", {"should be shot": 3}),
        ("shut the hell up", {"shut the hell up": 3}),
        ("you are ugly", {"you are ugly": 3}),
        ("you ugly, they trash, she crazy", {}),
        ("I hate these people", {"i hate these": 3}),
        ("I hate spinach and the rain", {}),
        ("The dog, the pig and the monkey are sick.", {}),
        ("Gay, Black and Muslim women met.", {}),
        ("Bastards of mustards and custards", {"bastards": 2}),
        ("The deer was shot, and the idiotically long bill paid.", {}),
        ("", {}),
    ],
)
def test_terms(text: str, found: dict[str, int]) -> None:
    assert terms(text) == found


def test_the_filter_asks_for_more_in_a_long_text() -> None:
    assert judged("You are a complete idiot.") == "abuse: 'idiot': score 0.89, above 0.12"
    chapter = "She walked along the river and thought of home. " * 40
    assert judged(f'{chapter} "You idiot!" she cried.') is None
    assert judged(f"{chapter} You idiots, cowards and fools, you should all be shot, shut up, morons!") is not None
    assert judged("A calm text.") is None


def each(check: Filter) -> Callable[[Sequence[Document]], list[str | None]]:
    return lambda documents: [check(document) for document in documents]


def test_no_sentence_of_the_audit_is_abuse() -> None:
    slices = built_in()
    texts = {name: [*some, *joined(some)] for name, some in slices.texts.items()}
    toxic = ["You are idiots.", "Drop dead!", "Good day."]
    table = audit([("abuse", each(abuse))], texts, slices.reference, toxic=toxic)
    assert not table["warnings"]
    assert table["filters"][0]["overall"]["removed"] == 0
    assert table["filters"][0]["recall"]["removed"] == 2
    assert len(sentences.PAIRS) == 3


@pytest.mark.parametrize(
    "text", ["you are a " * 40_000, "fuck" * 100_000, "i really hate all " * 20_000, "f" + "*" * 400_000]
)
def test_it_takes_linear_time(text: str) -> None:
    start = time.process_time()
    terms(text)
    assert time.process_time() - start < 2


def rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data in {DATA}")
def test_it_finds_more_than_a_blocklist_and_no_more_in_a_dialect() -> None:
    phrases = tuple(sorted({row["term"] for row in rows("ldnoobw") if row["lang"] == "en"}))
    filters = [("abuse", each(abuse)), ("blocklist", each(partial(blocklist, phrases=phrases)))]
    pairs = rows("dialect_pairs")
    slices = {side: [row[side] for row in pairs] for side in ("dialect", "sae")}
    for name in ("surge_toxicity", "wiki_talk_toxicity", "identity_templates"):
        toxic = [row["text"] for row in rows(name) if row["toxic"]]
        ours, theirs, _ = audit(filters, slices, {"dialect": "sae"}, toxic=toxic)["filters"]
        assert ours["recall"]["removed"] >= theirs["recall"]["removed"], name
        assert ours["slices"]["dialect"]["ratio"] <= 1.25
    hate = [row["text"] for row in rows("davidson_tweets") if row["label"] == "hate"]
    ours, theirs, _ = audit(filters, {}, {}, toxic=hate)["filters"]
    assert ours["recall"]["removed"] >= theirs["recall"]["removed"]
