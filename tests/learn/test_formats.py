from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hornbook.errors import InputError
from hornbook.learn.formats import FORMATS
from hornbook.learn.rows import (
    BadRow,
    Conversation,
    Judgement,
    Question,
    read_conversations,
    read_judgements,
    read_questions,
    sift,
)

USER, SAYS = {"role": "user", "content": "What is two and two?"}, {"role": "assistant", "content": "Four."}
ASKED, ANSWERED = USER["content"], SAYS["content"]
HUMAN, GPT = {"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}
TOOL = {"name": "add", "parameters": {"a": "int", "b": "int"}}
CALL = '{"name": "add", "arguments": {"a": 2, "b": 2}}'


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ROWS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("messages", {"messages": [USER, SAYS]}),
    ("messages", {"messages": [HUMAN, GPT]}),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}, SAYS]}),
    ("ShareGPT's conversations", {"conversations": [HUMAN, GPT]}),
    ("ShareGPT's conversations", {"conversation": [USER, SAYS], "tools": "[]"}),
    ("Alpaca's instructions", {"instruction": ASKED, "output": ANSWERED}),
    ("Alpaca's instructions", {"instruction": ASKED, "input": "", "output": ANSWERED}),
    ("Alpaca's instructions (not used: category)", {"instruction": ASKED, "response": ANSWERED, "category": "sums"}),
    ("Self-Instruct's tasks", {"instruction": ASKED, "instances": [{"input": "", "output": ANSWERED}]}),
    ("prompts with completions", {"prompt": ASKED, "completion": ANSWERED}),
    ("prompts with completions", {"prompt": [USER], "completion": [SAYS]}),
    ("prompts with completions (not used: source)", {"prompt": ASKED, "response": ANSWERED, "source": "school"}),
    ("questions with answers", {"question": ASKED, "answer": ANSWERED}),
    ("questions with answers", {"context": ASKED, "continuation": ANSWERED}),
    ("pairs of answers, the chosen ones", {"prompt": ASKED, "chosen": ANSWERED, "rejected": "Five."}),
    (
        "pairs of answers, the chosen ones",
        {"conversations": [HUMAN], "chosen": GPT, "rejected": GPT | {"value": "Five."}},
    ),
    ("pairs of answers, the chosen ones", {"prompt": ASKED, "matching": ANSWERED, "not_matching": "Five."}),
    (
        "pairs of answers, the chosen ones",
        {
            "chosen": f"\n\nHuman: {ASKED}\n\nAssistant: {ANSWERED}",
            "rejected": f"\n\nHuman: {ASKED}\n\nAssistant: Five.",
        },
    ),
    ("judged completions (KTO)", {"prompt": ASKED, "completion": ANSWERED, "label": True}),
    ("judged conversations (KTO)", {"messages": [USER, SAYS], "label": True}),
    ("messages (not used: label)", {"messages": [USER, SAYS], "label": 3}),
)


@pytest.mark.parametrize(("read_as", "row"), ROWS, ids=[f"{n} {name}" for n, (name, _) in enumerate(ROWS)])
def test_a_conversation_is_the_same_in_every_format(read_as: str, row: dict[str, Any], tmp_path: Path) -> None:
    (found,) = read_conversations(written(tmp_path / "r.jsonl", row))
    assert isinstance(found, Conversation)
    assert found.messages == [USER, SAYS]
    assert found.read_as == read_as


