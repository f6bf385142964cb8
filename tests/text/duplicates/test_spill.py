from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.text.duplicates.spill import RECORD, Spill, keys_of, neighbours, part_of, records, repeats, unite

Keys = list[tuple[int, int, int]]
"""(key, document, unit), in no order."""

KEYS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(0, 3)), unique=True, max_size=60)


def made(rows: Keys) -> np.ndarray:
    keys = np.array([[key, key * 7] for key, _, _ in rows], np.uint64).reshape(-1, 2)
    documents, units = (np.array([row[at] for row in rows], np.uint64) for at in (1, 2))
    return records(keys, documents, units.astype(np.uint32))


@given(KEYS, st.integers(1, 3))
def test_repeats_are_what_was_there_often_enough_before(rows: Keys, times: int) -> None:
    seen: Counter[int] = Counter()
    first: dict[int, int] = {}
    wanted = []
    for document, unit, key in sorted((document, unit, key) for key, document, unit in rows):
        first.setdefault(key, document)
        if seen[key] >= times:
            wanted.append((document, unit, first[key]))
        seen[key] += 1
    assert sorted(repeats(made(rows), times=times).tolist()) == sorted(wanted)


@given(KEYS)
def test_neighbours_connect_all_that_share_a_key(rows: Keys) -> None:
    members, firsts = unite(neighbours(made(rows)))
    groups: dict[int, set[int]] = {}
    for key, document, _ in rows:
        groups.setdefault(key, set()).add(document)
    parents = {document: document for _, document, _ in rows}
    for group in groups.values():
        joined = {parents[document] for document in group}
        parents = {document: min(joined) if parent in joined else parent for document, parent in parents.items()}
    together = Counter(parents.values())
    wanted = {document: parent for document, parent in parents.items() if together[parent] > 1}
    assert dict(zip(members.tolist(), firsts.tolist(), strict=True)) == wanted


@settings(max_examples=25)
@given(rows=KEYS, parts=st.integers(1, 4), writers=st.integers(1, 3))
def test_what_is_spilled_is_read_back_by_part(
    rows: Keys, parts: int, writers: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spill = Spill(tmp_path_factory.mktemp("spill"), parts, RECORD)
    for writer in range(writers):
        mine = made(rows[writer::writers])
        spill.write(writer, mine, mine["document"] % np.uint64(parts))
    read = [spill.read(part) for part in range(parts)]
    assert sorted(np.concatenate(read).tolist()) == sorted(made(rows).tolist())
    for part, found in enumerate(read):
        assert (found["document"] % parts == part).all()


def test_an_empty_folder_holds_no_records(tmp_path: Path) -> None:
    assert len(Spill(tmp_path, 2, RECORD).read(1)) == 0
    assert len(repeats(np.empty(0, RECORD))) == 0
    assert neighbours(np.empty(0, RECORD)).shape == (0, 2)


def test_parts_are_in_the_order_of_keys_and_of_like_size() -> None:
    keys = np.sort(np.random.default_rng(0).integers(0, 2**64, 10_000, np.uint64))
    part = part_of(keys, 7)
    assert (np.diff(part.astype(np.int64)) >= 0).all()
    assert np.bincount(part.astype(np.int64)).min() > 1200
    assert part.max() == 6


def test_keys_of_digests() -> None:
    assert keys_of([bytes(range(16))]).tolist() == [[0x0001020304050607, 0x08090A0B0C0D0E0F]]
