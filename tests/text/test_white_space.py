from __future__ import annotations

import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.text.white_space import count_words

WHITE = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
NEARLY = ["\u200b", "\ufeff", "\u180e", "\u2060", "\u1681", "\u3001", "\x00", "\x1b"]
ODD = [*WHITE, *NEARLY, "e\u0301", "👩‍👩‍👧", "语", "ש", "a", "b."]


@given(text=st.lists(st.sampled_from(ODD) | st.text(max_size=5)).map("".join))
@settings(max_examples=300)
def test_words_are_those_of_split(text: str) -> None:
    assert count_words(text.encode("utf-8", "replace")) == len(text.encode("utf-8", "replace").decode().split())


def test_every_character_alone() -> None:
    for code in [*range(0x3100), 0xFEFF, 0xFFFF, 0x1F600]:
        if not 0xD800 <= code < 0xE000:
            text = f"a{chr(code)}b{chr(code)}"
            assert count_words(text.encode()) == len(text.split()), hex(code)


def test_a_cut_character_at_the_end_is_no_space() -> None:
    for data in (b"a \xc2", b"a \xe2", b"a \xe2\x80", b"a \xe3\x80"):
        assert count_words(data) == 2
