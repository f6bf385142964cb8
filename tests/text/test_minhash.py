from __future__ import annotations

import numpy as np
import pytest

from hornbook.text.minhash import clusters, jaccard, shingles, signature

WORDS = np.array([f"w{n}" for n in range(2000)])


def text(seed: int, words: int = 300) -> list[str]:
    return list(np.random.default_rng(seed).choice(WORDS, words))


def with_changes(words: list[str], changes: int) -> list[str]:
    at = np.linspace(3, len(words) - 3, changes).astype(int) if changes else []
    return ["changed" if place in at else word for place, word in enumerate(words)]


@pytest.mark.parametrize("changes", [0, 1, 5, 20, 60])
def test_signatures_estimate_the_jaccard_similarity(changes: int) -> None:
    one, other = (shingles(" ".join(words)) for words in (text(1), with_changes(text(1), changes)))
    estimate = np.mean(signature(one, permutations=512) == signature(other, permutations=512))
    assert abs(estimate - jaccard(one, other)) < 0.1


def test_near_duplicates_share_a_survivor_and_others_do_not() -> None:
    bodies = [text(n) for n in range(200)]
    bodies += [with_changes(bodies[7], 2), [*bodies[9], "and", "more"], with_changes(bodies[11], 60)]
    found = clusters([shingles(" ".join(body)) for body in bodies])
    assert found[:200] == list(range(200))
    assert found[200:] == [7, 9, 202]


def test_a_chain_has_its_earliest_member_as_survivor() -> None:
    bodies = [with_changes(text(1), changes) for changes in (4, 0, 2)]
    assert clusters([shingles(" ".join(body)) for body in bodies], threshold=0.7) == [0, 0, 0]


def test_a_chance_collision_of_bands_is_not_believed() -> None:
    one, other = text(1), with_changes(text(1), 30)
    sets = [shingles(" ".join(body)) for body in (one, other)]
    assert 0.2 < jaccard(*sets) < 0.6
    assert clusters(sets, bands=56, rows=2) == [0, 1]


def test_empty_and_short_texts() -> None:
    sets = [shingles(body) for body in ("", "", "one two", "One  two", "one")]
    assert clusters(sets) == [0, 1, 2, 2, 4]
    assert clusters([]) == []
