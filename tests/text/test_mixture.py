from __future__ import annotations

import pytest

from hornbook.errors import UsageError
from hornbook.text.mixture import fractions, kept

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
def test_fractions(weights: dict[str, float], expected: dict[str, float]) -> None:
    assert fractions(SIZES, weights) == pytest.approx(expected)


@pytest.mark.parametrize(("weights", "message"), [({"wiki": 1.0}, 'no source "wiki"'), ({"web": -1.0}, "is -1.0")])
def test_wrong_weights_are_named(weights: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fractions(SIZES, weights)


def test_what_is_kept_grows_with_the_fraction() -> None:
    ids = [str(n) for n in range(1000)]
    small, large = ({id for id in ids if kept(id, fraction=f, seed=0)} for f in (0.2, 0.5))
    assert small < large
    assert 150 < len(small) < 250
    assert all(kept(id, fraction=1.0, seed=0) for id in ids)
    assert not any(kept(id, fraction=0.0, seed=0) for id in ids)
