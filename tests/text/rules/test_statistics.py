# ruff: noqa: RUF001
from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.text.rules import characters, exceptions, words
from hornbook.text.rules.c4 import c4_lines
from hornbook.text.rules.statistics import statistics
from tests.text.rules import plain_rules

DATA = Path(os.environ.get("HORNBOOK_DATA", Path(__file__).parents[4] / "shared" / "data"))

PIECES = (
    *("the", "of", "be", "don't", "Mr.", "a.m.", "8", "10", "5km", "U.S.", "D", "xD", "he's", "can", "not", "and/or"),
    *("é", ".", "..", "...", "…", "……", ",", ":", ";", ")", "(", "-", "--", "—", "–", "~", "+", "*", "^", "/", "="),
    *("<", "$", "US$", "°F.", "'", "’s", '"', "”", "#", "_", "@", "http://", "www.", "foo.com", "!", "?", "[1]"),
    *("[edit]", "[", "]", "{", "javascript", "lorem", "ipsum", "uses", "use", "cookies", "coo\u212aies", "privacy"),
    *("policy", "[citation needed]", "•", "Жук", "中文", "。", "，", "😀", "🥲", "👩\u200d👩", "e\u0301", "한국"),
    *("ไทย", "\x00", "\x1b", "ǅ", " ", " ", " ", " ", "  ", "\n", "\n", "\n\n", "\r\n", "\t", "\x0b", "\x85", "\u2028"),
    *("\u00a0", "\u3000", "\x1c"),
)
pieces = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
anything = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=120)


@settings(max_examples=150)
@given(st.one_of(pieces, anything))
def test_the_kernel_counts_what_plain_python_counts(text: str) -> None:
    assert statistics([text])[0]._asdict() == plain_rules.statistics(text)._asdict()


REPEATED = "One two three four five six seven eight nine ten. "
ODD = {
    "empty": "",
    "only line feeds": "\n\n\n",
    "one line feed": "\n",
    "only spaces": " \t \u3000 ",
    "lines of spaces": " \n  \n \n\t\n" * 9,
    "NUL": "\x00 a\x00b \x00\n",
    "a long word": "x" * 5000 + " end. of it",
    "a long line": "word, " * 4000,
    "marks": "(" * 400 + ")" * 400 + "." * 401,
    "words without end": "a-b" * 700 + " e.g.x:y" * 30,
    "citations": "It is so.[1][2] And[citation needed] so.[edit]\n[3] Two words [4].\nIt is so.[5] And[6] so.",
    "repeated lines": "A line of its own, which is here.\n" * 7 + "\n\n" + "Another one. And more!\n\n" * 4,
    "repeated n-grams": REPEATED * 3 + "Else. " + REPEATED,
    "one n-gram": "a " * 300,
    "emoji": "Nice 😀😀 day👍🏽! 🇩🇪 👨‍👩‍👧 ok🥲🥲",
    "combining marks": "e\u0301a\u0308 " * 20 + "\u0301\u0302\u0303",
    "Chinese": "我们今天去公园散步，天气很好。你呢？" * 9,
    "Thai": "วันนี้อากาศดีมาก เราไปเดินเล่นกัน " * 9,
    "Arabic": "ذهبنا اليوم إلى الحديقة. كان الجو جميلا؟ " * 9,
    "Windows": "One line here.\r\nAnd one more line.\r\rAnd the last.\x0bNo?\x0c\x85\u2028",
    "C4": "Please enable JavaScript now.\nWe use\ncookies here. We use cookies here.\nThe code is { here }.\n" * 2,
    "beyond the tables": "\U000e0041\U000e0042 \U0010fffd. \U00020000\U0002f800 a\U0001f9e0b",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_texts(name: str) -> None:
    assert statistics([ODD[name]])[0]._asdict() == plain_rules.statistics(ODD[name])._asdict()


def test_neither_company_nor_order_matters() -> None:
    texts = [*ODD.values(), *reversed(ODD.values())]
    together = statistics(texts)
    assert together == [statistics([text])[0] for text in texts]
    assert together[: len(ODD)] == together[len(ODD) :][::-1]


def test_lone_surrogates_are_characters() -> None:
    found = statistics(["a\ud800b \udfff c"])[0]
    assert (found.characters, found.words) == (7, 3)
    assert c4_lines("It is \ud800 so.\nNo") == ("It is \ud800 so.", {"no_terminal_punctuation": 1})


def test_options_say_what_is_counted() -> None:
    found = statistics(["Der Hund und die Katze\nschlafen."], stop_words=("und", "die", "oder"), short=9)[0]
    assert (found.stop_words, found.short_lines) == (2, 1)


def test_threads_do_not_disturb_each_other() -> None:
    texts, results = list(ODD.values()) * 20, dict[int, object]()

    def work(number: int) -> None:
        results[number] = statistics(texts)

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result == results[0] for result in results.values())


