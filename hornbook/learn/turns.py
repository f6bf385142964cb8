"""What somebody says: turns as the rows of a file have them, and the messages that they become when they are right."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hornbook.learn.faults import Fault
from hornbook.learn.templates import MARKS

Message = dict[str, str]
"""`role` and `content`."""

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
"""Tokens that steer a conversation and that no message may contain."""

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "function_response", "ipython"), "tool"),
}
"""The names that formats have for those who speak. The call of a function is what the assistant says."""
FOLLOWS = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}
"""Who may speak after whom."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody says, not yet checked, and where it stands in the row."""

    role: Any
    content: Any
    key: str
    role_key: str = ""
    weight: Any = None
    """0 of an answer that is only read, 1 of one that is learned (OpenAI); without it, it is."""
    weight_key: str = ""


# -- as rows have them ------------------------------------------------------------------------------------------------


def turns(value: Any, key: str, *, alone: str = "") -> list[Turn]:
    """A list of messages; where `alone` names a role, also one message, or a text that is one of that role."""
    if alone and isinstance(value, str):
        return [Turn(alone, value, key)]
    if alone and isinstance(value, dict):
        return [_turn(value, key)]
    if not isinstance(value, list) or not value:
        raise Fault("not a list of messages with at least one", key=key, value=value)
    return [_turn(item, f"{key}[{place}]") for place, item in enumerate(value)]


def _turn(item: Any, key: str) -> Turn:
    """`role` and `content`, or ShareGPT's `from` and `value`."""
    if not isinstance(item, dict):
        raise Fault("not an object with role and content", key=key, value=item)
    role = "from" if "from" in item and "role" not in item else "role"
    content = "value" if "value" in item and "content" not in item else "content"
    text = item.get(content)
    if item.get("tool_calls"):
        text = _calls(item["tool_calls"], text, f"{key}.tool_calls")
    elif isinstance(text, list):
        text = _text_parts(text, f"{key}.{content}")
    return Turn(item.get(role), text, f"{key}.{content}", f"{key}.{role}", item.get("weight"), f"{key}.weight")


def _calls(calls: Any, text: Any, key: str) -> str:
    """OpenAI's function calls as the model is to write them: what it says before, then a line of JSON a call."""
    lines = [text] if isinstance(text, str) and text.strip() else []
    for place, call in enumerate(calls if isinstance(calls, list) else [calls]):
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Fault("not a call of a function by its name", key=f"{key}[{place}]", value=call)
        arguments = function.get("arguments", {})
        arguments = _json_or_text(arguments) if isinstance(arguments, str) else arguments
        lines.append(json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False))
    return "\n".join(lines)


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text_parts(parts: list[Any], key: str) -> str:
    """OpenAI's content in parts, where all are text."""
    for place, part in enumerate(parts):
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise Fault("not a text, and only text is learned", key=f"{key}[{place}]", value=part)
    return "".join(part["text"] for part in parts)


def transcript(text: str, key: str) -> list[Turn]:
    """Anthropic's HH: a text in which every turn begins with an empty line and `Human:` or `Assistant:`."""
    pieces = re.split(r"(?:\A|\n\n)(Human|Assistant):", text)
    if pieces[0].strip():
        raise Fault("text before the first `Human:`", key=key, value=pieces[0])
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        Turn(roles[role], said.strip(), f"{key}[{place}]", f"{key}[{place}]")
        for place, (role, said) in enumerate(zip(pieces[1::2], pieces[2::2], strict=True))
    ]


# -- as messages ------------------------------------------------------------------------------------------------------


def message(turn: Turn, control: Sequence[str]) -> Message:
    role = ROLES.get(turn.role) if isinstance(turn.role, str) else None
    if role is None:
        hint = "a role is system, user, assistant or tool"
        raise Fault("not a role", key=turn.role_key or turn.key, value=turn.role, hint=hint)
    if not isinstance(turn.content, str):
        raise Fault("not a text", key=turn.key, value=turn.content)
    if not turn.content.strip():
        raise Fault("empty", key=turn.key, value=turn.content)
    if found := [token for token in (*control, *MARKS) if token in turn.content]:
        raise Fault(f"holds the control token {found[0]!r}", key=turn.key, value=turn.content)
    return {"role": role, "content": turn.content}


def in_turn(messages: list[Message], turns: Sequence[Turn]) -> list[Message]:
    """The messages, if they follow one another as `FOLLOWS` says."""
    before = ""
    for message, turn in zip(messages, turns, strict=True):
        if message["role"] not in FOLLOWS[before]:
            reason = f"out of turn, expected {' or '.join(FOLLOWS[before])}"
            raise Fault(reason, key=turn.role_key or turn.key, value=turn.role)
        before = message["role"]
    return messages


def unlearned(messages: Sequence[Message], turns: Sequence[Turn]) -> frozenset[int]:
    """Places of the assistant's messages that have `weight` 0; one at least is left to learn from."""
    said = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    for place, turn in enumerate(turns):
        if turn.weight not in ((None, 0, 1) if place in said else (None, 0)):
            reason = "not 0 or 1" if place in said else "not 0, and only what the assistant says is learned"
            raise Fault(reason, key=turn.weight_key, value=turn.weight)
    read = frozenset(place for place in said if turns[place].weight == 0)
    if len(read) == len(said):
        raise Fault("every answer has weight 0: nothing to learn from", key=turns[said[-1]].weight_key, value=0)
    return read
