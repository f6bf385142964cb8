from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.learn.chat import SPECIAL, TEMPLATE, encode, encode_conversation, encode_preference, render
from hornbook.learn.examples import Example
from hornbook.learn.rows import BadRow, Conversation, Preference
from tests.learn import tiny

TOKENIZER = tiny.tokenizer()
CHAT = [
    {"role": "system", "content": "You know Python."},
    {"role": "user", "content": "What is a tuple?"},
    {"role": "assistant", "content": "A sequence that\ncannot change."},
    {"role": "user", "content": "And a list, user?"},
    {"role": "assistant", "content": "One that can. \u00e9\u00e0"},
]
FOREIGN = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}\n"
    "Answer: {% generation %}{{ m['content'] | trim }}{{ eos_token }}{% endgeneration %}\n"
    "{% else %}[{{ m.role | upper }}] {{ m['content'] }}\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}Answer: {% endif %}"
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Any:
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    TOKENIZER.save(str(path))
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(path), **SPECIAL)


@pytest.mark.parametrize("template", [TEMPLATE, FOREIGN], ids=["ours", "foreign"])
@pytest.mark.parametrize("turns", [2, 3, 5])
def test_it_encodes_as_transformers_does(reference: Any, template: str, turns: int) -> None:
    messages = CHAT[:turns]
    theirs = reference.apply_chat_template(
        messages, chat_template=template, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, answer = encode(messages, TOKENIZER, template=template)
    assert ids == theirs["input_ids"]
    assert [int(said) for said in answer] == theirs["assistant_masks"]
    text = reference.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=True)
    assert "".join(render(messages, template=template, prompt=True)) == text


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cn")), min_size=1, max_size=20).filter(
    lambda text: text.strip() and not text[0].isspace()
)


@settings(max_examples=30)
@given(question=WORDS, answer=WORDS)
def test_any_text_encodes_as_in_transformers(reference: Any, question: str, answer: str) -> None:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    theirs = reference.apply_chat_template(
        messages, chat_template=TEMPLATE, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = encode(messages, TOKENIZER)
    assert ids == theirs["input_ids"]
    assert [int(said) for said in mask] == theirs["assistant_masks"]


def test_what_is_learned_is_the_answer_and_its_end() -> None:
    ids, answer = encode(CHAT, TOKENIZER)
    learned = [token for token, said in zip(ids, answer, strict=True) if said]
    text = TOKENIZER.decode(learned, skip_special_tokens=False)
    assert text == "A sequence that\ncannot change.<|im_end|>One that can. \u00e9\u00e0<|im_end|>"


@pytest.mark.parametrize("template", [TEMPLATE, FOREIGN], ids=["ours", "foreign"])
def test_an_answer_of_weight_0_is_read_and_not_learned(template: str) -> None:
    row = Conversation("a", CHAT, "chats.jsonl row 1")
    whole, rest = (
        encode_conversation(replace(row, unlearned=frozenset(places)), TOKENIZER, length=200, template=template)
        for places in ((), (2,))
    )
    assert isinstance(whole, Example)
    assert isinstance(rest, Example)
    assert np.array_equal(whole.tokens, rest.tokens)
    assert TOKENIZER.decode(rest.tokens[rest.answer].tolist()) == "One that can. \u00e9\u00e0"


def test_weights_need_a_template_that_marks_each_answer_once() -> None:
    twice = TEMPLATE.replace("{%- endgeneration -%}", "{%- endgeneration -%}{%- generation -%}.{%- endgeneration -%}")
    row = Conversation("a", CHAT, "chats.jsonl row 1", unlearned=frozenset({2}))
    bad = encode_conversation(row, TOKENIZER, length=200, template=twice)
    assert isinstance(bad, BadRow)
    assert "it marks 4 answers of 2, so which of them has weight 0 is not known" in bad.reason


@given(first=st.sampled_from(["\n", "\n\nHello", " Hello", "as", "Hello"]))
def test_training_splits_the_text_where_generation_will(first: str) -> None:
    prompt, _ = encode(CHAT[:2], TOKENIZER, prompt=True)
    ids, answer = encode([*CHAT[:2], {"role": "assistant", "content": first}], TOKENIZER)
    assert ids[: len(prompt)] == prompt
    assert answer.index(True) == len(prompt)


def test_there_is_one_bos_even_if_the_tokenizer_would_add_another() -> None:
    from tokenizers.processors import TemplateProcessing

    adding = tiny.tokenizer()
    adding.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    ids, _ = encode(CHAT, adding)
    assert ids.count(0) == 1
    assert ids[0] == 0


# -- fitting ----------------------------------------------------------------------------------------------------------

ROW = Conversation("r", CHAT[1:3], "chats.jsonl row 7")


def test_a_conversation_that_fits() -> None:
    ids, answer = encode(ROW.messages, TOKENIZER)
    example = encode_conversation(ROW, TOKENIZER, length=len(ids) - 1)
    assert not isinstance(example, BadRow)
    assert example.tokens.tolist() == ids
    assert example.answer.tolist() == answer
    assert example.cut == 0


def test_a_longer_one_is_cut_and_says_by_how_much() -> None:
    ids, _ = encode(ROW.messages, TOKENIZER)
    example = encode_conversation(ROW, TOKENIZER, length=len(ids) - 6)
    assert not isinstance(example, BadRow)
    assert example.tokens.tolist() == ids[:-5]
    assert example.cut == 5


def test_one_without_an_answer_left_is_named() -> None:
    bad = encode_conversation(ROW, TOKENIZER, length=10)
    assert isinstance(bad, BadRow)
    assert str(bad).startswith("chats.jsonl row 7: no answer left in the first 11 of ")


def test_a_preference_counts_only_the_last_answers() -> None:
    row = Preference("p", CHAT[:4], CHAT[4], {"role": "assistant", "content": "No."}, "p.jsonl row 1")
    pair = encode_preference(row, TOKENIZER, length=500)
    assert not isinstance(pair, BadRow)
    said = [TOKENIZER.decode(e.tokens[e.answer].tolist(), skip_special_tokens=False) for e in pair]
    assert said == ["One that can. \u00e9\u00e0<|im_end|>", "No.<|im_end|>"]
    assert [e.id for e in pair] == ["p/chosen", "p/rejected"]


def test_a_pair_that_cutting_makes_equal_is_named() -> None:
    row = Preference(
        "p",
        CHAT[1:2],
        {"role": "assistant", "content": "The same."},
        {"role": "assistant", "content": "The same!"},
        "p row 3",
    )
    prompt, _ = encode(row.prompt, TOKENIZER, prompt=True)
    bad = encode_preference(row, TOKENIZER, length=len(prompt) + 3)
    assert isinstance(bad, BadRow)
    assert str(bad) == f"p row 3: chosen and rejected are equal in their first {len(prompt) + 4} tokens"
    both = encode_preference(row, TOKENIZER, length=500)
    assert not isinstance(both, BadRow)
    assert not np.array_equal(both[0].tokens, both[1].tokens)


def test_our_template_is_one_file_that_jinja_reads(tmp_path: Path) -> None:
    path = tmp_path / "chat_template.jinja"
    path.write_text(TEMPLATE)
    assert path.read_text() == TEMPLATE
    assert render(CHAT[:2], prompt=True) == [
        "<|endoftext|><|im_start|>system\nYou know Python.<|im_end|>\n"
        "<|im_start|>user\nWhat is a tuple?<|im_end|>\n<|im_start|>assistant\n"
    ]