WORDS = [
    ("don't", "do n't"),
    ("well-known", "well - known"),
    ("(U.S.A.),", "( U.S.A. ) ,"),
    ("$1,000.50", "$ 1,000.50"),
    ("foo...bar", "foo ... bar"),
    ("5km/h", "5 km/h"),
    ("10pm.", "10 pm ."),
    ("(8)", "( 8)"),
    ("they’ll", "they ’ll"),
    ("me@e-mail.org", "me@e-mail.org"),
    ("https://a-b.org/x-y?z", "https://a-b.org/x-y?z"),
    ("end.Next", "end . Next"),
    ("cannot", "can not"),
    ("Mr.", "Mr."),
    ("C++.", "C++ ."),
    ("either/or", "either / or"),
    ("no.”", "no . ”"),
    ("1990-1995", "1990 - 1995"),
    ("中文。", "中文 。"),
]


@pytest.mark.parametrize(("chunk", "expected"), WORDS)
def test_words(chunk: str, expected: str) -> None:
    codes = np.array(list(map(ord, chunk)), np.int32)
    ends, room = np.zeros(len(chunk) + 2, np.int32), np.zeros(len(chunk) + 2, np.int32)
    count = words.divide(codes, characters.kinds()[codes], len(chunk), *exceptions.tables(), ends, room)
    starts = [0, *ends[: count - 1]]
    found = [chunk[start:end] for start, end in zip(starts, ends[:count], strict=True)]
    assert found == expected.split(" ") == plain_rules.words_of_chunk(chunk)


def test_hashes_are_those_of_the_kernel() -> None:
    for word in ("", "a", "don’t", "中文", "😀"):
        assert words.hash_codes(np.array(list(map(ord, word)), np.int32), 0, len(word)) == exceptions.hashed(word)


def plain_c4_lines(text: str, *, terminal: bool) -> str:
    return "\n".join(plain_rules.c4(text, terminal)[3]).strip()


@settings(max_examples=60)
@given(pieces, st.booleans())
def test_c4_lines_leaves_what_plain_python_leaves(text: str, terminal: bool) -> None:
    if "{" not in text and "ipsum" not in text.lower():  # these are against the document, not the line
        assert c4_lines(text, terminal_punctuation=terminal)[0] == plain_c4_lines(text, terminal=terminal)


def test_c4_lines_counts_what_it_drops() -> None:
    text = "It is so.[1]\nMenu\nToo few.\nWe use cookies here.\nTurn on JavaScript now.\nWait for it...\n\n"
    text += "x" * 1001 + " a b."
    left, dropped = c4_lines(text)
    assert left == "It is so."
    assert dropped == {
        "long_word": 1,
        "no_terminal_punctuation": 2,
        "few_words": 1,
        "javascript": 1,
        "policy": 1,
        "citations": 1,
    }
    kept = c4_lines(text, min_words=1, max_word=9999, terminal_punctuation=False, citations=False, policy=False)
    assert kept[0].splitlines()[:3] == ["It is so.[1]", "Menu", "Too few."]
    assert kept[1] == {"javascript": 1}


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data in {DATA} (HORNBOOK_DATA)")
def test_real_texts() -> None:
    with gzip.open(DATA / "quality" / "dclm_human_quality.jsonl.gz", "rt", encoding="utf-8") as stream:
        texts = [json.loads(line)["text"] for line, _ in zip(stream, range(60), strict=False)]
    for text, found in zip(texts, statistics(texts), strict=True):
        assert found._asdict() == plain_rules.statistics(text)._asdict()
