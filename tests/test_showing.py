from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.learn.chat import encode_conversation
from hornbook.learn.faults import BadRow
from hornbook.learn.rows import Conversation, read_conversations
from hornbook.manifest import Input
from hornbook.report import render_conversations
from hornbook.text import bpe
from hornbook.training.showing import Kind, pieces, print_shown, read_shown
from tests.learn import tiny

BYTES = tiny.tokenizer()
ANSWER = "<script>alert('\u202e')</script> \u00e9 \U0001f600"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bpe.save(bpe.train(["a b"], vocabulary=270), tmp_path)
    rows = [
        {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": answer}]}
        for answer in (ANSWER, "Short.", "A long answer, " * 9)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"messages": []}]))
    return tmp_path


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
def test_the_pieces_of_any_text_are_the_text(text: str) -> None:
    ids = BYTES.encode(text, add_special_tokens=False).ids
    made = pieces(BYTES, ids, ["trained"] * len(ids))
    assert "".join(piece.text for piece in made) == text
    assert [token for piece in made for token in piece.ids] == ids


def test_a_character_cut_in_the_middle_is_shown_as_what_is_there() -> None:
    ids = BYTES.encode("\U0001f600", add_special_tokens=False).ids
    kinds: list[Kind] = ["trained", "trained", "cut", "cut"]
    made = pieces(BYTES, ids, kinds)
    assert [piece.kind for piece in made] == ["trained", "cut"]
    assert [token for piece in made for token in piece.ids] == ids


def test_what_is_shown_as_trained_on_is_what_sft_trains_on(folder: Path) -> None:
    path, tokenizer = folder / "rows.jsonl", bpe.load(folder)
    shown = read_shown(path, Input(folder), length=90, first=0, samples=10)
    rows = [row for row in read_conversations(path) if isinstance(row, Conversation)]
    examples = [encode_conversation(row, tokenizer, length=90) for row in rows]
    for sample, example in zip(shown.samples, examples, strict=True):
        assert not isinstance(example, BadRow)
        kinds = [piece.kind for piece in sample.pieces for _ in piece.ids]
        ids = np.array([token for piece in sample.pieces for token in piece.ids])
        assert ids[np.array(kinds) == "trained"].tolist() == example.tokens[example.answer].tolist()
        assert kinds.count("cut") == example.cut
    assert (shown.conversations, len(shown.bad), shown.rows_cut) == (3, 1, 1)
    assert shown.tokens_cut == shown.samples[2].count("cut") > 0


def test_some_of_them(folder: Path) -> None:
    shown = read_shown(folder / "rows.jsonl", Input(folder), length=90, first=1, samples=1)
    assert [sample.where for sample in shown.samples] == ["rows.jsonl row 2"]
    assert shown.conversations == 3


def test_the_page_marks_them_and_runs_nothing(folder: Path) -> None:
    page = render_conversations(read_shown(folder / "rows.jsonl", Input(folder), length=90, first=0, samples=3))
    assert "<script" not in page
    assert "\u202e" not in page
    first = page.split("<h2>")[1]
    trained = "".join(map(unescape, re.findall(r'<span class="t"[^>]*>(.*?)</span>', first, re.DOTALL)))
    assert trained == ANSWER.replace("\u202e", "") + "<|im_end|>"
    assert "messages = []" in page


def test_a_terminal_sees_no_control_characters(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_shown(read_shown(folder / "rows.jsonl", Input(folder), length=90, first=0, samples=3), first=0)
    out = capsys.readouterr().out
    assert not re.search("[\x1b\u202e]", out)
    assert "\u27e6Short.<|im_end|>\u27e7" in out
    assert "\u27e8" in out
