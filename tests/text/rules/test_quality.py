# ruff: noqa: RUF001
from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.errors import UsageError
from hornbook.text.document import Document
from hornbook.text.rules.quality import FILTERS, chosen

PROSE = """The old mill stands by the river, and its wheel has not turned since the flood of that spring.
Children of the village used to fish there, with rods that their fathers had cut from hazel.
Nobody remembers who built it. Some say a monk, others say that it was always there.
In the evening the swallows come back to their nests under the roof, and it is very quiet.
My grandmother told me that the miller kept a bear, but I think that she made this up to be kind."""

CHINESE = "我们今天去公园散步，天气很好。" * 9
MENU = "Home and garden and the shop"

Row = tuple[str, dict[str, Any], str, str, str]
ROWS: list[Row] = [
    (
        "language",
        {},
        PROSE,
        "Der alte Hund liegt vor dem Haus und schläft in der Sonne, bis es Abend wird.",
        "language: de",
    ),
    (
        "language",
        {"languages": ["de", "en"]},
        PROSE,
        "Le chien dort devant la maison et il attend le soir.",
        "language: fr",
    ),
    ("gopher_length", {}, PROSE, "Only three words.", "gopher_length: 3 words, fewer than 50"),
    ("gopher_length", {"max_words": 99}, PROSE, "word " * 100, "gopher_length: 100 words, more than 99"),
    ("gopher_word_length", {}, PROSE, "a b c d", "gopher_word_length: 1.0 characters a word, not 3 to 10"),
    ("gopher_word_length", {}, CHINESE, "", "gopher_word_length: 0.0"),
    ("gopher_symbols", {}, PROSE, "one # two # three", "gopher_symbols: 0.40 # a word, more than 0.1"),
    ("gopher_symbols", {}, PROSE, "well... you know… it is", "gopher_symbols: 0.29 ... a word"),
    ("gopher_bullets", {}, PROSE, "- one\n  - two\n• three", "gopher_bullets: 1.00 of the lines start with a bullet"),
    ("gopher_ellipses", {}, PROSE, "and so...\nit went… \non.", "gopher_ellipses: 0.67 of the lines end with an"),
    ("gopher_alphabetic", {}, PROSE, "1 2 3 four", "gopher_alphabetic: 0.25 of the words hold a letter, less than 0.8"),
    ("gopher_stop_words", {}, PROSE, "Buy now! The The best!", "gopher_stop_words: 0 of 8, fewer than 2"),
    ("gopher_stop_words", {"stop_words": ["und", "die"]}, "Tag und die Nacht", PROSE, "gopher_stop_words: 0 of"),
    ("gopher_repeated_lines", {}, PROSE, "same line\n" * 5, "gopher_repeated_lines: 0.67 of the lines repeat another"),
    (
        "gopher_repeated_lines",
        {"max_share": 0.9},
        PROSE,
        "same line\n" * 5,
        "gopher_repeated_lines: 0.72 of the characters are in repeated lines, more than 0.2",
    ),
    ("gopher_repeated_paragraphs", {}, PROSE, "a b\nc\n\n" * 4, "gopher_repeated_paragraphs: 0.75 of the paragraphs"),
    ("gopher_top_ngrams", {}, PROSE, "big sale " * 9, "gopher_top_ngrams: 0.89 of the text is one 2-gram, more"),
    (
        "gopher_repeated_ngrams",
        {},
        PROSE,
        f"{PROSE}\n{PROSE}",
        "gopher_repeated_ngrams: 0.40 of the text is in repeated 5-grams",
    ),
    ("c4_terminal_punctuation", {}, PROSE, "Home\nAbout\nThe end.", "c4_terminal_punctuation: 0.33 of the lines"),
    ("c4_sentences", {}, PROSE, "One is here. Two is here!", "c4_sentences: 2, fewer than 5"),
    ("c4_sentences", {"min_sentences": 2}, PROSE, "One is here. Or two\nThe end.", "c4_sentences: 0, fewer than 2"),
    ("c4_sentences", {"terminal_punctuation": False, "min_sentences": 2}, "So it is. Or not", "", "c4_sentences: 0"),
    ("c4_lorem_ipsum", {}, f"{PROSE}\nLorem ipsum", "Lorem ipsum dolor sit amet.", "c4_lorem_ipsum: holds"),
    ("c4_curly_bracket", {}, f"{PROSE}\n{{x}}", "Thus if (x) { y }.", "c4_curly_bracket: holds '{'"),
    ("c4_curly_bracket", {"terminal_punctuation": False}, PROSE, "a { b c", "c4_curly_bracket: holds '{'"),
    ("c4_javascript", {}, PROSE, "Please enable Javascript.", "c4_javascript: 1 lines speak of JavaScript"),
    ("c4_policy", {"max_lines": 0}, PROSE, "See our privacy policy.", "c4_policy: 1 lines speak of terms, privacy or"),
    ("fineweb_line_punctuation", {}, PROSE, "Home\nAbout", "fineweb_line_punctuation: 0.00 of the lines"),
    ("fineweb_short_lines", {}, PROSE, "Home\nAbout", "fineweb_short_lines: 1.00 of the lines have at most 30"),
    ("fineweb_short_lines", {"short": 4}, "Hello\nthere", "Home\nRun", "fineweb_short_lines: 1.00 of the lines have"),
    ("fineweb_duplicate_lines", {}, PROSE, f"{PROSE}\nSo.\nSo.\nSo.", "fineweb_duplicate_lines: 0.013 of"),
    ("fineweb_duplicate_lines", {"after_c4": True}, f"{PROSE}\n{MENU}\n{MENU}", f"{PROSE}\n{PROSE}", "fineweb_"),
    (
        "fineweb_duplicate_lines",
        {"after_c4": True, "terminal_punctuation": False},
        PROSE,
        f"{PROSE}\n{MENU}\n{MENU}",
        "fineweb_duplicate_lines: 0.0",
    ),
    ("fineweb_new_lines", {}, PROSE, "one\ntwo\nthree\n", "fineweb_new_lines: 1.00 line feeds a word, more than 0.3"),
    ("abuse", {}, PROSE, "You are a pathetic idiot, and I hope that you die.", "abuse: "),
    ("personal_data", {"kinds": ["email"]}, PROSE, "Write to jo@example.org.", "personal_data: "),
]


