"""Rows of conversations and of preferences: read, checked, and where one is bad, said what is wrong and where.

A row is `{"messages": [{"role", "content"}, ...]}` or `{"prompt", "chosen", "rejected"}`. A row that is not so is a
`BadRow`; nothing is dropped without one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import orjson

from hornbook.errors import InputError
from hornbook.text.document import document_id
from hornbook.text.files import open_bytes

Message = dict[str, str]
T = TypeVar("T")

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
"""Tokens that steer a conversation and that no message may contain."""
MARKS = ("\ufdd0", "\ufdd1")
"""Unicode noncharacters that `chat.render` puts around what the assistant says; no message may contain them either."""


@dataclass(frozen=True, slots=True)
class Conversation:
    id: str
    messages: list[Message]
    where: str
    """`file row n`"""


@dataclass(frozen=True, slots=True)
class Preference:
    id: str
    prompt: list[Message]
    chosen: Message
    rejected: Message
    where: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be learned from. `key` and `value` (shortened) are what is wrong with it."""

    file: str
    row: int
    reason: str
    key: str = ""
    value: str = ""
    hint: str = ""

    def __str__(self) -> str:
        what = f"{self.key} = {self.value}: " if self.key else ""
        return f"{self.file} row {self.row}: {what}{self.reason}"


def read_conversations(path: Path, *, control: Sequence[str] = CONTROL) -> Iterator[Conversation | BadRow]:
    """`messages` JSONL (.gz, .zst). Roles are system (first only), user and assistant, the last two in turn."""
    return _rows(path, partial(_conversation, control=control))


def read_preferences(path: Path, *, control: Sequence[str] = CONTROL) -> Iterator[Preference | BadRow]:
    """`prompt`, `chosen`, `rejected` JSONL: each a string or messages; without `prompt` it is what the two share."""
    return _rows(path, partial(_preference, control=control))


def sift(rows: Iterable[T | BadRow], *, bad_rows: Literal["error", "skip"]) -> tuple[list[T], list[BadRow]]:
    """Good and bad rows apart. With "error" a bad one raises InputError naming it and counting the others."""
    good: list[T] = []
    bad: list[BadRow] = []
    for row in rows:
        bad.append(row) if isinstance(row, BadRow) else good.append(row)
    if bad and bad_rows == "error":
        others = f" (and {len(bad) - 1} more bad rows)" if len(bad) > 1 else ""
        hint = f"{bad[0].hint}; " if bad[0].hint else ""
        raise InputError(f"{bad[0]}{others}", hint=f'{hint}bad_rows = "skip" leaves such rows out and counts them')
    return good, bad


