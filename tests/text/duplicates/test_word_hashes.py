from __future__ import annotations

from collections.abc import Iterator
from unicodedata import ucd_3_2_0 as unicode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.text.duplicates.word_hashes import MULTIPLIER, encoded, folding, hash_words, place_words, spacing

ALL = 2**64
TEXTS = st.text(
    st.one_of(
        st.sampled_from("aB1 \n.,-'\u2019“é\u0301\u00ad\u200d٣Ωñß中のｶไ\u0e31กက一😀𠀀\U0001d49c"),
        st.sampled_from("\u00a0\u3000\u2028\0\1\2\x1f\ufeff\ud800İǅ가"),
        st.characters(),
    )
)


def plain_words(text: str, numbers: bool) -> Iterator[str]:
    """The words of a text, as `folding` says, letter by letter."""
    word = ""
    for character in text.encode("utf-8", "replace").decode():
        kind = unicode.category(character) if character < "\U00010000" else "Lo"
        if kind in ("Mn", "Me", "Cf") or character == "\u00ad":
            continue
        over = (kind[0] not in "LMN" and kind != "Cn") or 0x1F000 <= ord(character) <= 0x1FAFF
        if over or unspaced(character):
            yield word
            word = ""
        if over:
            continue
        if unspaced(character):
            yield "\n" + folded(character, kind, numbers)
        elif not (numbers and kind == "Nd" and word.endswith("\2")):
            word += folded(character, kind, numbers)
    yield word


def unspaced(character: str) -> bool:
    blocks = "\u0e00\u0eff\u1000\u109f\u1780\u17ff\u3040\u30ff\u3400\u9fff\uf900\ufaff\U00020000\U0010ffff"
    letter = unicode.category(character)[0] in "LMNC" and unicode.category(character) != "Nd"
    return letter and any(first <= character <= last for first, last in zip(blocks[::2], blocks[1::2], strict=True))


def folded(character: str, kind: str, numbers: bool) -> str:
    if ord(character) > 0xFFFF:
        return character
    if kind == "Nd":
        return "\2" if numbers else str(unicode.digit(character))
    plain = [mark for mark in unicode.normalize("NFD", character.lower()) if unicode.category(mark) not in ("Mn", "Me")]
    return plain[0] if len(plain) == 1 else character


def plain_hash(word: str) -> int:
    value, alone = 0, word.startswith("\n")
    for letter in word.removeprefix("\n"):
        value = (value * int(MULTIPLIER) + (ord(letter) | alone << 31)) % ALL
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD % ALL
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 % ALL
    return value ^ value >> 33


@pytest.mark.parametrize("numbers", [True, False])
@given(text=TEXTS)
def test_words_are_those_of_the_rule_in_plain_python(text: str, numbers: bool) -> None:
    words = [word for word in plain_words(text, numbers) if word]
    assert hash_words(encoded(text), folding(numbers=numbers)).tolist() == [plain_hash(word) for word in words]


@given(TEXTS)
def test_words_between_spaces_are_those_of_split(text: str) -> None:
    data = encoded(text)
    hashes, starts, ends = place_words(data, spacing())
    words = [data[start:end].tobytes().decode() for start, end in zip(starts, ends, strict=True)]
    assert words == data.tobytes().decode().split()
    assert len(set(hashes.tolist())) >= len(set(words)) - len({word for word in words if min(word) < "\3"})


@given(TEXTS)
def test_a_word_is_where_it_is_said_to_be(text: str) -> None:
    data, table = encoded(text), folding(numbers=False)
    hashes, starts, ends = place_words(data, table)
    assert hashes.tolist() == hash_words(data, table).tolist()
    for value, start, end in zip(hashes.tolist(), starts, ends, strict=True):
        assert hash_words(data[start:end], table).tolist() == [value]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Don\u2019t STOP", "don't stop", True),
        ("Crème brûlée", "creme brule\u0301e", True),
        ("in 1999", "in 2024", True),
        ("3.14", "2", False),
        ("soft\u00adware", "software", True),
        ("今日は", "今 日 は", True),
        ("ΑΘΗΝΑ", "αθηνα", True),
        ("a b", "ab", False),
        ("fun 😀", "fun", True),
    ],
)
def test_what_makes_no_difference(one: str, other: str, same: bool) -> None:
    found = [hash_words(encoded(text), folding(numbers=True)).tolist() for text in (one, other)]
    assert (found[0] == found[1]) is same


def test_a_long_line_and_no_text() -> None:
    assert len(hash_words(encoded("word " * 100_000), spacing())) == 100_000
    assert len(hash_words(encoded("x" * 1_000_000), spacing())) == 1
    assert hash_words(np.empty(0, np.uint8), spacing()).tolist() == []
