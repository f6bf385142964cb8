from __future__ import annotations

import bisect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.learn.packing import pack


def one_by_one(sizes: list[int], *, length: int) -> list[int]:
    """How full each row becomes when best fit decreasing is done piece by piece."""
    room: list[int] = []
    for size in sorted(sizes, reverse=True):
        place = bisect.bisect_left(room, size)
        left = room.pop(place) if place < len(room) else length
        bisect.insort(room, left - size)
    return sorted(length - left for left in room)


@given(st.lists(st.integers(1, 20), max_size=60))
def test_packing_keeps_everything_once_and_is_best_fit(sizes: list[int]) -> None:
    rows = [row.tolist() for row in pack(sizes, length=20)]
    assert sorted(i for row in rows for i in row) == list(range(len(sizes)))
    assert sorted(sum(sizes[i] for i in row) for row in rows) == one_by_one(sizes, length=20)
    assert rows == [row.tolist() for row in pack(sizes, length=20)]


def test_the_tightest_row_is_taken() -> None:
    assert [row.tolist() for row in pack([12, 15, 5, 8], length=20)] == [[1, 2], [0, 3]]


@pytest.mark.parametrize("sizes", [[], [0], [0, 20, 0]])
def test_empty_pieces_take_a_place(sizes: list[int]) -> None:
    assert sum(map(len, pack(sizes, length=20))) == len(sizes)


def test_many_pieces_leave_little_room() -> None:
    sizes = np.random.default_rng(0).lognormal(5, 1, 100_000).astype(int) % 512 + 1
    rows = pack(sizes, length=512)
    assert sizes.sum() / (512 * len(rows)) > 0.999
