"""The formats that rows of conversations come in, told apart by their columns: one function a format, in one table.

A format turns a row into `Parts`. Whether the roles, the texts and their order are what they should be, is for whoever
reads the rows (`rows.py`); so every turn knows under which key of the row it stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hornbook.learn.faults import Fault
from hornbook.learn.turns import Turn, transcript, turns

Row = Mapping[str, Any]
Kind = Literal["conversation", "preference", "judgement", "question"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a row says. Where `prompt` is empty, `answer` (and `rejected`) hold the whole conversation."""

    prompt: list[Turn] = field(default_factory=list)
    answer: list[Turn] = field(default_factory=list)
    rejected: list[Turn] | None = None
    label: Any = None
    """Of a judged answer: whether it is a good one."""
    reference: str | None = None
    """The answer that a question is known to have."""


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write rows."""

    name: str
    parse: Callable[[Row], Parts]
    columns: tuple[tuple[str, ...], ...]
    """Columns that such a row has, each by the first of its names that is there."""
    makes: frozenset[Kind]
    optional: tuple[str, ...] = ()

    def fits(self, row: Row) -> bool:
        # A label of another type is some class of text, and judges no answer.
        labelled = ("label",) not in self.columns or isinstance(row.get("label"), bool)
        return labelled and not self.missing(row)

    def missing(self, row: Row) -> list[str]:
        """The columns that a row of this format would have and this one has not."""
        return [names[0] for names in self.columns if not any(name in row for name in names)]

    def unused(self, row: Row) -> dict[str, Any]:
        """Columns of a row that this format makes nothing of."""
        used = {_first(row, *names)[0] for names in self.columns} | {"id", *self.optional}
        return {key: row[key] for key in sorted(row) if key not in used}


def find(row: Row, kind: Kind) -> Format:
    """The first format that makes rows of a kind and has the columns of this one, by choice with values in them.

    Raises:
        Fault: there is none.
    """
    filled = {key: value for key, value in row.items() if value is not None}
    fitting = [format for columns in (filled, row) for format in FORMATS if format.fits(columns)]
    found = next((format for format in fitting if kind in format.makes), None)
    if found is not None:
        return found
    raise _unknown(row, kind, fitting[0] if fitting else None)


def _unknown(row: Row, kind: Kind, other: Format | None) -> Fault:
    """What is wrong with the columns of a row of which no row of a kind can be made, but maybe one of another."""
    wanted = [format for format in FORMATS if kind in format.makes]
    if kind == "judgement" and row.get("label") is not None:
        return Fault("not true or false", key="label", value=row["label"])
    for format in wanted:
        if 0 < len(missing := format.missing(row)) < len(format.columns):
            return Fault(f'no "{missing[0]}"', key="keys", value=sorted(row), hint=COLUMNS[kind])
    if other is not None:
        stages = " or ".join(f"`{stage}`" for use, stage in USES.items() if use in other.makes)
        reason = f"{other.name}, of which no {WORDS[kind]} can be made"
        return Fault(reason, key="keys", value=sorted(row), hint=f"{stages} learns from such rows")
    hint = "plain text is for `pretrain`, and read by `crawl`" if "text" in row else COLUMNS[kind]
    return Fault(f"no {WORDS[kind]} in any format that is known", key="keys", value=sorted(row), hint=hint)


# -- columns ---------------------------------------------------------------------------------------------------------


def _is_transcript(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip("\n").startswith("Human:")


def _first(row: Row, *names: str) -> tuple[str, Any]:
    """The column of a row that goes by one of these names, and its value."""
    return next((name, row[name]) for name in names if name in row)


def _instructions(row: Row) -> list[Turn]:
    """The system turn of a row that has columns for it: `system`, and descriptions of the tools that may be called."""
    given = {key: row[key] for key in ("system", "tools") if row.get(key) not in (None, "", [], "[]")}
    texts = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in given.values()]
    return [Turn("system", "\n\n".join(texts), " and ".join(given))] if given else []


def _with_instructions(row: Row, dialogue: list[Turn]) -> list[Turn]:
    """The dialogue behind the row's own system turn; two of these become one."""
    before = _instructions(row)
    if before and dialogue[0].role in ("system", "developer") and isinstance(dialogue[0].content, str):
        joined = f"{dialogue[0].content}\n\n{before[0].content}"
        return [Turn("system", joined, dialogue[0].key, dialogue[0].role_key), *dialogue[1:]]
    return before + dialogue


# -- formats ----------------------------------------------------------------------------------------------------------

MESSAGES = ("messages", "conversations", "conversation")
PROMPT = ("prompt", "question", "problem", "query", "context")
COMPLETION = ("completion", "response")
REFERENCE = ("answer", "solution", "continuation", "ground_truth")


def messages(row: Row) -> Parts:
    """`messages` of `role` and `content`; also ShareGPT's `conversations` of `from` and `value`."""
    key, value = _first(row, *MESSAGES)
    return Parts(answer=_with_instructions(row, turns(value, key)))


def alpaca(row: Row) -> Parts:
    """`instruction`, `input` where there is one, and `output`; `history` holds pairs of earlier texts."""
    key, output = _first(row, "output", "response")
    past = [
        Turn(role, text, f"history[{place}][{side}]")
        for place, pair in enumerate(row.get("history") or ())
        for side, (role, text) in enumerate(zip(("user", "assistant"), pair, strict=False))
    ]
    return Parts(prompt=[*_instructions(row), *past, _asked(row)], answer=[Turn("assistant", output, key)])


