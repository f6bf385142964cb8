"""Conversations rendered by a chat template and encoded with a mask of what the assistant said."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
from tokenizers import Tokenizer

from hornbook.errors import InputError
from hornbook.learn.examples import Example
from hornbook.learn.faults import BadRow, bad_row
from hornbook.learn.rows import Conversation, Judgement, Preference
from hornbook.learn.templates import Overrun, Process, Refused, Renderer
from hornbook.learn.turns import Message

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


MARK_IT = "in chat_template.jinja, {% generation %}...{% endgeneration %} around what is learned always works"
WHERE_IT_IS = "it is the chat_template.jinja of the model's folder"


class TemplateFailure(InputError):
    """A chat template cannot render a conversation."""


def render(
    messages: Sequence[Mapping[str, str]],
    *,
    template: str = TEMPLATE,
    special: Mapping[str, str] = SPECIAL,
    prompt: bool = False,
) -> list[str]:
    """The conversation as text in parts: [not learned, learned, not learned, ...].

    `special` names the tokenizer's bos_token, eos_token, ...; `prompt` adds the opening of an assistant turn.

    Raises:
        TemplateFailure: the template fails on this conversation.
        InputError: it fails on any, or takes more time than it may.
    """
    known = tuple(sorted(special.items()))
    try:
        return _renderer(template, known).parts(messages, prompt=prompt)
    except Refused as error:
        raise TemplateFailure(f"the chat template fails: {error}", hint=MARK_IT) from error
    except Overrun as error:
        _renderer.cache_clear()
        raise InputError(f"the chat template fails: {error}", hint=WHERE_IT_IS) from error


@lru_cache(maxsize=4)
def _renderer(template: str, special: tuple[tuple[str, str], ...]) -> Renderer | Process:
    """Our own template is rendered here; whatever else came with a model, in a process with limits."""
    try:
        return (Renderer if template == TEMPLATE else Process)(template, dict(special))
    except Refused as error:
        raise InputError(f"the chat template cannot be used: {error}", hint=WHERE_IT_IS) from error


# -- tokens -----------------------------------------------------------------------------------------------------------


def encode(
    messages: Sequence[Mapping[str, str]],
    tokenizer: Tokenizer,
    *,
    template: str = TEMPLATE,
    special: Mapping[str, str] = SPECIAL,
    prompt: bool = False,
    unlearned: Collection[int] = (),
) -> tuple[list[int], list[bool]]:
    """Token ids and, for each, whether the assistant said it (its end token included).

    Messages at the places `unlearned` are as if somebody else had said them. Each part is tokenized by itself, so that
    training splits the text where generation will: after the prompt. Special tokens come from the template only, so
    there is never a second BOS.
    """
    parts = render(messages, template=template, special=special, prompt=prompt)
    learned = _learned(parts, messages, unlearned)
    if _begins_with_space(tokenizer):
        return _encode_whole(parts, learned, tokenizer)
    encoded = [e.ids for e in tokenizer.encode_batch_fast(parts, add_special_tokens=False)]
    ids = [token for part in encoded for token in part]
    return ids, [said for part, said in zip(encoded, learned, strict=True) for _ in part]


def _learned(parts: Sequence[str], messages: Sequence[Mapping[str, str]], unlearned: Collection[int]) -> list[bool]:
    """Of each part, whether it is learned."""
    if not unlearned:
        return [bool(place % 2) for place in range(len(parts))]
    said = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    if len(said) != len(parts) // 2:
        reason = f"it marks {len(parts) // 2} answers of {len(said)}, so which of them has weight 0 is not known"
        raise TemplateFailure(f"the chat template fails: {reason}", hint=MARK_IT)
    return [bool(place % 2) and said[place // 2] not in unlearned for place in range(len(parts))]


def _begins_with_space(tokenizer: Tokenizer) -> bool:
    """Whether it puts a space before every text, as Llama 2's does: then a part by itself would get one too."""
    first: str = tokenizer.encode("x", add_special_tokens=False).tokens[0]
    return first.startswith(("\u2581", "\u0120"))


def _encode_whole(parts: Sequence[str], learned: Sequence[bool], tokenizer: Tokenizer) -> tuple[list[int], list[bool]]:
    """The parts as one text; a token that lies only partly in an answer is learned, as in transformers."""
    encoding = tokenizer.encode("".join(parts), add_special_tokens=False)
    ends = np.cumsum([len(part) for part in parts])
    said = np.zeros(int(ends[-1]) + 1, bool)
    for end, part, answer in zip(ends, parts, learned, strict=True):
        said[end - len(part) : end] = answer
    return encoding.ids, [bool(said[begin:end].any()) for begin, end in encoding.offsets]


def encode_conversation(
    row: Conversation,
    tokenizer: Tokenizer,
    *,
    length: int,
    template: str = TEMPLATE,
    special: Mapping[str, str] = SPECIAL,
) -> Example | BadRow:
    """One conversation, its answers learned, cut on the right to `length` positions (`Example.cut` counts tokens)."""
    try:
        ids, answer = encode(row.messages, tokenizer, template=template, special=special, unlearned=row.unlearned)
    except TemplateFailure as error:
        return bad_row(row.where, error.message, hint=error.hint)
    if not any(answer):
        return bad_row(row.where, "the chat template marks no answer", hint=MARK_IT)
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
    encode_one = partial(_answered, row, tokenizer=tokenizer, length=length, template=template, special=special)
    chosen, rejected = encode_one(f"{row.id}/chosen", row.chosen), encode_one(f"{row.id}/rejected", row.rejected)
    if isinstance(chosen, BadRow):
        return chosen
    if isinstance(rejected, BadRow):
        return rejected
    if np.array_equal(chosen.tokens, rejected.tokens):
        return bad_row(row.where, f"chosen and rejected are equal in their first {length + 1} tokens")
    return chosen, rejected


def encode_judgement(
    row: Judgement,
    tokenizer: Tokenizer,
    *,
    length: int,
    template: str = TEMPLATE,
    special: Mapping[str, str] = SPECIAL,
) -> Example | BadRow:
    """A judged answer, of which only that answer counts, cut to `length` positions."""
    return _answered(
        row, row.id, row.completion, tokenizer=tokenizer, length=length, template=template, special=special
    )


def _answered(
    row: Preference | Judgement,
    id: str,
    reply: Message,
    *,
    tokenizer: Tokenizer,
    length: int,
    template: str,
    special: Mapping[str, str],
) -> Example | BadRow:
    """A row's prompt with one answer to it, the only one that is learned."""
    try:
        before, _ = encode(row.prompt, tokenizer, template=template, special=special, prompt=True)
        ids, answer = encode([*row.prompt, reply], tokenizer, template=template, special=special)
    except TemplateFailure as error:
        return bad_row(row.where, error.message, hint=error.hint)
    last = [said and i >= len(before) for i, said in enumerate(answer)]
    return _fitted(id, row.where, ids, last, length)


def _fitted(id: str, where: str, ids: list[int], answer: list[bool], length: int) -> Example | BadRow:
    kept = length + 1
    if not any(answer[:kept]):
        reason = f"no answer left in the first {kept} of {len(ids)} tokens"
        return bad_row(where, reason, hint=f"a length of {len(ids) - 1} would hold it")
    cut = max(0, len(ids) - kept)
    return Example(id, np.array(ids[:kept], np.int64), np.array(answer[:kept], bool), cut)
