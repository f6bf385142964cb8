from __future__ import annotations

import time
from pathlib import Path

import pytest

from hornbook.errors import EmptyInput, InputError
from hornbook.text.document import Document
from hornbook.text.safety import blocklist, read_phrases

PHRASES = ("bad word", "grob", "c++")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A good word.", None),
        ("A Bad Word.", "Bad Word"),
        ("grob", "grob"),
        ("grober, ungrob, größe", None),
        ("Übergrob", None),
        ("I like c++, too", "c++"),
        ("", None),
    ],
)
def test_phrases_are_found_as_whole_words_in_any_case(text: str, found: str | None) -> None:
    reason = blocklist(Document("1", text, "s"), phrases=PHRASES)
    assert reason == (None if found is None else f"blocklist: 1 hits, the first is {found!r}")


def test_some_hits_can_be_allowed() -> None:
    document = Document("1", "grob, grob", "s")
    assert blocklist(document, phrases=PHRASES, max_count=2) is None
    assert blocklist(document, phrases=PHRASES, max_count=1) == "blocklist: 2 hits, the first is 'grob'"


def test_time_is_linear() -> None:
    start = time.process_time()
    blocklist(Document("1", "bad " * 200_000, "s"), phrases=PHRASES)
    assert time.process_time() - start < 2


def test_a_list_is_read_and_a_bad_one_named(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# a comment\nzwei\n\neins\neins\n")
    assert read_phrases(path) == ("eins", "zwei")
    path.write_text("# nothing\n")
    with pytest.raises(EmptyInput, match="holds no phrase"):
        read_phrases(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"blocklist .*list.txt: "):
        read_phrases(path)
