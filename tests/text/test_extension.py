# ruff: noqa: RUF001
from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from tokenizers.pre_tokenizers import ByteLevel

from hornbook.errors import EmptyInput, InputError
from hornbook.text import bpe
from hornbook.text.extension import extended, fertility, more_merges, new_pieces, word_counts

ENGLISH = ["The kettle is on the stove, and the stove is cold.", "Where is the lantern? In the barn, on the wall."] * 9
GREEK = ["Η θάλασσα είναι ήρεμη και ο ουρανός καθαρός.", "Ο δρόμος για τη θάλασσα περνά από τον ελαιώνα."] * 9
BASE = bpe.train(ENGLISH, vocabulary=320)


def sentencepiece(*, greek: bool) -> Tokenizer:
    """A tokenizer built as Llama 2's: no pre-tokenizer, spaces written out, bytes for what is unknown."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special, show_progress=False, max_token_length=6)
    made.train_from_iterator(ENGLISH + (GREEK if greek else []), trainer)
    data = json.loads(made.to_str())
    data["added_tokens"] = data["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(data))


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found


@pytest.mark.parametrize(
    "base", [BASE, sentencepiece(greek=False), sentencepiece(greek=True)], ids=["bytes", "sp", "sp2"]
)
def test_old_text_is_encoded_as_before_and_new_text_in_fewer_pieces(base: Tokenizer) -> None:
    larger = extended(base, GREEK, pieces=60)
    assert all(ids(larger, text) == ids(base, text) for text in ENGLISH)
    assert fertility(larger, GREEK) < 0.7 * fertility(base, GREEK)
    assert all(larger.decode(ids(larger, text)).strip() == text for text in GREEK)
    assert {t: larger.token_to_id(t) for t in base.get_vocab()} == base.get_vocab()
    again = Tokenizer.from_str(larger.to_str())
    assert again.get_vocab() == larger.get_vocab()
    assert [ids(again, text) for text in GREEK] == [ids(larger, text) for text in GREEK]


@pytest.mark.parametrize("base", [BASE, sentencepiece(greek=False)], ids=["bytes", "sp"])
def test_new_pieces_are_known_by_the_old_ones_that_spell_them(base: Tokenizer) -> None:
    larger = extended(base, GREEK, pieces=40)
    found = new_pieces(base, larger)
    assert found is not None
    assert list(found) == list(range(base.get_vocab_size(), base.get_vocab_size() + len(found)))
    for id, spelt in found.items():
        assert len(spelt) > 1
        assert base.decode(spelt) == larger.decode([id])
    assert new_pieces(base, base) == {}
    assert new_pieces(larger, base) is None
    assert new_pieces(sentencepiece(greek=True), larger) is None


def test_added_tokens_behind_the_vocabulary_keep_their_ids() -> None:
    base, size = Tokenizer.from_str(BASE.to_str()), BASE.get_vocab_size()
    base.add_special_tokens(["<tool>", "<think>"])
    larger = Tokenizer.from_str(extended(base, GREEK, pieces=30).to_str())
    assert [larger.token_to_id(token) for token in ("<tool>", "<think>")] == [size, size + 1]
    assert ids(larger, "a<tool>b")[1] == size
    assert larger.get_vocab_size() == size + 2 + 30


def test_merges_go_on_as_training_would() -> None:
    """Trained on the same words from the start, the reference makes the same merges in the same order."""
    words = word_counts(BASE, ENGLISH)
    alphabet = sorted(ByteLevel.alphabet())
    plain = {word: list(word) for word in words}
    ours = more_merges(plain, words, known=set(alphabet), most=40)
    counts = Counter(dict.fromkeys(ours, 0))
    made = {word: list(word) for word in words}
    for pair in ours:
        counts.clear()
        for word, pieces in made.items():
            for both in pairwise(pieces):
                counts[both] += words[word]
        assert counts[pair] == max(counts.values())
        for word, pieces in made.items():
            made[word] = _merged(pieces, pair)
    assert plain == made


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for piece in pieces:
        if out and (out[-1], piece) == pair:
            out[-1] += piece
        else:
            out.append(piece)
    return out


def test_what_cannot_be_extended_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind WordLevel cannot be extended"):
        extended(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), GREEK, pieces=5)
    with pytest.raises(EmptyInput, match="nothing to add"):
        extended(BASE, [], pieces=5)


def test_transformers_reads_it(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    larger = extended(BASE, GREEK, pieces=40)
    bpe.save(larger, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert [theirs(text)["input_ids"] for text in GREEK] == bpe.encode_texts(larger, GREEK)
