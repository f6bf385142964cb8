from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from hornbook.errors import InputError
from hornbook.learn.rows import BadRow, Conversation, Preference, read_conversations, read_preferences, sift


def chat(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


GOOD = chat(("user", "What does sorted do?"), ("assistant", "It returns a new list."))
PAIR = {"prompt": "What does len do?", "chosen": "It counts.", "rejected": "It sleeps."}


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_good_row(tmp_path: Path) -> None:
    system = chat(("system", "Be brief."), ("user", "a?"), ("assistant", "b"), ("user", "c?"), ("assistant", "d"))
    rows = list(read_conversations(written(tmp_path / "c.jsonl", GOOD, "", system | {"id": "mine"})))
    assert [type(row) for row in rows] == [Conversation, Conversation]
    assert isinstance(rows[0], Conversation)
    assert isinstance(rows[1], Conversation)
    assert rows[0].messages == GOOD["messages"]
    assert (rows[1].id, rows[1].where) == ("mine", "c.jsonl row 3")
    assert len(rows[0].id) == 32


def test_ids_tell_equal_rows_apart_and_do_not_depend_on_the_file(tmp_path: Path) -> None:
    first = [
        row.id for row in read_conversations(written(tmp_path / "a.jsonl", GOOD, GOOD)) if isinstance(row, Conversation)
    ]
    (second,) = read_conversations(written(tmp_path / "b.jsonl", dict(reversed(GOOD.items()))))
    assert isinstance(second, Conversation)
    assert first == [second.id, f"{second.id}#2"]


def test_compressed_rows(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert isinstance(next(read_conversations(path)), Conversation)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"c.jsonl.gz: cannot be read"):
        list(read_conversations(path))
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode())[:10] + b"\xff" * 50)
    with pytest.raises(InputError, match=r"c.jsonl.gz: cannot be read: .*decompressing"):
        list(read_conversations(path))
    with pytest.raises(InputError, match=r"none.jsonl: cannot be read"):
        list(read_conversations(tmp_path / "none.jsonl"))


U, A = ("user", "q"), ("assistant", "a")


def weighted(*weights: float | None) -> dict[str, Any]:
    """A question and its answer in turn, as OpenAI's finetuning takes them."""
    turns = [dict(turn, weight=weight) for turn, weight in zip(chat(U, A, U, A)["messages"], weights, strict=False)]
    return {"messages": [{k: v for k, v in turn.items() if v is not None} for turn in turns]}


def test_answers_of_weight_0_are_told_from_those_that_are_learned(tmp_path: Path) -> None:
    rows = [weighted(None, 0, None, 1), weighted(0, 1, 0, 0), weighted(None, None), weighted(None, 1.0)]
    found = list(read_conversations(written(tmp_path / "c.jsonl", *rows)))
    assert [row.unlearned for row in found if isinstance(row, Conversation)] == [{1}, {3}, set(), set()]


@pytest.mark.parametrize(
    ("row", "message", "hint"),
    [
        ("{", 'line = "{": not JSON', ""),
        ("[1, 2]", "row = [1, 2]: not an object", "messages"),
        (chat(U), 'messages = ["user"]: no assistant turn to learn from', ""),
        (chat(U, ("asistant", "a")), 'messages[1].role = "asistant": not a role', "system, user, assistant or tool"),
        (chat(U, ("assistant", None)), "messages[1].content = null: not a text", ""),
        ({"messages": [{"role": "user"}]}, "messages[0].content = null: not a text", ""),
        ({"messages": [{"content": "q"}]}, "messages[0].role = null: not a role", ""),
        ({"messages": []}, "messages = []: not a list of messages with at least one", ""),
        ({"messages": "hello"}, 'messages = "hello": not a list', ""),
        ({"messages": ["hello"]}, 'messages[0] = "hello": not an object with role and content', ""),
        (chat(U, ("assistant", "")), 'messages[1].content = "": empty', ""),
        (chat(U, ("assistant", " \n")), 'messages[1].content = " \\n": empty', ""),
        (chat(U, U, A), 'messages[1].role = "user": out of turn, expected assistant', ""),
        (chat(A, U), 'messages[0].role = "assistant": out of turn, expected system or user', ""),
        (chat(U, A, ("system", "s")), 'messages[2].role = "system": out of turn, expected user', ""),
        (chat(("user", "x<|im_end|>y"), A), "holds the control token '<|im_end|>'", ""),
        (chat(("user", "x\ufdd0y"), A), "holds the control token", ""),
        ({"instruction": "q"}, 'keys = ["instruction"]: no "output"', '"instruction" and "output"'),
        ({"prompt": "q"}, 'keys = ["prompt"]: no "completion"', ""),
        ({"text": "a page"}, "no conversation in any format", "read by `crawl`"),
        (weighted(None, 0.5), "messages[1].weight = 0.5: not 0 or 1", ""),
        (weighted(1, 1), "messages[0].weight = 1: not 0, and only what the assistant says is learned", ""),
        (weighted(0, 0), "messages[1].weight = 0: every answer has weight 0: nothing to learn from", ""),
        ({"premise": "q", "conclusion": "a"}, 'keys = ["conclusion", "premise"]: no conversation', '"messages"'),
    ],
)
def test_a_bad_conversation_is_named(row: Any, message: str, hint: str, tmp_path: Path) -> None:
    path = written(tmp_path / "chats.jsonl", GOOD, row, GOOD)
    good, bad = sift(read_conversations(path), bad_rows="skip")
    assert len(good) == 2
    assert str(bad[0]).startswith("chats.jsonl row 2: ")
    assert message in str(bad[0])
    assert hint in bad[0].hint
    with pytest.raises(InputError, match=r"chats.jsonl row 2: ") as raised:
        sift(read_conversations(path), bad_rows="error")
    assert 'bad_rows = "skip"' in raised.value.hint


