"""Rows of conversations and of what is preferred: read in any format, checked, and where one is bad, said why.

A row in a format of `formats.py` becomes a `Conversation`, a `Preference`, a `Judgement` or a `Question`. A row that
cannot is a `BadRow`; nothing is dropped without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson

from hornbook.errors import InputError
from hornbook.learn import formats
from hornbook.learn.faults import BadRow as BadRow
from hornbook.learn.faults import Fault
from hornbook.learn.formats import Kind, Parts
from hornbook.learn.records import Record, read_records
from hornbook.learn.turns import CONTROL, Message, Turn, in_turn, message, unlearned
from hornbook.text.document import document_id

T = TypeVar("T")

Spoken = tuple[tuple[str, str], ...]
"""(who, what), one after the other."""


def _spoken(messages: Sequence[Message], *more: tuple[str, str]) -> Spoken:
    return (*((message["role"], message["content"]) for message in messages), *more)


@dataclass(frozen=True, slots=True)
class Conversation:
    id: str
    messages: list[Message]
    where: str
    """`file row n`"""
    read_as: str = ""
    """The format that it came in, and the columns that were of no use."""
    unlearned: frozenset[int] = frozenset()
    """Places of the assistant's messages that are only read: of `weight` 0, as in OpenAI's files."""

    @property
    def spoken(self) -> Spoken:
        return _spoken(self.messages)

    @property
    def asked(self) -> Spoken:
        """All of it: one question may be answered in many rows, and each teaches something."""
        return self.spoken


class _Prompted:
    """A row with a prompt, and at most one turn that answers it."""

    __slots__ = ()
    prompt: list[Message]

    @property
    def asked(self) -> Spoken:
        return _spoken(self.prompt)


@dataclass(frozen=True, slots=True)
class Preference(_Prompted):
    id: str
    prompt: list[Message]
    chosen: Message
    rejected: Message
    where: str
    read_as: str = ""

    @property
    def spoken(self) -> Spoken:
        return _spoken(self.prompt, ("chosen", self.chosen["content"]), ("rejected", self.rejected["content"]))


@dataclass(frozen=True, slots=True)
class Judgement(_Prompted):
    """One answer, and whether it is a good one (KTO, arXiv 2402.01306)."""

    id: str
    prompt: list[Message]
    completion: Message
    label: bool
    where: str
    read_as: str = ""

    @property
    def spoken(self) -> Spoken:
        return _spoken(self.prompt, ("good" if self.label else "bad", self.completion["content"]))


@dataclass(frozen=True, slots=True)
class Question(_Prompted):
    """What a model is to answer."""

    id: str
    prompt: list[Message]
    answer: str | None
    """As the row has it, where a right answer is known: in GSM8K, the reasoning with `#### 18` at its end."""
    where: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the row that are no part of the conversation: what a reward may need."""
    read_as: str = ""

    @property
    def spoken(self) -> Spoken:
        return _spoken(self.prompt, *([] if self.answer is None else [("answer", self.answer)]))


def read_conversations(path: Path, *, control: Sequence[str] = CONTROL) -> Iterator[Conversation | BadRow]:
    """Conversations to learn from; of a pair the chosen answer, of judged ones those that are good."""
    return _read(path, "conversation", _conversations, control)


def conversation(row: Record, *, id: str, where: str, control: Sequence[str] = CONTROL) -> Conversation:
    """One row by itself, as `read_conversations` reads it.

    Raises:
        Fault: it is none.
    """
    return _conversations(_place(row, "conversation", id, where, control))[0]


def read_preferences(path: Path, *, control: Sequence[str] = CONTROL) -> Iterator[Preference | BadRow]:
    """Pairs of answers; without a prompt of its own, a pair's prompt is what the two share."""
    return _read(path, "preference", _preferences, control)


def read_judgements(path: Path, *, control: Sequence[str] = CONTROL) -> Iterator[Judgement | BadRow]:
    """Judged answers; a pair is two of them."""
    return _read(path, "judgement", _judgements, control)


def read_questions(path: Path, *, control: Sequence[str] = CONTROL) -> Iterator[Question | BadRow]:
    """Prompts, with the answers that are known; of a conversation, what comes before its last answer."""
    return _read(path, "question", _questions, control)


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


@dataclass(frozen=True, slots=True)
class _Place:
    """A row by its name, what it holds, and how it was read."""

    id: str
    where: str
    parts: Parts
    columns: Mapping[str, Any]
    read_as: str
    control: Sequence[str]

    def said(self, turns: Sequence[Turn]) -> list[Message]:
        return [message(turn, self.control) for turn in turns]


