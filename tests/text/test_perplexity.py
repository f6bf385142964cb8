from __future__ import annotations

import gzip
import json
import math
import os
import re
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.errors import EmptyInput, InputError
from hornbook.text import perplexity as ngrams
from hornbook.text import trained
from hornbook.text.document import Document
from hornbook.text.ngrams import joined, next_word, packed
from hornbook.text.perplexity import END, Perplexity, train
from hornbook.text.rates import roc_auc

DATA = Path(os.environ.get("HORNBOOK_DATA", Path(__file__).parents[3] / "shared" / "data"))
THINGS = ("lamp", "kettle", "ladder", "basket", "hammer", "mirror", "saddle", "candle", "bucket", "pillow")
PAIRS = list(product(THINGS, THINGS))
TEXTS = [f"The {one} stood by the {other}. Nobody saw the {one}, and the {other} fell." for one, other in PAIRS]


@pytest.fixture(scope="module")
def model() -> Perplexity:
    return train(TEXTS, name="things")


def hash_of(words: list[str]) -> int:
    data, (start, end) = packed([words[0]])
    found = np.uint64(next_word(data, start, end)[0])
    for word in words[1:]:
        found = np.uint64(joined(found, np.uint64(hash_of([word]))))
    return int(found)


def plain_bits(model: Perplexity, text: str) -> float:
    """Bits per byte as the definition has them: a run of one, two or three words, else its end and what was left."""
    table = {int(key): tuple(map(float, row)) for key, row in zip(model.hashes, model.chances, strict=True)}
    words, bits = re.findall(r"[A-Za-z0-9\u00C0-\u07FF]+|[^\x00-\x20]", text), 0.0
    for at, word in enumerate(words):
        chance = table[hash_of([word])][0] if hash_of([word]) in table else model.unseen
        if hash_of([word]) not in table:
            path = [END, *word.encode(), END]
            bits += sum(float(model.spelling[a, b]) for a, b in pairwise(path))
        for length in range(1, min(at, 2) + 1):
            before = words[at - length : at]
            chance *= table.get(hash_of(before), (0.0, 1.0))[1]
            chance += table.get(hash_of([*before, word]), (0.0, 1.0))[0]
        bits -= math.log2(chance)
    return bits / max(1, len(text.encode()))


words = st.sampled_from(["The", "lamp", "stood", "by", "the", ".", "fell", "Zug", "日", "é", "x1", "\n", "😀"])


@settings(max_examples=60)
@given(st.lists(words, max_size=12))
def test_bits_are_those_of_the_definition(model: Perplexity, some: list[str]) -> None:
    text = " ".join(some)
    assert model.score([text])[0] == pytest.approx(plain_bits(model, text), abs=2e-5)


def test_probabilities_of_what_may_follow_sum_to_one(model: Perplexity) -> None:
    """Over all words that were seen and the unseen, after a known run of two words."""
    seen = sorted({word for text in TEXTS for word in re.findall(r"\w+|[^\w\s]", text.lower())})
    table = {int(key): tuple(map(float, row)) for key, row in zip(model.hashes, model.chances, strict=True)}
    ones = {word: table[hash_of([word])][0] for word in seen}
    assert sum(ones.values()) + model.unseen == pytest.approx(1, abs=1e-5)
    for context in (["by", "the"], ["the", "lamp"], ["lamp", "stood"]):
        total = 0.0
        for word in seen:
            two = table.get(hash_of([context[1], word]), (0.0,))[0] + table[hash_of(context[1:])][1] * ones[word]
            total += table.get(hash_of([*context, word]), (0.0,))[0] + table[hash_of(context)][1] * two
        unseen = table[hash_of(context)][1] * table[hash_of(context[1:])][1] * model.unseen
        assert total + unseen == pytest.approx(1, abs=1e-5)


def test_what_is_like_the_texts_costs_less(model: Perplexity) -> None:
    usual, shuffled, other = model.score(
        ["The lamp stood by the mirror.", "by mirror the. The stood lamp", "Der Zug kam nie in Wien an"]
    )
    assert 0 < usual < shuffled < other
    assert model.score(["", "\n "]).tolist() == [0, 0]


def test_texts_in_any_order_give_the_same_model(model: Perplexity) -> None:
    again = train(TEXTS[::-1], name="things")
    assert (again.hashes == model.hashes).all()
    assert (again.chances == model.chances).all()
    assert (again.spelling == model.spelling).all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, None),
        ({"min_score": 7.0}, r"perplexity things: \d\.\d\d bits per byte, below 7"),
        ({"max_score": 0.1}, r"perplexity things: \d\.\d\d bits per byte, above 0\.1"),
    ],
)
def test_the_filter(options: dict[str, float], reason: str | None, model: Perplexity) -> None:
    found = model.judge(Document("", TEXTS[3], ""), **options)
    assert found is reason is None or re.fullmatch(str(reason), str(found))


def test_what_is_saved_is_what_is_loaded(model: Perplexity, tmp_path: Path) -> None:
    ngrams.save(model, tmp_path)
    again = trained.load(tmp_path)
    assert isinstance(again, Perplexity)
    assert (again.score(TEXTS) == model.score(TEXTS)).all()
    assert trained.filter_of(again)(Document("", TEXTS[3], ""), max_score=8.0) is None


def test_a_damaged_model_is_an_error_that_names_the_file(model: Perplexity, tmp_path: Path) -> None:
    def check(what: str) -> None:
        with pytest.raises(InputError, match=what):
            trained.load(tmp_path)

    ngrams.save(Perplexity("x", model.hashes[::-1], model.chances, model.spelling, 0.1), tmp_path)
    check("model.safetensors: hashes are not in order")
    ngrams.save(Perplexity("x", model.hashes[:-1], model.chances, model.spelling, 0.1), tmp_path)
    check("do not fit")
    ngrams.save(Perplexity("x", model.hashes, model.chances * 2, model.spelling, 0.1), tmp_path)
    check("a probability is not between 0 and 1")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"kind": "forest"}))
    check("kind is 'forest'")


def test_texts_without_three_words_are_an_error() -> None:
    with pytest.raises(EmptyInput, match="hold no three words"):
        train(["one two", "three"])


def rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data in {DATA}")
def test_people_agree_with_a_model_of_an_encyclopedia() -> None:
    """On which pages are good to learn from: 303 of the crawl, judged by people; no judgement was learned from."""
    model = train([row["text"] for row in rows("text/wikipedia_en_30")])
    judged = rows("quality/dclm_human_quality")
    good, bad = (-model.score([row["text"] for row in judged if row["label"] == label]) for label in (1, 0))
    assert roc_auc(good, bad) > 0.7
