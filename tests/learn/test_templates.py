"""Templates from elsewhere: what they may do, and what of a conversation is learned where they do not say."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from hornbook.errors import InputError
from hornbook.learn.chat import SPECIAL, _renderer, encode, encode_conversation, render
from hornbook.learn.rows import BadRow, Conversation
from hornbook.learn.templates import MARKS, Overrun, Process, Renderer
from tests.learn import tiny

CHAT = [
    {"role": "system", "content": "You know Python."},
    {"role": "user", "content": " What is a tuple? "},
    {"role": "assistant", "content": "A sequence that\ncannot change."},
    {"role": "user", "content": "And a list, user?"},
    {"role": "assistant", "content": "One that can. \u00e9\u00e0"},
]
TOOLS = [*CHAT[1:3], {"role": "tool", "content": '{"found": 3}'}, {"role": "assistant", "content": "Three."}]

CHATML = """{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{%- generation -%}{{- message.content + '<|im_end|>' -}}{%- endgeneration -%}
{{- '\\n' -}}
{%- else -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""
HEADERS = """{{- bos_token -}}
{%- if messages[0]['role'] == 'system' -%}
{%- set told = messages[0]['content'] | trim -%}{%- set rest = messages[1:] -%}
{%- else -%}{%- set told = '' -%}{%- set rest = messages -%}{%- endif -%}
{{- '<|im_start|>system<|pad|>\\n\\nToday is a day.\\n' + told + '<|im_end|>' -}}
{%- for m in rest -%}
{{- '<|im_start|>' + m['role'] + '<|pad|>\\n\\n' -}}
{%- if m['role'] == 'assistant' -%}
{%- generation -%}{{- m['content'] | trim + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}{{- m['content'] | trim + '<|im_end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant<|pad|>\\n\\n' -}}{%- endif -%}"""
INSTRUCTIONS = """{%- if messages[0].role == 'system' -%}
{%- set ns = namespace(told=messages[0].content + '\\n\\n') -%}{%- set rest = messages[1:] -%}
{%- else -%}{%- set ns = namespace(told='') -%}{%- set rest = messages -%}{%- endif -%}
{{- bos_token -}}
{%- for m in rest -%}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('Conversation roles must alternate user/assistant') -}}
{%- endif -%}
{%- if m.role == 'user' -%}{{- '[INST] ' + ns.told + m.content + ' [/INST]' -}}{%- set ns.told = '' -%}
{%- else -%}{%- generation -%}{{- ' ' + m.content + eos_token -}}{%- endgeneration -%}{%- endif -%}
{%- endfor -%}"""
TURNS = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for m in messages %}
{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}
{{ '<|im_start|>' + role + '\\n' }}
{%- if m['role'] == 'assistant' %}{% generation %}{{ m['content'] | trim }}{{ '<|im_end|>' }}{% endgeneration %}
{%- else %}{{ m['content'] | trim }}{{ '<|im_end|>' }}{% endif %}{{ '\\n' }}
{%- endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>model\\n' }}{% endif %}"""
TEMPLATES = {"ChatML": CHATML, "headers": HEADERS, "instructions": INSTRUCTIONS, "turns": TURNS}
WITHOUT_SYSTEM = {"turns": CHAT[1:]}


def unmarked(template: str) -> str:
    for tag in ("{%- generation -%}", "{%- endgeneration -%}", "{% generation %}", "{% endgeneration %}"):
        template = template.replace(tag, "")
    return template


def spaced() -> Tokenizer:
    """It puts a space before every text and, when it may, a BOS: as Llama 2's does."""
    letters = sorted(
        {c for m in (*CHAT, *TOOLS) for c in m["content"].replace(" ", "\u2581")} | set("[]/INSTuserantmodlyi:.\n")
    )
    special = [*tiny.CONTROL, "<unk>"]
    vocab = {token: i for i, token in enumerate(dict.fromkeys([*special, "\u2581", "\u2581A", "\u2581O", *letters]))}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[("\u2581", "A"), ("\u2581", "O")], unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Replace("\u2581", " ")
    made.add_special_tokens(special)
    made.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    return made


def lines() -> Tokenizer:
    """Line ends are never in one piece with what follows, as in Llama 3's."""
    made = tiny.tokenizer()
    pieces = pre_tokenizers.Split(Regex(r"\s*[\r\n]+| ?[^\s]+|\s+"), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(False, use_regex=False)])
    return made


TOKENIZERS = {"lines": lines(), "spaced": spaced()}


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tokenizers")
    for name, tokenizer in TOKENIZERS.items():
        tokenizer.save(str(folder / f"{name}.json"))
    return {
        name: transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / f"{name}.json"), **SPECIAL)
        for name in TOKENIZERS
    }