def _read(path: Path, kind: Kind, make: Callable[[_Place], list[T]], control: Sequence[str]) -> Iterator[T | BadRow]:
    seen: dict[str, int] = {}
    for number, row in read_records(path):
        try:
            if isinstance(row, Fault):
                raise row
            yield from make(_place(row, kind, _unique(row, seen), f"{path.name} row {number}", control))
        except Fault as fault:
            yield fault.of(path.name, number)


def _place(row: Record, kind: Kind, id: str, where: str, control: Sequence[str]) -> _Place:
    format = formats.find(row, kind)
    unused = format.unused(row)
    read_as = format.name + (f" (not used: {', '.join(unused)})" if unused else "")
    return _Place(id, where, format.parse(row), unused, read_as, control)


def _unique(row: Record, seen: dict[str, int]) -> str:
    """The row's own id, else a hash of all that it holds; the second of two equal ones gets a number."""
    own = row.get("id")
    whole = orjson.dumps(row, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    name = str(own) if isinstance(own, str | int) else document_id("", whole)
    seen[name] = seen.get(name, 0) + 1
    return name if seen[name] == 1 else f"{name}#{seen[name]}"


# -- what a row becomes -----------------------------------------------------------------------------------------------


def _conversations(row: _Place) -> list[Conversation]:
    if row.parts.label is False:
        hint = "`align` learns from such rows"
        raise Fault("an answer that was judged bad is none to learn from", key="label", value=False, hint=hint)
    turns = [*row.parts.prompt, *row.parts.answer]
    messages = in_turn(row.said(turns), turns)
    if not any(message["role"] == "assistant" for message in messages):
        key = turns[0].key.partition("[")[0]
        raise Fault("no assistant turn to learn from", key=key, value=[m["role"] for m in messages])
    read_as = row.read_as + (", the chosen ones" if row.parts.rejected is not None else "")
    return [Conversation(row.id, messages, row.where, read_as, unlearned(messages, turns))]


def _preferences(row: _Place) -> list[Preference]:
    prompt, chosen, rejected = _pair(row)
    return [Preference(row.id, prompt, chosen, rejected, row.where, row.read_as)]


def _judgements(row: _Place) -> list[Judgement]:
    if row.parts.rejected is not None:
        prompt, *sides = _pair(row)
        labelled = zip(("chosen", "rejected"), sides, (True, False), strict=True)
        return [Judgement(f"{row.id}/{n}", prompt, one, label, row.where, row.read_as) for n, one, label in labelled]
    prompt, answer = _answered(row, row.parts.answer)
    return [Judgement(row.id, prompt, answer, row.parts.label, row.where, row.read_as)]


def _questions(row: _Place) -> list[Question]:
    turns = [*row.parts.prompt, *row.parts.answer]
    messages = in_turn(row.said(turns), turns)
    known = row.parts.reference
    if messages[-1]["role"] == "assistant":
        known = known or messages[-1]["content"]
        messages = messages[:-1]
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise Fault("nothing to answer", key=turns[0].key, value=turns[0].content)
    return [Question(row.id, messages, known, row.where, row.columns, row.read_as)]


def _answered(row: _Place, answer: Sequence[Turn]) -> tuple[list[Message], Message]:
    """A prompt and the one answer to it, which may repeat the prompt before it."""
    said, prompt = row.said(answer), in_turn(row.said(row.parts.prompt), row.parts.prompt)
    key = answer[0].key.partition("[")[0].partition(".")[0]
    if prompt and prompt[-1]["role"] == "assistant":
        raise Fault("the prompt ends with the assistant", key=row.parts.prompt[-1].key, value=prompt[-1]["content"])
    if said[-1]["role"] != "assistant":
        raise Fault("does not end with the assistant's answer", key=answer[-1].role_key, value=said[-1]["role"])
    if not prompt:
        if len(said) == 1:
            raise Fault("an answer without a prompt", key=key, value=said[0]["content"], hint='add a column "prompt"')
        return in_turn(said, answer)[:-1], said[-1]
    if said[:-1] not in ([], prompt):
        raise Fault("repeats another prompt than the row's", key=key, value=said[:-1])
    return prompt, said[-1]


def _pair(row: _Place) -> tuple[list[Message], Message, Message]:
    assert row.parts.rejected is not None
    prompt, chosen = _answered(row, row.parts.answer)
    other, rejected = _answered(row, row.parts.rejected)
    first = row.parts.answer[0].key.partition("[")[0].partition(".")[0]
    if prompt != other:
        raise Fault("chosen and rejected answer different prompts", key=first, value=prompt)
    if chosen == rejected:
        raise Fault("chosen and rejected are equal: nothing to prefer", key=first, value=chosen["content"])
    return prompt, chosen, rejected
