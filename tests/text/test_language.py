# ruff: noqa: RUF001 (languages have their own letters)

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from hornbook.text.document import Document
from hornbook.text.language import identify, language, paragraphs

ENGLISH = (
    "The children went down to the river in the morning, and when they came home their shoes were wet. "
    "Their grandmother was not angry, because they had brought her a basket that was full of ripe plums."
)
GERMAN = (
    "Die Kinder gingen am Morgen zum Fluss hinunter, und als sie nach Hause kamen, waren ihre Schuhe nass. "
    "Ihre Großmutter war ihnen nicht böse, denn sie hatten ihr einen Korb voll reifer Pflaumen mitgebracht."
)
RUSSIAN = "Дети утром пошли к реке, а когда вернулись домой, их ботинки были мокрыми. Бабушка не сердилась на них."


@pytest.mark.parametrize(
    ("text", "expected"),
    [(ENGLISH, "en"), (GERMAN, "de"), (RUSSIAN, "ru"), (ENGLISH.upper(), "en"), (GERMAN.upper(), "de")],
)
def test_the_language_is_found_in_any_case_and_form(text: str, expected: str) -> None:
    for form in ("NFC", "NFD"):
        assert identify(unicodedata.normalize(form, text))[0] == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Καλημέρα", "el"),
        ("สวัสดี", "th"),
        ("你好，世界！", "zh"),
        ("東京へ行く", "ja"),
        ("안녕하세요", "ko"),
        ("გამარჯობა ABC", "ka"),
    ],
)
def test_a_script_of_one_language_says_which_it_is_however_short_the_text(text: str, expected: str) -> None:
    assert identify(text) == (expected, 0)
    assert language(Document("", text, ""), languages=(expected,)) is None


@pytest.mark.parametrize("text", ["", " \n", "12345 !!! 67", "😀😀😀"])
def test_a_text_without_letters_has_no_language(text: str) -> None:
    assert identify(text) == ("unknown", 0)
    assert paragraphs(text) == []


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        (ENGLISH, {}, None),
        (GERMAN, {}, "language: de (rank N), not en"),
        (GERMAN, {"languages": ("en", "de")}, None),
        (GERMAN, {"languages": ("en", "fr")}, "language: de (rank N), not en or fr"),
        (GERMAN, {"languages": {"en": 1200, "de": 1200}}, None),
        (GERMAN, {"languages": {"en": 1200, "de": 5}}, "language: de (rank N), above 5"),
        (ENGLISH, {"cutoff": 5}, "language: en (rank N), above 5"),
        ("", {}, "language: unknown (rank N), not en"),
        (f"{ENGLISH}\n{ENGLISH}\n{GERMAN}", {"min_share": 0.6}, None),
        (f"{ENGLISH}\n{ENGLISH}\n{GERMAN}", {"min_share": 0.8}, "language: 0.66 of the text is en, less than 0.8"),
    ],
)
def test_the_filter(text: str, options: dict[str, Any], reason: str | None) -> None:
    found = language(Document("", text, ""), **options)
    if reason and found and "rank" in reason:
        found = f"{found.partition('(rank')[0]}(rank N){found.partition(')')[2]}"
    assert found == reason


def test_paragraphs_have_languages_and_their_bytes() -> None:
    assert paragraphs(f"{ENGLISH}\n\n{GERMAN}\n12 34\n") == [("en", len(ENGLISH)), ("de", len(GERMAN.encode()))]


def test_short_paragraphs_are_judged_together() -> None:
    lines = ENGLISH.replace(", ", ",\n").replace(". ", ".\n")
    assert paragraphs(lines) == [("en", len(lines))]
    assert paragraphs(f"{ENGLISH}\nShort.") == [("en", len(ENGLISH) + 7)]
    assert paragraphs("Short.") == [("unknown", 6)]
