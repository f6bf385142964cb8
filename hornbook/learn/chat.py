"""Conversations rendered by a chat template and encoded with a mask of what the assistant said."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NoReturn

import numpy as np
from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from hornbook.errors import InputError
from hornbook.learn.examples import Example
from hornbook.learn.faults import BadRow, bad_row
from hornbook.learn.rows import MARKS, Conversation, Preference

END = "<|im_end|>"
SPECIAL = {"bos_token": "<|endoftext|>", "eos_token": END, "pad_token": "<|pad|>"}
"""What a template may name, for our own tokenizer."""

TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if loop.first -%}{{- '<|endoftext|>' -}}{%- endif -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] + '<|im_end|>' -}}{%- endif -%}"
    "{{- '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
"""`chat_template.jinja` of our models; what lies between the generation tags is learned."""


# -- template ---------------------------------------------------------------------------------------------------------

LONGEST_TEMPLATE = 100_000
LONGEST_TEXT = 2_000_000
"""Characters. The sandbox stops code, not loops or memory: these and the two limits below do."""
_WIDENING = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs", "format", "format_map"})


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}`, as in transformers."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Any) -> str:
        return f"{MARKS[0]}{caller()}{MARKS[1]}"


class _Sandbox(ImmutableSandboxedEnvironment):
    """Templates come from the network: no code, no clock, no strings or numbers that grow without end."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int) and isinstance(right, int) and abs(right) < 1000 and operator != "**"
        joined = operator == "+" and isinstance(left, str) and isinstance(right, str)
        if not numbers and not (joined and len(left) + len(right) <= LONGEST_TEXT):
            raise TemplateError(f"a template may not compute {type(left).__name__} {operator} {type(right).__name__}")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> None:
        """None: `str.format` is an attribute like any other, and not a safe one."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _WIDENING and super().is_safe_attribute(obj, attr, value)


def render(
    messages: Sequence[Mapping[str, str]],
    *,
    template: str = TEMPLATE,
    special: Mapping[str, str] = SPECIAL,
    prompt: bool = False,
) -> list[str]:
    """The conversation as text in parts: [not learned, learned, not learned, ...].

    `special` names the tokenizer's bos_token, eos_token, ...; `prompt` adds the opening of an assistant turn. What a
    template does wrong is an InputError.
    """
    try:
        text = ""
        pieces = _compiled(template).generate(
            messages=[dict(m) for m in messages], add_generation_prompt=prompt, **special
        )
        for piece in pieces:
            text += piece
            if len(text) > LONGEST_TEXT:
                raise InputError(f"the chat template makes more than {LONGEST_TEXT:,} characters of a conversation")
    except (TemplateError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the chat template fails: {error}") from error
    return re.split("[" + "".join(MARKS) + "]", text)


@lru_cache(maxsize=4)
def _compiled(template: str) -> Template:
    if len(template) > LONGEST_TEMPLATE:
        raise InputError(f"the chat template has {len(template):,} characters, more than {LONGEST_TEMPLATE:,}")
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    for filter in ("center", "indent", "format"):
        del environment.filters[filter]
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(template)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


# -- tokens -----------------------------------------------------------------------------------------------------------


def encode(
    messages: Sequence[Mapping[str, str]],
    tokenizer: Tokenizer,
    *,
    template: str = TEMPLATE,
    special: Mapping[str, str] = SPECIAL,
    prompt: bool = False,
) -> tuple[list[int], list[bool]]:
    """Token ids and, for each, whether the assistant said it (its end token included).

    Each part is tokenized by itself, so that training splits the text where generation will: after the prompt. Special
    tokens come from the template only, so there is never a second BOS.
    """
    parts = render(messages, template=template, special=special, prompt=prompt)
    encoded = [e.ids for e in tokenizer.encode_batch_fast(parts, add_special_tokens=False)]
    ids = [token for part in encoded for token in part]
    return ids, [bool(i % 2) for i, part in enumerate(encoded) for _ in part]


def encode_conversation(
    row: Conversation,
    tokenizer: Tokenizer,
    *,
    length: int,
    template: str = TEMPLATE,
    special: Mapping[str, str] = SPECIAL,
) -> Example | BadRow:
    """One conversation, every answer learned, cut on the right to `length` positions (`Example.cut` counts tokens)."""
    ids, answer = encode(row.messages, tokenizer, template=template, special=special)
    if not any(answer):
        raise InputError(
            "the chat template marks no answer",
            hint="put {% generation %}...{% endgeneration %} around what is learned",
        )
    return _fitted(row.id, row.where, ids, answer, length)


def encode_preference(
    row: Preference,
    tokenizer: Tokenizer,
    *,
    length: int,
    template: str = TEMPLATE,
    special: Mapping[str, str] = SPECIAL,
) -> tuple[Example, Example] | BadRow:
    """(chosen, rejected), of which only the last answer counts, each cut to `length` positions."""
    pair = []
    for kind, reply in (("chosen", row.chosen), ("rejected", row.rejected)):
        before, _ = encode(row.prompt, tokenizer, template=template, special=special, prompt=True)
        ids, answer = encode([*row.prompt, reply], tokenizer, template=template, special=special)
        last = [said and i >= len(before) for i, said in enumerate(answer)]
        example = _fitted(f"{row.id}/{kind}", row.where, ids, last, length)
        if isinstance(example, BadRow):
            return example
        pair.append(example)
    if np.array_equal(pair[0].tokens, pair[1].tokens):
        return bad_row(row.where, f"chosen and rejected are equal in their first {length + 1} tokens")
    return pair[0], pair[1]


def _fitted(id: str, where: str, ids: list[int], answer: list[bool], length: int) -> Example | BadRow:
    kept = length + 1
    if not any(answer[:kept]):
        reason = f"no answer left in the first {kept} of {len(ids)} tokens"
        return bad_row(where, reason, hint=f"a length of {len(ids) - 1} would hold it")
    cut = max(0, len(ids) - kept)
    return Example(id, np.array(ids[:kept], np.int64), np.array(answer[:kept], bool), cut)