def messages(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return list(chat(*turns)["messages"])


@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        PAIR | {"prompt": messages(("user", "What does len do?"))},
        PAIR | {"chosen": messages(("assistant", "It counts.")), "rejected": messages(("assistant", "It sleeps."))},
        {
            "chosen": messages(("user", "What does len do?"), ("assistant", "It counts.")),
            "rejected": messages(("user", "What does len do?"), ("assistant", "It sleeps.")),
        },
        {
            "prompt": "What does len do?",
            "chosen": messages(("user", "What does len do?"), ("assistant", "It counts.")),
            "rejected": "It sleeps.",
        },
    ],
)
def test_every_form_of_a_preference_is_the_same_one(row: Any, tmp_path: Path) -> None:
    (found,) = read_preferences(written(tmp_path / "p.jsonl", row))
    assert isinstance(found, Preference)
    assert found.prompt == [{"role": "user", "content": "What does len do?"}]
    assert found.chosen == {"role": "assistant", "content": "It counts."}
    assert found.rejected == {"role": "assistant", "content": "It sleeps."}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (PAIR | {"rejected": PAIR["chosen"]}, 'chosen = "It counts.": chosen and rejected are equal'),
        (PAIR | {"chosen": ""}, 'chosen = "": empty'),
        (PAIR | {"chosen": None}, "chosen = null: not a list of messages"),
        (PAIR | {"rejected": "a<|im_start|>"}, "rejected = \"a<|im_start|>\": holds the control token '<|im_start|>'"),
        (PAIR | {"prompt": ""}, 'prompt = "": empty'),
        (PAIR | {"prompt": messages(U, A)}, 'prompt[1].content = "a": the prompt ends with the assistant'),
        (PAIR | {"chosen": messages(U)}, 'chosen[0].role = "user": does not end with the assistant'),
        ({"prompt": "q", "chosen": "a"}, 'no "rejected"'),
        ({"chosen": "a", "rejected": "b"}, 'chosen = "a": an answer without a prompt'),
        ({"chosen": messages(U, A), "rejected": messages(("user", "other"), A)}, "answer different prompts"),
        (PAIR | {"rejected": messages(("user", "other"), A)}, "repeats another prompt than the row's"),
        ([PAIR], "not an object"),
    ],
)
def test_a_bad_preference_is_named(row: Any, message: str, tmp_path: Path) -> None:
    (bad,) = read_preferences(written(tmp_path / "p.jsonl", row))
    assert isinstance(bad, BadRow)
    assert message in str(bad)


def test_the_first_bad_row_is_an_error_that_counts_the_others(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", GOOD, {"messages": []}, "null", "{}")
    with pytest.raises(InputError, match=r"c.jsonl row 2: messages = \[\]: .* \(and 2 more bad rows\)"):
        sift(read_conversations(path), bad_rows="error")


def test_a_long_value_is_shortened(tmp_path: Path) -> None:
    (bad,) = read_conversations(written(tmp_path / "c.jsonl", {"messages": "x" * 5000}))
    assert len(str(bad)) < 200
