from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hornbook.errors import MissingExtra, UsageError
from hornbook.hub import fetched, is_dataset
from hornbook.learn.rows import Conversation, read_conversations

ROW = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Nobody."}]}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("owner/name", True),
        ("owner/name:train_sft", True),
        ("Owner-1/name_2.b", True),
        ("chats.jsonl", False),
        ("there/chats.jsonl", False),
        ("a/b/c", False),
        ("./name", False),
        ("/name", False),
    ],
)
def test_what_reads_like_a_dataset(path: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    assert is_dataset(Path(path)) == expected


def test_it_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match="there is no file owner/name, and the dataset of that name") as raised:
        fetched(Path("owner/name"))
    assert raised.value.hint == "pip install 'hornbook[hub]'"


def test_a_split_is_fetched_once_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is named as a dataset would be is one to `datasets`: what is fetched is real, the hub is not."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = Path("owner/name")
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text(json.dumps(ROW) + "\n")
    path = fetched(Path("owner/name:test"))
    assert path.name == "owner--name--test.parquet"
    assert fetched(Path("owner/name:test")) == path
    (row,) = read_conversations(path)
    assert isinstance(row, Conversation)
    assert row.messages == ROW["messages"]
    with pytest.raises(UsageError, match="has 2 splits, none of them named") as raised:
        fetched(Path("owner/name"))
    assert raised.value.hint == "owner/name:train or owner/name:test"
