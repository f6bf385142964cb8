from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hornbook.text import shards


def row(name: str, split: str, tokens: list[int], source: str = "web") -> shards.Row:
    return shards.Row(id=name, source=source, split=split, tokens=tokens, bytes=3 * len(tokens), sampled=False)


@pytest.mark.parametrize(("vocabulary", "kind"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_documents_are_where_the_table_says(tmp_path: Path, vocabulary: int, kind: type) -> None:
    rows = [row("a", "train", [5, 6]), row("b", "valid", [7]), row("c", "train", []), row("d", "train", [8], "books")]
    shards.write(tmp_path, rows, separator=0, vocabulary=vocabulary)
    train = shards.read(tmp_path.joinpath, "train")
    assert train.tokens.dtype == kind
    assert (train.ids, train.sources) == (["a", "c", "d"], ["web", "web", "books"])
    spans = zip(train.offsets, train.lengths, strict=True)
    assert [train.tokens[o : o + n].tolist() for o, n in spans] == [[0, 5, 6], [0], [0, 8]]
    assert shards.read(tmp_path.joinpath, "valid").tokens.tolist() == [0, 7]


def test_a_split_without_documents_is_empty(tmp_path: Path) -> None:
    shards.write(tmp_path, [row("a", "train", [5])], separator=0, vocabulary=10)
    valid = shards.read(tmp_path.joinpath, "valid")
    assert (valid.ids, valid.tokens.tolist(), valid.by_source(most=10)) == ([], [], {})


def test_some_documents_of_each_source(tmp_path: Path) -> None:
    rows = [row(f"{source}{n}", "valid", [n] * 4, source) for n in range(5) for source in ("a", "b")]
    shards.write(tmp_path, rows, separator=0, vocabulary=10)
    chosen = shards.read(tmp_path.joinpath, "valid").by_source(most=8)
    assert {source: len(documents) for source, documents in chosen.items()} == {"a": 2, "b": 2}
    assert [size for _, size in chosen["a"]] == [12, 12]
