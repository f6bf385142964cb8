from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hornbook.text.document import Document
from hornbook.text.questions import LONGEST, Question, ask, minimal_pairs, rejected_answers, sentences

MANUAL = """module kitchen

boil(water, minutes=5)
Heat the water until it bubbles, and keep it so for
some minutes.

A second paragraph that is not taken.

class Oven(Appliance)
Methods defined here:
bake(self, bread) -> Bread
Bake the bread until its crust is brown and hard.
clean(self)
No.
Functions

fold(napkin)
Fold the napkin twice and lay it on the table.
"""


def document(text: str, title: str = "Pydoc: module kitchen") -> Document:
    return Document("1", text, "web", metadata={"title": title})


def test_definitions_are_asked_by_their_full_name() -> None:
    assert [(q.question, q.answer) for q in ask(document(MANUAL))] == [
        ("What does kitchen.boil do?", "Heat the water until it bubbles, and keep it so for some minutes."),
        ("What does kitchen.Oven.bake do?", "Bake the bread until its crust is brown and hard."),
        ("What does kitchen.fold do?", "Fold the napkin twice and lay it on the table."),
    ]


def test_a_page_without_definitions_is_asked_by_its_title() -> None:
    text = "Harbours\n\nA harbour is a place where ships lie safe from the sea.\n\nMore of it."
    (question,) = ask(document(text, "Harbours"))
    assert question.question == "What is Harbours?"
    assert question.answer == "A harbour is a place where ships lie safe from the sea."


def test_a_text_without_title_is_asked_how_it_goes_on() -> None:
    text = "The ships lay still in the harbour. Nobody spoke a word all night. In the morning the wind came up again."
    (question,) = ask(document(text, ""))
    assert question.kind == "continuation"
    assert question.question.endswith("The ships lay still in the harbour.")
    assert question.answer == "Nobody spoke a word all night."


def test_a_rejected_answer_is_another_one_of_like_length() -> None:
    questions = [Question(str(n), "k", f"q{n}", "x" * (20 * n) + str(n), "d") for n in range(1, 30)]
    rejected = rejected_answers(questions, seed=0)
    pairs = [(q.answer, answer) for q, answer in zip(questions, rejected, strict=True) if answer]
    assert len(pairs) == 14
    assert max(abs(len(one) - len(other)) for one, other in pairs) <= 40
    assert rejected_answers(questions[:1], seed=0) == [""]


def test_no_answer_is_chosen_here_and_rejected_there() -> None:
    questions = [Question(str(n), "k", f"q{n}", f"The {n % 25}th answer.", "d") for n in range(40)]
    pairs = [(q.answer, r) for q, r in zip(questions, rejected_answers(questions, seed=0), strict=True) if r]
    assert len(pairs) == 12
    assert len({answer for pair in pairs for answer in pair}) == 24


def test_minimal_pairs_hold_the_same_words() -> None:
    text = "The ships lay still in the old harbour. Nobody spoke a word all night long."
    pairs = minimal_pairs(document(text), seed=0)
    assert len(pairs) == 2
    for pair in pairs:
        assert pair.sentence_good != pair.sentence_bad
        assert sorted(pair.sentence_good.split()) == sorted(pair.sentence_bad.split())
        assert pair.sentence_good.split()[0] == pair.sentence_bad.split()[0]


@given(st.text(), st.text(max_size=30))
def test_any_text_can_be_asked(text: str, title: str) -> None:
    questions = ask(document(text, title))
    assert len({q.question for q in questions}) == len(questions)
    assert all(q.answer.strip() and len(q.answer) <= LONGEST + 200 for q in questions)
    minimal_pairs(document(text), seed=1)
    assert all(sentence[-1] in ".!?" for sentence in sentences(text))