@pytest.mark.parametrize(("name", "options", "good", "bad", "reason"), ROWS)
def test_filter(name: str, options: dict[str, Any], good: str, bad: str, reason: str) -> None:
    (check,) = chosen({name: options})
    assert check(Document("1", good, "s")) is None
    told = check(Document("2", bad, "s"))
    assert told is not None
    assert told.startswith(reason)


def test_every_filter_has_a_row() -> None:
    assert {row[0] for row in ROWS} == {function.__name__ for function in FILTERS}


@settings(max_examples=60)
@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("a b.\n\n#{…-")), max_size=400))
def test_no_filter_fails_or_changes_a_text(text: str) -> None:
    for check, function in zip(chosen({f.__name__: {} for f in FILTERS}), FILTERS, strict=True):
        document = Document("1", text, "s")
        reason = check(document)
        assert document.text == text
        assert reason is None or re.match(rf"{function.__name__}: .", reason)


def test_the_first_objection_in_the_order_of_the_table_is_given() -> None:
    texts = PROSE, "Too few.", "Lorem ipsum it is.", PROSE
    documents = [Document(str(at), text, "s") for at, text in enumerate(texts)]
    rules = chosen({"c4_lorem_ipsum": {}, "language": {"cutoff": 2000}, "gopher_length": {}}, extra=[third])
    reasons = rules(documents)
    rules_named = [reason and reason.partition(":")[0] for reason in reasons]
    assert rules_named == [None, "gopher_length", "c4_lorem_ipsum", "third"]
    assert reasons == [rules.one(document) for document in documents]
    assert rules([]) == []


def third(document: Document) -> str | None:
    return "third: its number" if document.id == "3" else None


def test_a_text_without_spaces_has_words() -> None:
    rules = chosen({"gopher_length": {}, "gopher_word_length": {}, "fineweb_new_lines": {}})
    assert rules.one(Document("1", CHINESE.replace("。", "。\n"), "s")) is None


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        ({"gopher_lenght": {}}, 'there is no filter "gopher_lenght"', "gopher_length"),
        (
            {"gopher_length": {"min": 3}},
            'filter gopher_length has no option "min"',
            "its options: min_words, max_words",
        ),
        (
            {"gopher_length": {"min_words": "three"}},
            "filter gopher_length: min_words is 'three'",
            "it should be like 50",
        ),
        ({"gopher_length": {"min_words": 3.5}}, "filter gopher_length: min_words is 3.5", "it should be like 50"),
        ({"gopher_symbols": {"max_ratio": True}}, "filter gopher_symbols: max_ratio is True", "it should be like 0.1"),
        (
            {"c4_lorem_ipsum": {"x": 1}},
            'filter c4_lorem_ipsum has no option "x"',
            "its options: terminal_punctuation",
        ),
        (
            {"c4_sentences": {"terminal_punctuation": "no"}},
            "filter c4_sentences: terminal_punctuation is 'no'",
            "it should be like True",
        ),
    ],
)
def test_a_wrong_table_is_an_error_that_names_it(table: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(table)
    assert message == caught.value.message
    assert hint in caught.value.hint


def test_options_may_come_from_the_command_line_as_text() -> None:
    (check,) = chosen({"gopher_length": {"min_words": "3"}})
    assert check(Document("1", "one two", "s")) == "gopher_length: 2 words, fewer than 3"
    (check,) = chosen({"c4_sentences": {"terminal_punctuation": "false", "min_sentences": "1"}})
    assert check(Document("1", "So it is now", "s")) is None
    (check,) = chosen({"gopher_symbols": {"max_ratio": 1}})
    assert check(Document("1", "# one # two", "s")) is None
