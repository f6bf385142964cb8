from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from hornbook.errors import InputError
from hornbook.text import bpe

TEXTS = [
    "The kettle is on the stove, and the stove is cold.",
    "A kettle! Naïve café, 東京, 🎉.",
    "    indented\n\n\ttext",
]
TOKENIZER = bpe.train(TEXTS * 20, vocabulary=320)


@given(st.text())
def test_every_text_comes_back(text: str) -> None:
    (ids,) = bpe.encode_texts(TOKENIZER, [text])
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("token", bpe.SPECIAL)
def test_text_never_turns_into_a_control_token(token: str) -> None:
    (ids,) = bpe.encode_texts(TOKENIZER, [f"before {token} after"])
    assert TOKENIZER.token_to_id(token) not in ids
    assert TOKENIZER.encode(token, add_special_tokens=False).ids == [TOKENIZER.token_to_id(token)], "but a template may"


def test_control_tokens_come_first_and_padding_is_no_end() -> None:
    assert [TOKENIZER.token_to_id(token) for token in bpe.SPECIAL] == [0, 1, 2, 3]
    assert bpe.PAD != bpe.END_OF_TEXT


def test_the_same_texts_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        bpe.save(bpe.train(TEXTS * 20, vocabulary=320), tmp_path / name)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_transformers_reads_it(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    bpe.save(TOKENIZER, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert [theirs(text)["input_ids"] for text in TEXTS] == bpe.encode_texts(TOKENIZER, TEXTS)
    assert (theirs.eos_token, theirs.pad_token) == (bpe.END_OF_TEXT, bpe.PAD)


def test_what_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        bpe.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(InputError, match="is not a tokenizer"):
        bpe.load(tmp_path)
    with pytest.raises(InputError, match="a vocabulary of 200 is too small"):
        bpe.train(TEXTS, vocabulary=200)


def test_the_end_of_a_text_is_what_the_folder_names(tmp_path: Path) -> None:
    assert bpe.separator_id(TOKENIZER, tmp_path) == 0
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|im_end|>"}}')
    assert bpe.separator_id(TOKENIZER, tmp_path) == 2
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(InputError, match="no token to end a text with"):
        bpe.separator_id(Tokenizer.from_str(TOKENIZER.to_str()), tmp_path)
