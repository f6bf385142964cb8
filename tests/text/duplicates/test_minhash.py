from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.text.duplicates.minhash import NONE, band_keys, clusters, jaccard, shingles, signatures
from hornbook.text.duplicates.word_hashes import MULTIPLIER, encoded, folding, hash_words

DATA = Path(os.environ.get("HORNBOOK_DATA") or Path(__file__).parents[4] / "shared/data") / "neardup"
WORDS = np.array(["".join(letters) for letters in np.random.default_rng(0).choice(list("etaoinshrd"), (2000, 6))])


def text(seed: int, words: int = 300) -> list[str]:
    return list(np.random.default_rng(seed).choice(WORDS, words))


def with_changes(words: list[str], changes: int) -> list[str]:
    at = np.linspace(3, len(words) - 3, changes).astype(int) if changes else []
    return ["changed" if place in at else word for place, word in enumerate(words)]


def plain_mixed(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD % 2**64
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 % 2**64
    return value ^ value >> 33


def plain_shingles(body: str, words: int) -> list[int]:
    """The hashes of all runs of words, one run at a time."""
    found = hash_words(encoded(body), folding(numbers=True)).tolist()
    runs = {tuple(found[at : at + words]) for at in range(max(1, len(found) - words + 1))} - {()}
    values = (sum(word * int(MULTIPLIER) ** at for at, word in enumerate(run[::-1])) for run in runs)
    return sorted({plain_mixed(value % 2**64) for value in values})


def plain_clusters(bodies: list[str], threshold: float) -> list[int]:
    """The earliest text that a chain of alike pairs leads to, all pairs compared."""
    sets = [shingles(body) for body in bodies]
    alike = [[jaccard(one, other) >= threshold for other in sets] for one in sets]
    found = list(range(len(bodies)))
    for _ in bodies:
        found = [min([found[at], *(found[other] for other in range(len(bodies)) if alike[at][other])]) for at in found]
    return found


@given(st.text(st.sampled_from("ab c\n1é日"), max_size=60), st.integers(1, 6))
def test_shingles_are_those_of_the_rule_in_plain_python(body: str, words: int) -> None:
    assert shingles(body, words=words).tolist() == plain_shingles(body, words)


@given(st.lists(st.text(st.sampled_from("ab c\n1é日"), max_size=60), max_size=5), st.integers(1, 6))
def test_signatures_are_the_least_values_of_the_shingles(bodies: list[str], words: int) -> None:
    random = np.random.Generator(np.random.PCG64(1))
    factors = (random.integers(0, 2**31, 20, np.uint32) * np.uint32(2) + np.uint32(1)).tolist()
    terms = random.integers(0, 2**32, 20, np.uint32).tolist()
    for body, signed in zip(bodies, signatures(bodies, words=words, permutations=20).tolist(), strict=True):
        runs = [run >> 32 for run in plain_shingles(body, words)]
        maps = zip(factors, terms, strict=True)
        assert signed == [min((run * a + b) % 2**32 for run in runs) if runs else int(NONE) for a, b in maps]


def test_the_length_of_a_text_and_its_neighbours_change_nothing_of_its_signature() -> None:
    bodies = [" ".join(text(seed, words)) for seed, words in enumerate([0, 1, 3, 5, 64, 68, 2051, 2052, 2053, 9000])]
    together = signatures(bodies * 30)
    assert (together == np.concatenate([signatures([body]) for body in bodies * 30])).all()


@pytest.mark.parametrize("changes", [0, 1, 5, 20, 60])
def test_signatures_estimate_the_jaccard_similarity(changes: int) -> None:
    bodies = [" ".join(words) for words in (text(1), with_changes(text(1), changes))]
    one, other = signatures(bodies, permutations=2048)
    assert abs(np.mean(one == other) - jaccard(*map(shingles, bodies))) < 0.04


def test_signatures_are_the_same_on_every_machine() -> None:
    bodies = ["The quick brown fox jumps over 12 lazy dogs.", "Übung macht den Meister, 今日は"]
    signed = signatures(bodies, permutations=4)
    assert signed.tolist() == [
        [1000526662, 781200299, 795358229, 401159683],
        [1905537372, 146452793, 601106761, 474870085],
    ]


def test_bands_have_equal_keys_where_their_values_are_equal() -> None:
    signed = np.random.default_rng(1).integers(0, 2, (50, 12), np.uint32)
    keys = band_keys(signed, bands=4, rows=3)
    for band in range(4):
        values = signed[:, 3 * band : 3 * band + 3]
        assert ((keys[:, None, band] == keys[None, :, band]) == (values[:, None] == values[None]).all(axis=2)).all()
    assert not set(keys[:, 0].tolist()) & set(keys[:, 1].tolist())
    assert band_keys(signatures(["...", ""], permutations=8), bands=4, rows=2).tolist() == [[0] * 4] * 2


@given(st.lists(st.sets(st.integers(0, 9)), min_size=2, max_size=2))
def test_jaccard(sets: list[set[int]]) -> None:
    one, other = (np.array(sorted(values), np.uint64) for values in sets)
    union = sets[0] | sets[1]
    assert jaccard(one, other) == (len(sets[0] & sets[1]) / len(union) if union else 0.0)


def test_near_duplicates_share_a_survivor_and_others_do_not() -> None:
    bodies = [text(n) for n in range(200)]
    bodies += [with_changes(bodies[7], 2), [*bodies[9], "and", "more"], with_changes(bodies[11], 60)]
    found = clusters([" ".join(body) for body in bodies])
    assert found[:200] == list(range(200))
    assert found[200:] == [7, 9, 202]


def test_a_chain_has_its_earliest_member_as_survivor() -> None:
    bodies = [" ".join(with_changes(text(1), changes)) for changes in (4, 0, 2)]
    assert clusters(bodies, threshold=0.7) == [0, 0, 0]


def test_clusters_are_those_of_all_pairs_compared() -> None:
    draw = np.random.default_rng(2)
    bodies = [" ".join(with_changes(text(seed % 12, 120), int(draw.integers(0, 4)))) for seed in range(60)]
    assert clusters(bodies, threshold=0.6, bands=40, rows=3) == plain_clusters(bodies, 0.6)


def test_a_chance_collision_of_bands_is_believed_on_request_only() -> None:
    bodies = [" ".join(body) for body in (text(1), with_changes(text(1), 30))]
    assert 0.2 < jaccard(*map(shingles, bodies)) < 0.6
    assert clusters(bodies, bands=56, rows=2) == [0, 1]
    assert clusters(bodies, bands=56, rows=2, threshold=0.0) == [0, 0]


def test_empty_and_short_texts() -> None:
    assert clusters(["", "", "one two", "One  two", "one", "?", "!"]) == [0, 1, 2, 2, 4, 5, 6]
    assert clusters(["", "?", "one two", "One  two"], threshold=0.0) == [0, 1, 2, 2]
    assert clusters([]) == []


def rows(name: str) -> list[dict[str, Any]]:
    if not DATA.is_dir():
        pytest.skip("needs HORNBOOK_DATA")
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt") as stream:
        return [json.loads(line) for line in stream]


def test_editions_of_one_passage_are_found() -> None:
    bodies = {row["id"]: row["text"] for row in rows("editions_docs")}
    pairs = [pair for pair in rows("editions_pairs") if pair["a"] in bodies and pair["b"] in bodies]
    signed = dict(zip(bodies, band_keys(signatures(list(bodies.values())), bands=14, rows=8), strict=True))
    exact = np.array([jaccard(shingles(bodies[pair["a"]]), shingles(bodies[pair["b"]])) for pair in pairs])
    assert np.abs(exact - [pair["jaccard_w5"] for pair in pairs]).mean() < 0.003
    found = np.array([(signed[pair["a"]] == signed[pair["b"]]).any() for pair in pairs])
    assert found[exact >= 0.8].mean() >= 0.99
    for least in (0.5, 0.7):  # the curve of Leskovec et al., Mining of Massive Datasets, 3.4.2
        near = (exact >= least) & (exact < least + 0.1)
        assert abs(found[near].mean() - (1 - (1 - exact[near] ** 8) ** 14).mean()) < 0.12