def _asked(row: Row) -> Turn:
    """The instruction and, after an empty line, its input."""
    given = row.get("input", row.get("context"))
    instruction = row["instruction"]
    if isinstance(given, str) and given.strip() and isinstance(instruction, str) and instruction.strip():
        return Turn("user", f"{instruction}\n\n{given}", "instruction")
    return Turn("user", instruction, "instruction")


def self_instruct(row: Row) -> Parts:
    """`instruction` and one of `instances`, an input with its output."""
    instances = row["instances"]
    if not isinstance(instances, list) or len(instances) != 1 or not isinstance(instances[0], dict):
        raise Fault("not one instance: write a row for each", key="instances", value=instances)
    answer = [Turn("assistant", instances[0].get("output"), "instances[0].output")]
    return Parts(prompt=[_asked({**instances[0], "instruction": row["instruction"]})], answer=answer)


def completion(row: Row) -> Parts:
    """`prompt` and `completion`, each a text or messages."""
    key, answer = _first(row, *COMPLETION)
    return Parts(prompt=_prompt(row), answer=turns(answer, key, alone="assistant"))


def question(row: Row) -> Parts:
    """A question and the answer that it is known to have, as in GSM8K."""
    key, answer = _first(row, *REFERENCE)
    text = str(answer) if isinstance(answer, int | float) and not isinstance(answer, bool) else answer
    reference = text if isinstance(text, str) else None
    return Parts(prompt=_prompt(row), answer=[Turn("assistant", text, key)], reference=reference)


def prompt_only(row: Row) -> Parts:
    """A prompt that nobody has answered."""
    return Parts(prompt=_prompt(row))


def _prompt(row: Row) -> list[Turn]:
    key, value = _first(row, *PROMPT)
    return _with_instructions(row, turns(value, key, alone="user"))


def pair(row: Row) -> Parts:
    """`chosen` and `rejected`, each a text, a message or messages; `prompt` may be what the two share."""
    (key, chosen), (other, rejected) = _first(row, "chosen", "matching"), _first(row, "rejected", "not_matching")
    shared = next((name for name in ("prompt", *MESSAGES[1:]) if name in row), None)
    if shared is None and _is_transcript(chosen) and _is_transcript(rejected):
        return Parts(answer=transcript(chosen, key), rejected=transcript(rejected, other))
    return Parts(
        prompt=_with_instructions(row, turns(row[shared], shared, alone="user")) if shared else [],
        answer=turns(chosen, key, alone="assistant"),
        rejected=turns(rejected, other, alone="assistant"),
    )


def judged(row: Row) -> Parts:
    """A conversation, or a prompt with its completion, and whether the answer is good (`label`, as in KTO)."""
    parts = messages(row) if any(name in row for name in MESSAGES) else completion(row)
    return Parts(prompt=parts.prompt, answer=parts.answer, label=row["label"])


SAYS: frozenset[Kind] = frozenset({"conversation", "question"})
JUDGES: frozenset[Kind] = SAYS | {"judgement"}
PREFERS: frozenset[Kind] = JUDGES | {"preference"}
SYSTEM = ("system", "tools")
PAIR = (("chosen", "matching"), ("rejected", "not_matching"))
ALPACA = (("instruction",), ("output", "response"))
FORMATS = (
    Format("judged conversations (KTO)", judged, (MESSAGES, ("label",)), JUDGES, SYSTEM),
    Format("judged completions (KTO)", judged, (("prompt",), COMPLETION, ("label",)), JUDGES, SYSTEM),
    Format("messages", messages, (("messages",),), SAYS, SYSTEM),
    Format("pairs of answers", pair, PAIR, PREFERS, ("prompt", *MESSAGES[1:], *SYSTEM)),
    Format("ShareGPT's conversations", messages, (MESSAGES[1:],), SAYS, SYSTEM),
    Format("Alpaca's instructions", alpaca, ALPACA, SAYS, ("input", "context", "history", *SYSTEM)),
    Format("Self-Instruct's tasks", self_instruct, (("instruction",), ("instances",)), SAYS),
    Format("prompts with completions", completion, (("prompt",), COMPLETION), SAYS, SYSTEM),
    Format("questions with answers", question, (PROMPT, REFERENCE), SAYS, SYSTEM),
    Format("prompts", prompt_only, (PROMPT,), frozenset({"question"}), SYSTEM),
)
"""In the order in which they are tried."""
USES: dict[Kind, str] = {"conversation": "sft", "preference": "align", "question": "reinforce"}
"""The stage that learns from rows of a kind."""
WORDS: dict[Kind, str] = {
    "conversation": "conversation",
    "preference": "pair of answers",
    "judgement": "judged answer",
    "question": "question",
}
COLUMNS: dict[Kind, str] = {
    "conversation": 'a row has "messages" or "conversations", "instruction" and "output", or "prompt" and "completion"',
    "preference": 'a row has "prompt", "chosen" and "rejected"',
    "judgement": 'a row has "prompt", "completion" and "label"',
    "question": 'a row has "prompt"; or "question" and "answer"',
}
"""The most usual columns of a kind."""