def test_every_format_that_makes_conversations_has_a_row() -> None:
    named = {name.partition(" (not")[0].partition(",")[0] for name, _ in ROWS}
    assert named == {format.name for format in FORMATS if "conversation" in format.makes}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        (
            {"instruction": "Add.", "input": "2, 2", "output": "4"},
            [said("user", "Add.\n\n2, 2"), said("assistant", "4")],
        ),
        (
            {"system": "Be brief.", "instruction": "3?", "output": "b", "history": [["1?", "a"]]},
            [
                system("Be brief."),
                said("user", "1?"),
                said("assistant", "a"),
                said("user", "3?"),
                said("assistant", "b"),
            ],
        ),
        (
            {
                "conversations": [
                    HUMAN,
                    {"from": "function_call", "value": CALL},
                    {"from": "observation", "value": "4"},
                    GPT,
                ],
                "tools": json.dumps([TOOL]),
            },
            [system(json.dumps([TOOL])), USER, said("assistant", CALL), said("tool", "4"), SAYS],
        ),
        (
            {"messages": [system("Be brief."), USER, SAYS], "tools": [TOOL]},
            [system(f"Be brief.\n\n{json.dumps([TOOL])}"), USER, SAYS],
        ),
        (
            {
                "messages": [
                    USER,
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [{"function": {"name": "add", "arguments": '{"a": 2, "b": 2}'}}],
                    },
                    said("tool", "4"),
                    SAYS,
                ]
            },
            [USER, said("assistant", CALL), said("tool", "4"), SAYS],
        ),
        (
            {
                "messages": [
                    USER,
                    {
                        "role": "assistant",
                        "content": "Look:",
                        "tool_calls": [{"name": "add", "arguments": {"a": 2, "b": 2}}],
                    },
                    said("tool", "4"),
                    SAYS,
                ]
            },
            [USER, said("assistant", f"Look:\n{CALL}"), said("tool", "4"), SAYS],
        ),
        ({"messages": [{"role": "developer", "content": "Be brief."}, USER, SAYS]}, [system("Be brief."), USER, SAYS]),
    ],
)
def test_what_a_format_has_besides_a_question_and_an_answer(
    row: dict[str, Any], messages: list[dict[str, str]], tmp_path: Path
) -> None:
    (found,) = read_conversations(written(tmp_path / "r.jsonl", row))
    assert isinstance(found, Conversation)
    assert found.messages == messages


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": "Add.", "output": ""}, 'output = "": empty'),
        ({"instruction": "", "input": "2", "output": "2"}, 'instruction = "": empty'),
        ({"instruction": "Add.", "output": None}, "output = null: not a text"),
        ({"instruction": "Add.", "instances": []}, "instances = []: not one instance"),
        ({"conversations": [HUMAN, GPT | {"value": " "}]}, 'conversations[1].value = " ": empty'),
        ({"conversations": [GPT, HUMAN]}, 'conversations[0].from = "gpt": out of turn, expected system or user'),
        ({"conversations": [HUMAN, {"from": "observation", "value": "4"}]}, "out of turn, expected assistant"),
        ({"conversations": [HUMAN, GPT, {"from": "narrator", "value": "4"}]}, 'conversations[2].from = "narrator"'),
        ({"question": ASKED, "answer": [4]}, "answer = [4]: not a text"),
        ({"prompt": ASKED, "completion": "x<|im_end|>"}, "completion = "),
        ({"prompt": ASKED, "completion": ANSWERED, "label": False}, "label = false: an answer that was judged bad"),
        ({"chosen": "\n\nHuman: a\n\nAssistant:", "rejected": "\n\nHuman: a\n\nAssistant: b"}, 'chosen[1] = "": empty'),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, SAYS]}, "messages[0].content[0] ="),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [{"id": 3}]}]}, "messages[1].tool_calls[0] = "),
    ],
)
def test_a_bad_row_is_named_by_the_keys_that_it_has(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    (bad,) = read_conversations(written(tmp_path / "r.jsonl", row))
    assert isinstance(bad, BadRow)
    assert str(bad).startswith("r.jsonl row 1: ")
    assert message in str(bad)


def test_a_judged_answer_and_a_pair_that_is_two(tmp_path: Path) -> None:
    pair = {"id": "p", "prompt": ASKED, "chosen": ANSWERED, "rejected": "Five."}
    path = written(tmp_path / "r.jsonl", {"id": "j", "prompt": ASKED, "completion": "Five.", "label": False}, pair)
    rows = list(read_judgements(path))
    assert all(isinstance(row, Judgement) for row in rows)
    assert [(r.id, r.prompt, r.completion["content"], r.label) for r in rows if isinstance(r, Judgement)] == [
        ("j", [USER], "Five.", False),
        ("p/chosen", [USER], "Four.", True),
        ("p/rejected", [USER], "Five.", False),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": ASKED, "completion": ANSWERED}, 'no "label"'),
        ({"prompt": ASKED, "completion": ANSWERED, "label": "good"}, 'label = "good": not true or false'),
        ({"messages": [USER], "label": True}, 'messages[0].role = "user": does not end with the assistant'),
        ({"prompt": [USER, SAYS], "completion": ANSWERED, "label": True}, "the prompt ends with the assistant"),
        ({"instruction": "Add.", "output": "4"}, "Alpaca's instructions, of which no judged answer can be made"),
    ],
)
def test_a_bad_judgement_is_named(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    (bad,) = read_judgements(written(tmp_path / "r.jsonl", row))
    assert isinstance(bad, BadRow)
    assert message in str(bad)


@pytest.mark.parametrize(
    ("row", "answer", "columns"),
    [
        ({"question": ASKED, "answer": "2 + 2\n#### 4", "level": 1}, "2 + 2\n#### 4", {"level": 1}),
        ({"prompt": [USER], "answer": 4}, "4", {}),
        ({"prompt": ASKED, "tests": ["assert True"]}, None, {"tests": ["assert True"]}),
        ({"messages": [USER]}, None, {}),
        ({"messages": [USER, SAYS]}, ANSWERED, {}),
        ({"prompt": ASKED, "chosen": ANSWERED, "rejected": "Five."}, ANSWERED, {}),
    ],
)
def test_a_question(row: dict[str, Any], answer: str | None, columns: dict[str, Any], tmp_path: Path) -> None:
    (found,) = read_questions(written(tmp_path / "r.jsonl", row))
    assert isinstance(found, Question)
    assert (found.prompt, found.answer, found.columns) == ([USER], answer, columns)


def test_nothing_to_answer_is_named(tmp_path: Path) -> None:
    (bad,) = read_questions(written(tmp_path / "r.jsonl", {"messages": [system("Be brief.")]}))
    assert "nothing to answer" in str(bad)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["r.jsonl", "r.ndjson", "r.json", "r.jsonl.gz", "r.jsonl.zst", "list.json", "r.parquet"]
)
def test_every_kind_of_file_holds_the_same_rows(name: str, tmp_path: Path) -> None:
    rows = [{"messages": [USER, SAYS]}, {"prompt": ASKED, "completion": ANSWERED}]
    path = tmp_path / name
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if name == "r.parquet":
        pq.write_table(
            pa.Table.from_pylist([dict.fromkeys(("messages", "prompt", "completion")) | row for row in rows]), path
        )
    elif name == "list.json":
        path.write_bytes(b"\xef\xbb\xbf" + json.dumps(rows, indent=1).encode())
    else:
        compressed = {".gz": gzip.compress, ".zst": lambda data: pa.compress(data, "zstd", asbytes=True)}
        path.write_bytes(compressed.get(path.suffix, bytes)(lines))
    good, bad = sift(read_conversations(path), bad_rows="skip")
    assert bad == []
    assert [row.messages for row in good] == [[USER, SAYS]] * 2
    assert [row.where for row in good] == [f"{name} row 1", f"{name} row 2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.json", b'[{"messages": ', "list.json: not a JSON array"),
        ("r.jsonl", "{}\n".encode("utf-16"), "r.jsonl: cannot be read: it is UTF-16"),
        ("r.parquet", b"PAR1", "r.parquet: cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_conversations(tmp_path / name))
