from __future__ import annotations

from typing import Any

import pytest

from hornbook.errors import UsageError
from hornbook.text.mixture import kept, shares

SIZES = {"web": 1000, "books": 100, "code": 400}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({}, {"web": 1.0, "books": 1.0, "code": 1.0}),
        ({"web": 1.0, "books": 1.0, "code": 1.0}, {"web": 0.1, "books": 1.0, "code": 0.25}),
        ({"web": 0.8, "code": 0.2}, {"web": 1.0, "books": 0.0, "code": 0.625}),
        ({"web": 5.0, "books": 0.0}, {"web": 1.0, "books": 0.0, "code": 0.0}),
    ],
)
def test_what_is_kept_follows_the_weights(weights: dict[str, float], expected: dict[str, float]) -> None:
    made = shares(SIZES, weights)
    assert {source: share.fraction for source, share in made.items()} == pytest.approx(expected)
    assert {share.epochs for share in made.values()} <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"epochs": {"books": 4.0}}, {"web": (0.4, 1.0), "books": (1.0, 4.0), "code": (1.0, 1.0)}),
        ({"epochs": {"books": 20.0}}, {"web": (0.4, 1.0), "books": (1.0, 4.0), "code": (1.0, 1.0)}),
        ({"caps": {"code": 50.0}}, {"web": (0.05, 1.0), "books": (0.5, 1.0), "code": (0.125, 1.0)}),
    ],
)
def test_epochs_and_caps(options: dict[str, Any], expected: dict[str, tuple[float, float]]) -> None:
    made = shares(SIZES, {"web": 1.0, "books": 1.0, "code": 1.0}, **options)
    for source, (fraction, epochs) in expected.items():
        assert (made[source].fraction, made[source].epochs) == pytest.approx((fraction, epochs)), source
    seen = [SIZES[source] * share.fraction * share.epochs for source, share in made.items()]
    assert seen == pytest.approx([seen[0]] * 3)


def test_without_weights_a_cap_cuts_and_epochs_are_told() -> None:
    made = shares(SIZES, {}, epochs={"books": 2.0}, caps={"web": 250.0})
    assert (made["web"].fraction, made["books"].epochs, made["code"].fraction) == (0.25, 2.0, 1.0)


def test_the_mixture_of_gpt_3() -> None:
    """Table 2.2 of the paper: billions of tokens, weight in the mix, epochs that elapsed in 300 billion tokens."""
    paper = {
        "common_crawl": (410, 0.60, 0.44),
        "webtext2": (19, 0.22, 2.9),
        "books1": (12, 0.08, 1.9),
        "books2": (55, 0.08, 0.43),
        "wikipedia": (3, 0.03, 3.4),
    }
    weights = {source: weight for source, (_, weight, _) in paper.items()}
    made = shares({source: size for source, (size, *_) in paper.items()}, weights, epochs=dict.fromkeys(paper, 3.4))
    ratio = [share.fraction * share.epochs / paper[source][2] for source, share in made.items()]
    # The paper's own numbers agree no better: 0.22 of 300 billion tokens is 3.5 times WebText2, not 2.9 times.
    assert max(ratio) / min(ratio) < 1.4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"wiki": 1.0}}, 'mixture: there is no source "wiki"'),
        ({"weights": {"web": -1.0}}, "mixture: web is -1.0"),
        ({"weights": {}, "caps": {"wiki": 1.0}}, 'caps: there is no source "wiki"'),
        ({"weights": {}, "epochs": {"wiki": 1.0}}, 'epochs: there is no source "wiki"'),
    ],
)
def test_wrong_tables_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        shares(SIZES, **options)


def test_what_is_kept_grows_with_the_fraction() -> None:
    ids = [str(n) for n in range(1000)]
    small, large = ({id for id in ids if kept(id, fraction=f, seed=0)} for f in (0.2, 0.5))
    assert small < large
    assert 150 < len(small) < 250
    assert all(kept(id, fraction=1.0, seed=0) for id in ids)
    assert not any(kept(id, fraction=0.0, seed=0) for id in ids)
