from __future__ import annotations

import pytest
import torch

from hornbook.model.cache import Cache
from tests.model import tiny


@pytest.mark.parametrize("changes", tiny.SWITCHES, ids=str)
@pytest.mark.parametrize("pieces", [(7, 1, 1, 1), (3, 4, 3), (1,) * 10], ids=str)
def test_cached_pieces_equal_the_full_forward(changes: dict[str, object], pieces: tuple[int, ...]) -> None:
    model, rows = tiny.model(**changes).double(), tiny.tokens(2, 10)
    cache = Cache(layers=2, rows=2, capacity=10)
    cached = torch.cat([model(piece, cache=cache) for piece in rows.split(pieces, 1)], 1)
    torch.testing.assert_close(cached, model(rows))


@pytest.mark.parametrize("changes", tiny.SWITCHES, ids=str)
def test_rows_of_different_lengths(changes: dict[str, object]) -> None:
    """Right-padded, cut back to their lengths, then continued by two pieces, one row dropped between."""
    model, rows = tiny.model(**changes).double(), tiny.tokens(3, 12)
    lengths = torch.tensor([6, 2, 4])
    cache = Cache(layers=2, rows=3, capacity=12)
    model(rows[:, :6], cache=cache)
    cache.resize(lengths)
    model(torch.stack([rows[i, n : n + 2] for i, n in enumerate(lengths)]), cache=cache)
    keep = torch.tensor([1, 2])
    cache.select(keep)
    last = model(torch.stack([rows[i, n + 2 : n + 5] for i, n in enumerate(lengths)])[keep], cache=cache)
    for row, out in zip(keep, last, strict=True):
        end = int(lengths[row]) + 5
        torch.testing.assert_close(out, model(rows[row : row + 1, :end])[0, -3:])


def test_bfloat16_cache() -> None:
    model, rows = tiny.model().bfloat16(), tiny.tokens(2, 8)
    cache = Cache(layers=2, rows=2, capacity=8)
    cached = torch.cat([model(piece, cache=cache) for piece in rows.split((5, 1, 2), 1)], 1)
    torch.testing.assert_close(cached, model(rows), atol=0.1, rtol=0.1)


def test_a_full_cache_is_an_error() -> None:
    model, cache = tiny.model(), Cache(layers=2, rows=1, capacity=4)
    model(tiny.tokens(1, 3), cache=cache)
    with pytest.raises(ValueError, match="3 \\+ 2 tokens in a cache of 4"):
        model(tiny.tokens(1, 2), cache=cache)
