from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hornbook.text import shards


def row(name: str, split: str, tokens: list[int], source: str = "web") -> shards.Row:
    return shards.Row(id=name, source=source, split=split, tokens=tokens, bytes=3 * len(tokens), sampled=False)


ROWS = [row("a", "train", [5, 6]), row("b", "valid", [7]), row("c", "train", []), row("d", "train", [8], "books")]


@pytest.mark.parametrize(("vocabulary", "kind"), [(65_536, np.uint16), (65_537, np.uint32)])
@pytest.mark.parametrize("most", [1, 4, 100])
def test_documents_are_where_the_table_says(tmp_path: Path, vocabulary: int, kind: type, most: int) -> None:
    shards.write(tmp_path, ROWS, separator=0, vocabulary=vocabulary, most=most)
    train = shards.read(tmp_path.joinpath, "train")
    assert {shard.dtype for shard in train.shards} == {np.dtype(kind)}
    assert [len(shard) for shard in train.shards] == {1: [3, 1, 2], 4: [4, 2], 100: [6]}[most]
    assert list(train.ids) == ["a", "c", "d"]
    assert [train.sources[code] for code in train.source] == ["web", "web", "books"]
    assert [train.read(at).tolist() for at in range(3)] == [[0, 5, 6], [0], [0, 8]]
    assert [train.read(0, 1, 2).tolist(), train.read(0, 2, 9).tolist()] == [[5], [6]]
    assert shards.read(tmp_path.joinpath, "valid").read(0).tolist() == [0, 7]


def test_what_was_written_is_read_in_its_order(tmp_path: Path) -> None:
    shards.write(tmp_path, ROWS, separator=0, vocabulary=10, most=4)
    found = list(shards.rows(tmp_path))
    assert [(r.id, r.source, r.split, list(r.tokens), r.bytes) for r in found] == [
        (r.id, r.source, r.split, r.tokens, r.bytes) for r in ROWS
    ]


def test_a_split_without_documents_is_empty(tmp_path: Path) -> None:
    shards.write(tmp_path, [row("a", "train", [5])], separator=0, vocabulary=10)
    valid = shards.read(tmp_path.joinpath, "valid")
    assert (list(valid.ids), valid.shards, valid.by_source(most=10)) == ([], [], {})


def test_some_documents_of_each_source(tmp_path: Path) -> None:
    rows = [row(f"{source}{n}", "valid", [n] * 4, source) for n in range(5) for source in ("a", "b")]
    shards.write(tmp_path, rows, separator=0, vocabulary=10)
    chosen = shards.read(tmp_path.joinpath, "valid").by_source(most=8)
    assert {source: len(documents) for source, documents in chosen.items()} == {"a": 2, "b": 2}
    assert [size for _, size in chosen["a"]] == [12, 12]
