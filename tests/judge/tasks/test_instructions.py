from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import EmptyInput, InputError
from hornbook.judge.tasks.instructions import CHECKS, instructions, read_checks

ROWS: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"check": "words", "most": 3}, ["By the river.", "Yes"], ["It stands by the river."]),
    ({"check": "words", "least": 2, "most": 3}, ["two words"], ["one", "these are four words"]),
    ({"check": "sentences", "least": 2, "most": 2}, ["One. Two!", "Is it? It is"], ["One.", "One. Two. Three."]),
    ({"check": "paragraphs", "least": 2}, ["one\n\ntwo", "one\n \ntwo\n\n\nthree"], ["one\ntwo"]),
    ({"check": "bullets", "least": 2, "most": 2}, ["* a\n* b", "- a\n  - b"], ["* a", "a\nb", "- a\n- b\n- c"]),
    ({"check": "with", "texts": ["river", "barn"]}, ["River and Barn"], ["river"]),
    ({"check": "with", "texts": ["oak"], "times": 2}, ["oak, OAK"], ["an oak"]),
    ({"check": "without", "texts": [",", "moss"]}, ["no commas"], ["one, two", "Moss"]),
    ({"check": "begins", "text": "Well:"}, [" Well: yes"], ["well: yes", "Oh. Well: yes"]),
    ({"check": "ends", "text": "Is that all?"}, ["No. Is that all?\n"], ["Is that all? No."]),
    ({"check": "lowercase"}, ["all small, 3"], ["Not all"]),
    ({"check": "uppercase"}, ["ALL LARGE, 3"], ["NOT all"]),
    ({"check": "quoted"}, ['"so"', ' "so" '], ["so", '"so', '"']),
    ({"check": "titled"}, ["<<The river>>\nIt flows."], ["<The river>", "<< >>", "<<>>"]),
    ({"check": "json"}, ['{"a": 1}', "```json\n[1, 2]\n```"], ["{a: 1}", "so: {}"]),
    ({"check": "one_of", "texts": ["yes", "no"]}, ["yes", " no. "], ["Yes", "yes and no"]),
]


@pytest.mark.parametrize(("row", "good", "bad"), ROWS, ids=[str(row[0]) for row in ROWS])
def test_a_check_tells_what_is_as_told_from_what_is_not(row: dict[str, Any], good: list[str], bad: list[str]) -> None:
    (told,) = read_checks([row], where="r")
    assert [answer for answer in [*good, *bad] if told.met(answer)] == good
    assert not told.met(" \n")


def test_every_check_has_a_row() -> None:
    assert {row["check"] for row, _, _ in ROWS} == set(CHECKS)


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        ([], "r: checks is no list of checks"),
        ("words", "r: checks is no list of checks"),
        (["words"], r"r: checks\[0\]: check = None is not known"),
        ([{"check": "word"}], r"r: checks\[0\]: check = 'word' is not known"),
        ([{"check": "words", "max": 3}], r"r: checks\[0\]: the check 'words' has no option 'max'"),
        ([{"check": "lowercase", "most": 3}], "the check 'lowercase' has no option 'most'"),
        ([{"check": "words", "most": "3"}], r"r: checks\[0\].most = '3' is not a whole number"),
        ([{"check": "words", "most": True}], r"r: checks\[0\].most = True is not a whole number"),
        ([{"check": "quoted"}, {"check": "begins"}], r"r: checks\[1\].text is missing"),
        ([{"check": "with", "texts": []}], r"r: checks\[0\].texts = \[\] is not a list of texts"),
    ],
)
def test_what_is_wrong_with_a_check_is_named(checks: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_checks(checks, where="r")


def test_a_prompt_is_followed_when_all_its_checks_are_met() -> None:
    told = [
        read_checks([{"check": "words", "most": 2}, {"check": "lowercase"}], where="r"),
        read_checks([{"check": "lowercase"}], where="r"),
    ]
    found = instructions(told, ["Too large", "small"])
    assert found.prompts.value == 0.5
    assert {name: one.value for name, one in found.by_check.items()} == {"lowercase": 0.5, "words": 1.0}
    assert found.by_check["lowercase"].count == 2
    with pytest.raises(EmptyInput):
        instructions([], [])


@given(st.text(), st.sampled_from([row for row, _, _ in ROWS]))
def test_any_answer_is_checked(answer: str, row: dict[str, Any]) -> None:
    (told,) = read_checks([row], where="r")
    assert isinstance(told.met(answer), bool)
