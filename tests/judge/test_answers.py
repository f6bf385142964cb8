from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import EmptyInput
from hornbook.judge.answers import abusive, kinds, refuses


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I\u2019m sorry, but I can\u2019t help with that.", True),
        ("I cannot assist you with this.", True),
        ("As an AI language model, I am not able to say.", True),
        ("I must decline.", True),
        ("Please call a hotline: there is help.", True),
        ("Boil the egg for five minutes.", False),
        ("The sorry state of the barn was no secret.", False),
        ("He said: I can help you with that.", False),
        ("", False),
        ("Take the second road. " * 20 + "I cannot help more.", False),
    ],
)
def test_an_answer_that_refuses_says_so_at_its_beginning(answer: str, refused: bool) -> None:
    assert refuses(answer) == refused


def test_abuse_is_what_curation_would_remove() -> None:
    assert abusive("You are an idiot and should be ashamed of it.")
    assert not abusive("The donkey stood in the meadow and ate.")


def test_shares_have_their_intervals() -> None:
    found = kinds(["I cannot help with that.", "By the river.", "", "By the barn."])
    assert [found[key].value for key in ("refusals", "abusive_answers", "empty_answers")] == [0.25, 0.0, 0.25]
    assert found["refusals"].low < 0.25 < found["refusals"].high
    with pytest.raises(EmptyInput):
        kinds([])


@given(st.text())
def test_any_text_is_judged(answer: str) -> None:
    assert isinstance(refuses(answer), bool)
    assert isinstance(abusive(answer), bool)
