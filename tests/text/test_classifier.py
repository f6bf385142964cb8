from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.errors import EmptyInput, InputError
from hornbook.text import classifier as linear
from hornbook.text.classifier import Classifier, drawn, passages, split, train
from hornbook.text.document import Document
from hornbook.text.ngrams import joined, next_word, packed
from hornbook.text.rates import roc_auc

CALM = ("The river {} runs past the old mill of {} and feeds the fields.", "In {} the council of {} built a bridge.")
LOUD = ("BUY {} now!!! click here for {} >>>", "{} $$$ free {} win win win !!! #deal")
NAMES = ("Ardal", "Berun", "Cosse", "Dovin", "Elmar", "Fenby", "Garth", "Holme", "Ister", "Jarrow")

hostile = st.text(
    st.characters(codec="utf-8") | st.sampled_from("aB9 \t\n\u00a0\u00c3\u07ff\u0800é—日ไ😀\u0301.,!'"), max_size=60
)


def texts(frames: tuple[str, ...]) -> list[str]:
    return [frame.format(one, other) for frame in frames for one in NAMES for other in NAMES if one != other]


@pytest.fixture(scope="module")
def model() -> Classifier:
    return train(texts(CALM), texts(LOUD), buckets=2**12)


def plain_words(text: str) -> list[str]:
    """The words as the module's regular expression has them."""
    return re.findall(r"[A-Za-z0-9\u00C0-\u07FF]+|[^\x00-\x20]", text)


def found_words(text: str) -> tuple[list[str], list[int]]:
    data, (at, end) = packed([text])
    words, hashes = [], []
    while True:
        word, behind = next_word(data, at, end)
        if word == 0:
            return words, hashes
        words.append(bytes(data[at:behind]).decode("utf-8", "replace").lstrip("".join(map(chr, range(33)))))
        hashes.append(int(word))
        at = behind


@settings(max_examples=200)
@given(hostile)
def test_words_are_those_of_the_regular_expression(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    words, hashes = found_words(text)
    assert words == plain_words(text)
    small = ["".join(c.lower() if c.isascii() else c for c in word) for word in words]
    assert len(set(hashes)) == len(set(small))


@settings(max_examples=50)
@given(st.lists(hostile, max_size=4))
def test_a_margin_is_the_mean_of_the_weights_of_the_runs(some: list[str]) -> None:
    weights = np.arange(64, dtype=np.float32)
    margins = Classifier("x", weights, words=3).margins(some)
    for text, margin in zip(some, margins, strict=True):
        hashes = [np.uint64(one) for one in found_words(text)[1]]
        runs = [hashes[at : at + n] for n in (1, 2, 3) for at in range(len(hashes) - n + 1)]
        places = [(int(_run(run)) >> 20) % 64 for run in runs]
        expected = sum(float(weights[place]) for place in places) / max(1, len(places))
        assert margin == pytest.approx(expected)


def _run(words: list[np.uint64]) -> np.uint64:
    found = words[0]
    for word in words[1:]:
        found = np.uint64(joined(found, word))
    return found


def test_it_tells_two_kinds_apart_and_says_how_likely(model: Classifier) -> None:
    calm, loud = model.score(["A new bridge runs past the mill."]), model.score(["free click !!! buy"])
    assert calm[0] > 0.9
    assert loud[0] < 0.1
    assert roc_auc(model.score(texts(CALM)), model.score(texts(LOUD))) == 1
    assert model.score(["", " \n"]).tolist() == [model.score([""])[0]] * 2


def test_the_order_of_the_texts_and_copies_do_not_matter(model: Classifier) -> None:
    again = train([*texts(CALM)[::-1], texts(CALM)[0]], texts(LOUD)[::-1], buckets=2**12)
    assert (again.weights == model.weights).all()
    assert (again.slope, again.offset) == (model.slope, model.offset)


def test_held_out_texts_depend_on_the_seed_alone() -> None:
    learned, held = split(texts(CALM), held_out=0.3, seed=1)
    assert not set(learned) & set(held)
    assert 0.2 < len(held) / len(set(texts(CALM))) < 0.4
    fewer = split(texts(CALM)[:50], held_out=0.3, seed=1)
    assert set(fewer[1]) == set(held) & set(texts(CALM)[:50])


def test_groups_say_nothing_of_the_kind() -> None:
    """What is said of a group is not learned: here nine in ten of one are positive, and one in ten of the other."""
    positives = [f"alpha zeta {n}" for n in range(90)] + [f"beta zeta {n}" for n in range(10)]
    negatives = [f"alpha iota {n}" for n in range(10)] + [f"beta iota {n}" for n in range(90)]
    groups = tuple([text.split()[0] for text in some] for some in (positives, negatives))
    naive = train(positives, negatives, buckets=2**12).score(["alpha", "beta"])
    fair = train(positives, negatives, groups=(groups[0], groups[1]), buckets=2**12).score(["alpha", "beta"])
    assert naive[0] - naive[1] > 0.5
    assert abs(fair[0] - fair[1]) < (naive[0] - naive[1]) / 2


def test_long_texts_are_learned_from_in_passages() -> None:
    text = "word and more " * 2000
    parts = passages(text, characters=1000)
    assert "".join(parts) == text
    assert all(1000 <= len(part) <= 2000 for part in parts)
    assert passages("x" * 5000, characters=1000) == ["x" * 2000, "x" * 2000, "x" * 1000]
    assert passages(" \n") == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, None),
        ({"min_score": 0.5}, "classifier quality: score S, below 0.5"),
        ({"max_score": 1e-09}, "classifier quality: score S, above 1e-09"),
        ({"pareto": 9.0}, "classifier quality: score S, not drawn"),
    ],
)
def test_the_filter(options: dict[str, float], reason: str | None, model: Classifier) -> None:
    document = Document("7", "free click !!! buy", "s")
    found = model.judge(document, **options)  # type: ignore[arg-type]
    assert (found and re.sub(r"0\.\d\d,", "S,", found)) == reason