class _Fault(Exception):
    """What is wrong with the row in hand; always turned into a BadRow."""

    def __init__(self, reason: str, *, key: str = "", value: object = "", hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.key, self.value, self.hint = reason, key, _short(value) if key else "", hint


def _rows(path: Path, parse: Any) -> Iterator[Any]:
    seen: dict[str, int] = {}
    try:
        with open_bytes(path) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield _parsed(line, parse, path.name, number, seen)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _parsed(line: bytes, parse: Any, file: str, number: int, seen: dict[str, int]) -> Any:
    try:
        row = _object(line)
        own = row.get("id")
        name = (
            str(own) if isinstance(own, str | int) else document_id("", orjson.dumps(row, option=orjson.OPT_SORT_KEYS))
        )
        seen[name] = seen.get(name, 0) + 1
        # Ids must tell rows apart: the second of two equal ones gets a number.
        unique = name if seen[name] == 1 else f"{name}#{seen[name]}"
        return parse(row, id=unique, where=f"{file} row {number}")
    except _Fault as fault:
        return BadRow(file, number, fault.reason, fault.key, fault.value, fault.hint)


def _object(line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _Fault(f"not JSON: {error}", key="line", value=line.decode(errors="replace").strip()) from error
    if not isinstance(row, dict):
        raise _Fault("not an object", key="row", value=row, hint='a row is {"messages": [...]}')
    return row


def _conversation(row: dict[str, Any], *, id: str, where: str, control: Sequence[str]) -> Conversation:
    if "messages" not in row:
        _wrong_columns(row, wanted="messages", hint='{"messages": [{"role": "user", "content": "..."}, ...]}')
    messages = _messages(row["messages"], "messages", control)
    if not any(message["role"] == "assistant" for message in messages):
        raise _Fault("no assistant turn to learn from", key="messages", value=[m["role"] for m in messages])
    return Conversation(id, messages, where)


def _preference(row: dict[str, Any], *, id: str, where: str, control: Sequence[str]) -> Preference:
    if missing := [key for key in ("chosen", "rejected") if key not in row]:
        _wrong_columns(row, wanted=missing[0], hint='{"prompt": "...", "chosen": "...", "rejected": "..."}')
    chosen, rejected = (_messages(row[key], key, control, alone="assistant") for key in ("chosen", "rejected"))
    prompt = _messages(row["prompt"], "prompt", control, alone="user") if "prompt" in row else chosen[:-1]
    for key, answer in (("chosen", chosen), ("rejected", rejected)):
        if answer[-1]["role"] != "assistant":
            raise _Fault("does not end with the assistant's answer", key=f"{key}[-1].role", value=answer[-1]["role"])
        if answer[:-1] not in ([], prompt) or ("prompt" not in row and answer[:-1] != prompt):
            raise _Fault("chosen and rejected answer different prompts", key=key, value=answer[:-1])
    if not prompt:
        _wrong_columns(
            row, wanted="prompt", hint="chosen and rejected hold one message each, so there must be a prompt"
        )
    if prompt[-1]["role"] == "assistant":
        raise _Fault("the prompt ends with the assistant", key="prompt", value=prompt[-1]["content"])
    if chosen[-1] == rejected[-1]:
        raise _Fault("chosen and rejected are equal: nothing to prefer", key="chosen", value=chosen[-1]["content"])
    return Preference(id, prompt, chosen[-1], rejected[-1], where)


def _messages(value: Any, key: str, control: Sequence[str], *, alone: str = "") -> list[Message]:
    """Checked messages; where `alone` names a role, a string is one message of that role."""
    if alone and isinstance(value, str):
        value = [{"role": alone, "content": value}]
        messages = [_message(value[0], key, control, whole=True)]
    elif isinstance(value, list) and value:
        messages = [_message(item, f"{key}[{i}]", control) for i, item in enumerate(value)]
    else:
        raise _Fault("not a list of messages with at least one", key=key, value=value)
    if not (alone == "assistant" and len(messages) == 1):
        _turns(messages, key)
    return messages


def _message(item: Any, key: str, control: Sequence[str], *, whole: bool = False) -> Message:
    if not isinstance(item, dict):
        raise _Fault("not an object with role and content", key=key, value=item)
    role, content = item.get("role"), item.get("content")
    if role not in ("system", "user", "assistant"):
        raise _Fault("not a role", key=f"{key}.role", value=role, hint="a role is system, user or assistant")
    key = key if whole else f"{key}.content"
    if not isinstance(content, str):
        raise _Fault("not a text", key=key, value=content)
    if not content.strip():
        raise _Fault("empty", key=key, value=content)
    if found := [token for token in (*control, *MARKS) if token in content]:
        raise _Fault(f"holds the control token {found[0]!r}", key=key, value=content)
    return {"role": role, "content": content}


def _turns(messages: Sequence[Message], key: str) -> None:
    """system, then user and assistant in turn."""
    expected = ["system", "user"]
    for i, role in enumerate(message["role"] for message in messages):
        if role not in expected:
            raise _Fault(f"out of turn, expected {' or '.join(expected)}", key=f"{key}[{i}].role", value=role)
        expected = ["assistant"] if role == "user" else ["user"]


_FOREIGN = {
    "conversations": 'rename "conversations" to "messages", "from" to "role" (human: user, gpt: assistant), '
    '"value" to "content"',
    "instruction": 'make "instruction" (and "input") the user message and "output" the assistant message of "messages"',
    "text": 'this looks like plain text for pretraining; a chat is {"messages": [...]}',
}


def _wrong_columns(row: Mapping[str, Any], *, wanted: str, hint: str) -> NoReturn:
    foreign = next((_FOREIGN[key] for key in _FOREIGN if key in row), hint)
    raise _Fault(f"no {wanted!r}", key="keys", value=sorted(row), hint=foreign)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
