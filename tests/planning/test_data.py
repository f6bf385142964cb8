"""What a survey of data finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.errors import EmptyInput
from hornbook.learn.examples import Example
from hornbook.learn.rows import Conversation
from hornbook.planning.data import GENERAL, survey

SENTENCES = (
    "The miller counted the sacks of flour twice before the cart left for the town on the hill.",
    "Nobody had told the new teacher that the bell rang late whenever it had rained the night before.",
    "A narrow path leads from the orchard down to the river, where two boats lie turned over on the bank.",
)


def surveyed(path: Path, **options: object):  # type: ignore[no-untyped-def]
    return survey(path, tokenizer=None, general=GENERAL.read_text(), **options)  # type: ignore[arg-type]


def rows(path: Path, *values: object) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def test_documents_are_counted_with_their_language_and_duplicates(tmp_path: Path) -> None:
    for number, text in enumerate((*SENTENCES, SENTENCES[0].upper())):
        (tmp_path / f"{number}.txt").write_text(text * 4)
    found = surveyed(tmp_path)
    assert (found.kind, found.files, found.documents) == ("documents", 4, 4)
    assert found.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert found.language == "en"
    assert found.exact_duplicates == 0.25
    assert found.tokens == pytest.approx(found.bytes / found.bytes_per_token, abs=1)


CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
SHARED = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]


@pytest.mark.parametrize(("row", "kind"), [
    ({"messages": CHAT}, "conversations"),
    ({"conversations": SHARED}, "conversations"),
    ({"instruction": "Say hello.", "output": "Hello."}, "conversations"),
    ({"prompt": "Say hello.", "completion": "Hello.", "text": "Say hello. Hello."}, "conversations"),
    ({"text": "Only a text."}, "documents"),
    ({"messages": [CHAT[0], {"role": ["x"], "content": "Hello."}], "text": "Only a text."}, "documents"),
])  # fmt: skip
@pytest.mark.parametrize("file", ["rows.jsonl", "rows.json"])
def test_what_rows_are_is_told_from_their_fields(tmp_path: Path, row: object, kind: str, file: str) -> None:
    assert surveyed(rows(tmp_path / file, row, row)).kind == kind


def encoded(said: Conversation) -> Example:
    """A token a character, of which the answers are learned."""
    answer = [message["role"] == "assistant" for message in said.messages for _ in message["content"]]
    return Example(said.id, np.zeros(len(answer), np.int64), np.array(answer))


def test_conversations_are_counted_as_they_will_be_learned(tmp_path: Path) -> None:
    again = {"messages": [*CHAT, CHAT[0], {**CHAT[1], "weight": 0}]}
    found = surveyed(rows(tmp_path / "rows.jsonl", {"messages": CHAT}, again), encode=encoded)
    assert sorted(len(one.tokens) for one in found.examples) == [8, 16]
    assert found.tokens == 7 + 15
    assert found.learned == pytest.approx((6 + 12) / 22)


def test_without_a_template_of_the_base_they_are_written_by_ours(tmp_path: Path) -> None:
    found = surveyed(rows(tmp_path / "rows.jsonl", {"messages": CHAT}))
    assert 0 < found.learned < 1
    assert found.tokens > found.bytes / found.bytes_per_token


def test_of_documents_beside_conversations_nothing_is_an_answer(tmp_path: Path) -> None:
    path = rows(tmp_path / "rows.jsonl", {"messages": CHAT}, {"messages": CHAT}, {"text": "A text of its own."})
    assert len(surveyed(path).examples) == 2


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    path = rows(tmp_path / "rows.jsonl", {"text": SENTENCES[0]}, [1], {"other": 1})
    path.write_text(path.read_text() + "{broken\n")
    assert surveyed(path).malformed == 3


def test_leaks_from_an_evaluation_set_are_counted(tmp_path: Path) -> None:
    evaluation = rows(tmp_path / "test.jsonl", {"question": SENTENCES[1]})
    path = rows(tmp_path / "rows.jsonl", *({"text": f"{text} And so on."} for text in SENTENCES))
    assert surveyed(path, against={"quiz": evaluation}).leaks == {"quiz": 1}


def test_the_base_is_asked_about_the_data_and_about_general_text(tmp_path: Path) -> None:
    path = rows(tmp_path / "rows.jsonl", *({"text": text} for text in SENTENCES))
    asked: list[list[str]] = []
    found = surveyed(path, score=lambda texts: asked.append(list(texts)) or 1.5 * len(asked))  # type: ignore[func-returns-value]
    assert (found.bits_per_byte, found.general_bits_per_byte) == (1.5, 3.0)
    assert sorted(asked[0]) == sorted(SENTENCES)


def test_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(EmptyInput, match="holds no text"):
        surveyed(tmp_path)


@settings(max_examples=15)
@given(st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=8))
def test_shares_are_shares_whatever_the_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = rows(tmp_path_factory.mktemp("any") / "rows.jsonl", *({"text": text} for text in texts))
    found = surveyed(path)
    assert 0 <= found.exact_duplicates < 1
    assert sum(found.languages.values()) == pytest.approx(1)
    assert found.documents + found.malformed == len(texts)