@pytest.mark.parametrize("turns", [2, 4])
@pytest.mark.parametrize("words", TOKENIZERS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_tokens_and_mask_are_those_of_transformers(
    name: str, words: str, turns: int, references: dict[str, Any]
) -> None:
    messages = CHAT[1 : 1 + turns] if name == "turns" else CHAT[: 1 + turns]
    theirs = references[words].apply_chat_template(
        messages, chat_template=TEMPLATES[name], return_dict=True, return_assistant_tokens_mask=True
    )
    ids, answer = encode(messages, TOKENIZERS[words], template=TEMPLATES[name])
    assert ids == theirs["input_ids"]
    assert [int(said) for said in answer] == theirs["assistant_masks"]
    assert ids.count(0) == (0 if name == "ChatML" else 1), "one BOS, where the template writes one"


@pytest.mark.parametrize("words", TOKENIZERS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_same_is_learned_where_a_template_marks_nothing(name: str, words: str) -> None:
    messages = WITHOUT_SYSTEM.get(name, CHAT)
    marked = encode(messages, TOKENIZERS[words], template=TEMPLATES[name])
    assert any(marked[1])
    assert encode(messages, TOKENIZERS[words], template=unmarked(TEMPLATES[name])) == marked


def test_tool_turns_are_told_to_the_model_and_not_learned() -> None:
    ids, answer = encode(TOOLS, TOKENIZERS["lines"], template=unmarked(CHATML))
    learned = TOKENIZERS["lines"].decode(
        [i for i, said in zip(ids, answer, strict=True) if said], skip_special_tokens=False
    )
    assert learned == "A sequence that\ncannot change.<|im_end|>Three.<|im_end|>"


THINKING = """{%- for m in messages -%}
{{- '<|im_start|>' + m.role + '\\n' -}}
{%- if m.role == 'assistant' and loop.last -%}{{- '<think></think>' -}}{%- endif -%}
{{- m.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""


@pytest.mark.parametrize(
    ("template", "messages", "reason"),
    [
        (INSTRUCTIONS, TOOLS, "Conversation roles must alternate user/assistant"),
        (TURNS, CHAT, "System role not supported"),
        (
            "{% for m in messages if m.role != 'tool' %}{{ m.content }}{% endfor %}",
            TOOLS,
            "leaves out messages[2], of role tool",
        ),
        (THINKING, CHAT, "marks no answer, and writes messages[2] otherwise"),
        ("{% for m in messages %}{{ m.contents.text }}{% endfor %}", CHAT, "has no attribute 'contents'"),
    ],
    ids=["alternate", "system", "tool", "unstable", "undefined"],
)
def test_a_row_that_a_template_cannot_write_is_named(
    template: str, messages: list[dict[str, str]], reason: str
) -> None:
    bad = encode_conversation(
        Conversation("a", messages, "r row 7"), TOKENIZERS["lines"], length=500, template=template
    )
    assert isinstance(bad, BadRow)
    assert str(bad).startswith("r row 7: the chat template fails: ")
    assert reason in str(bad)
    assert "{% generation %}" in bad.hint


def test_a_template_that_marks_no_answer_of_a_row_is_named() -> None:
    template = (
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if false %}{% generation %}{% endgeneration %}{% endif %}"
    )
    bad = encode_conversation(Conversation("a", CHAT, "r row 7"), TOKENIZERS["lines"], length=500, template=template)
    assert str(bad) == "r row 7: the chat template marks no answer"


def test_a_question_after_answers_that_are_written_otherwise_can_be_asked() -> None:
    assert render(CHAT[:4], template=THINKING, prompt=True)[-1].endswith("<|im_start|>assistant\n")


# -- harm -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for %}", "the chat template cannot be used"),
        ("{{ raise_exception('roles must alternate') }}", "the chat template fails: roles must alternate"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ cycler.__init__.__globals__.os.popen('true') }}", "unsafe"),
        ("{{ 'a' * 1000000000 }}", "more than 256 MB"),
        ("{{ messages | length * 'a' * 1000000000 }}", "more than 256 MB"),
        ("{{ 2 ** (2 ** (30 + messages | length)) }}", "more than 1 s"),
        ("{{ '%999999999d' % messages | length }}", "more than 256 MB"),
        ("{{ 'a'.ljust(1000000000) }}", "more than 256 MB"),
        ("{{ '{:>1000000000}'.format(1) }}", "more than 256 MB"),
        ("{{ 'a' | center(1000000000) }}", "more than 256 MB"),
        ("{% for i in range(99999999) %}a{% endfor %}", "the chat template fails"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "more than 1 s"),
        (
            "{% for i in range(9999) %}{% for j in range(999) %}aaaa{% endfor %}{% endfor %}",
            "makes more than 2,000,000",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{# " + "a" * 100_000 + " #}", "more than 100,000"),
        ("{{ strftime_now('%Y') }}", "undefined"),
        ("{% set n = namespace(s='a') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}{% endfor %}", "256 MB"),
        ("{% include '/etc/passwd' %}", "no loader"),
    ],
)
def test_a_template_can_do_no_harm(template: str, words: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with pytest.raises(InputError, match=words):
        render(CHAT, template=template)
    _renderer.cache_clear()  # ends the process, which is then counted
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_after_one_that_was_ended_another_is_rendered() -> None:
    slow = (
        "{% if messages | length > 3 %}{{ 2 ** (2 ** (30 + messages | length)) }}{% endif %}{{ messages[0].content }}"
    )
    for _ in range(2):
        assert render(CHAT[:1], template=slow) == ["You know Python."]
        with pytest.raises(InputError, match="more than 1 s"):
            render(CHAT, template=slow)


def test_the_process_sees_no_environment_and_ends_with_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process("{{ messages[0].content }}", {})
    child = process._child
    assert Path(f"/proc/{child.pid}/environ").read_bytes() == b""
    assert process.parts(CHAT[:1], prompt=False) == ["You know Python."]
    del process
    assert child.poll() is not None


def test_a_process_that_was_killed_is_said() -> None:
    process = Process("{{ messages[0].content }}", {})
    process._child.kill()
    with pytest.raises(Overrun, match="has ended"):
        process.parts(CHAT[:1], prompt=False)


def test_the_template_is_not_escaped_and_knows_json() -> None:
    messages = [{"role": "user", "content": "<a> & \u00e9"}]
    template = "{{ messages | tojson }}{{ 7 % 2 }}{{ messages[0].content }}{{ tools is none }}"
    (text,) = Renderer(template, {}).parts(messages, prompt=False)
    assert text == '[{"role": "user", "content": "<a> & \u00e9"}]1<a> & \u00e9True'
    assert not set(MARKS) & set(text)