def test_a_pareto_draw_keeps_what_is_good_and_some_of_the_rest() -> None:
    draws = np.array([drawn(str(id), shape=9, seed=0) for id in range(4000)])
    for score in (0.5, 0.8, 0.95):
        assert (draws > 1 - score).mean() == pytest.approx((2 - score) ** -9, abs=0.03)
    assert drawn("5", shape=9, seed=0) == drawn("5", shape=9, seed=0) != drawn("5", shape=9, seed=1)


def test_what_is_saved_is_what_is_loaded(model: Classifier, tmp_path: Path) -> None:
    linear.save(model, tmp_path / "a")
    linear.save(model, tmp_path / "b")
    again = linear.load(tmp_path / "a")
    assert (again.score(texts(CALM)) == model.score(texts(CALM))).all()
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def spoil(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def test_a_damaged_model_is_an_error_that_names_the_file(model: Classifier, tmp_path: Path) -> None:
    def check(what: str) -> None:
        with pytest.raises(InputError, match=what):
            linear.load(tmp_path)

    check("holds no model: it has no config.json")
    linear.save(model, tmp_path)
    spoil(tmp_path, kind="perplexity")
    check("config.json: kind is 'perplexity'")
    spoil(tmp_path, kind="linear", buckets=1000)
    check("buckets 1,000 and words 2 are not a power of two")
    spoil(tmp_path, buckets=16)
    check("do not fit")
    spoil(tmp_path, buckets="many")
    check("buckets is 'many', not of type int")
    (tmp_path / "config.json").write_text("{")
    check("is not JSON")
    infinite = Classifier("x", np.full(16, np.inf, np.float32))
    linear.save(infinite, tmp_path)
    check("weights holds a number that is not finite")
    (tmp_path / "model.safetensors").write_bytes(b"no")
    check("model.safetensors cannot be read")
    (tmp_path / "model.safetensors").unlink()
    check("model.safetensors is missing")


def test_a_kind_without_texts_is_an_error() -> None:
    with pytest.raises(EmptyInput, match="there is no negative text to learn from"):
        train(texts(CALM), [" "], buckets=2**12)
    with pytest.raises(EmptyInput, match="there is no positive text"):
        train([], texts(LOUD), buckets=2**12)
