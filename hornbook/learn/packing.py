"""Which pieces share a row: best fit decreasing, computed by sizes, so that millions of pieces take a second."""

from __future__ import annotations

import bisect

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def pack(sizes: npt.ArrayLike, *, length: int) -> list[Integers]:
    """Rows of indices whose sizes sum to at most `length` (11/9 of the optimum at worst; Johnson 1973).

    The largest piece comes first, into the row where it leaves least room. Pieces of one size are alike, and so are
    rows with the same room, so they are moved together, as in histogram packing (arXiv 2107.02027). An empty piece
    takes one place.
    """
    sizes = np.maximum(np.asarray(sizes, np.int64), 1)
    order = np.argsort(-sizes, kind="stable")
    row_of = np.empty(len(sizes), np.int64)
    rows = _Rows(length)
    edges = np.flatnonzero(np.diff(sizes[order])) + 1
    for pieces in np.split(order, edges):
        if len(pieces):
            rows.take(pieces, int(sizes[pieces[0]]), row_of)
    inside = order[np.argsort(row_of[order], kind="stable")]
    return np.split(inside, np.cumsum(np.bincount(row_of, minlength=rows.count))[:-1]) if len(order) else []


class _Rows:
    """Rows by the room that is left in them."""

    def __init__(self, length: int) -> None:
        self.length, self.count = length, 0
        self._rooms: list[int] = []
        self._rows: dict[int, list[Integers]] = {}

    def take(self, pieces: Integers, size: int, row_of: Integers) -> None:
        """Put pieces of one size into rows, and note which."""
        while len(pieces):
            room, rows = self._tightest(size, len(pieces))
            each = room // size  # the row that is tightest stays so until no further piece fits
            full = min(len(rows), len(pieces) // each)
            row_of[pieces[: full * each]] = np.repeat(rows[:full], each)
            self._put(room - each * size, rows[:full])
            pieces, rows = pieces[full * each :], rows[full:]
            if len(pieces) and len(rows):
                row_of[pieces] = rows[0]
                self._put(room - len(pieces) * size, rows[:1])
                pieces, rows = pieces[:0], rows[1:]
            self._put(room, rows)

    def _tightest(self, size: int, pieces: int) -> tuple[int, Integers]:
        """The rows with the least room for a piece, taken out; new ones where there are none."""
        place = bisect.bisect_left(self._rooms, size)
        if place < len(self._rooms):
            room = self._rooms.pop(place)
            return room, np.concatenate(self._rows.pop(room))
        needed = -(-pieces // (self.length // size))
        self.count += needed
        return self.length, np.arange(self.count - needed, self.count)

    def _put(self, room: int, rows: Integers) -> None:
        if room and len(rows):
            if room not in self._rows:
                bisect.insort(self._rooms, room)
            self._rows.setdefault(room, []).append(rows)
