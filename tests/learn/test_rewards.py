from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import InputError, UsageError
from hornbook.learn.rewards import final_number, judge, named, program


@dataclass(frozen=True)
class Row:
    answer: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    where: str = "rows.jsonl row 1"


def earned(name: str, completion: str, row: Row, **options: Any) -> float:
    return named(name, **options)([completion], [row])[0]


SOLVED = Row("She sold 48/2 = <<48/2=24>>24 in May.\n#### 1,234")
ROWS: list[tuple[str, str, Row, dict[str, Any], float]] = [
    ("gsm8k", "So 1,200 + 34.\n#### 1234", SOLVED, {}, 1),
    ("gsm8k", "#### $1,234.00.", SOLVED, {}, 1),
    ("gsm8k", "That makes 1234.", SOLVED, {}, 1),
    ("gsm8k", "#### 1234 clips, of 5000", SOLVED, {}, 1),
    ("gsm8k", "#### 1\n#### 1234", SOLVED, {}, 1),
    ("gsm8k", "1234\n#### 7", SOLVED, {}, 0),
    ("gsm8k", "1234 ####", SOLVED, {}, 0),
    ("gsm8k", "no number", SOLVED, {}, 0),
    ("gsm8k", "-1234", SOLVED, {}, 0),
    ("gsm8k", "It is -734", Row("-734"), {}, 1),
    ("gsm8k", ".5", Row("#### 0.50"), {}, 1),
    ("exact", " Paris\n", Row("paris"), {}, 1),
    ("exact", "Paris, France", Row("Paris"), {}, 0),
    ("regex", "yes", Row(), {"pattern": "^yes$"}, 1),
    ("regex", "oh yes", Row(), {"pattern": "^yes$"}, 0),
    ("regex", "answer: 3, answer: 4", Row("4"), {"pattern": r"answer: (\d)"}, 1),
    ("regex", "answer: 4, answer: 3", Row("4"), {"pattern": r"answer: (\d)"}, 0),
    ("regex", "nothing", Row("4"), {"pattern": r"answer: (\d)"}, 0),
    ("regex", "b", Row("4"), {"pattern": r"(a)|b"}, 0),
    ("length", "x" * 10, Row(), {"target": 10}, 0),
    ("length", "x" * 15, Row(), {"target": 10}, -0.5),
    ("length", "x" * 5, Row(), {"target": 10}, -0.5),
    ("length", "x" * 100, Row(), {"target": 10}, -1),
    ("length", "", Row(), {"target": 10}, -1),
    ("format", "<think>a</think>\n<answer>b</answer>\n", Row(), {"tags": ["think", "answer"]}, 1),
    ("format", "<answer>b</answer><think>a</think>", Row(), {"tags": ["think", "answer"]}, 0),
    ("format", "<think>a</think> so <answer>b</answer>", Row(), {"tags": ["think", "answer"]}, 0),
    ("format", "<think>a</think><answer>b</answer> more", Row(), {"tags": ["think", "answer"]}, 0),
    ("format", "<think>a<answer>b</answer></think>", Row(), {"tags": ["think", "answer"]}, 0),
    ("format", "<think>a</think><think>a</think><answer>b</answer>", Row(), {"tags": ["think", "answer"]}, 0),
    ("format", "<think>a", Row(), {"tags": ["think"]}, 0),
    ("format", "", Row(), {"tags": ["think"]}, 0),
    ("python", "```python\ndef f(x): return 2 * x\n```", Row(columns={"tests": ["assert f(2) == 4"]}), {}, 1),
    ("python", "def f(x): return 3 * x", Row(columns={"tests": "assert f(2) == 4"}), {}, 0),
]


@pytest.mark.parametrize(("name", "completion", "row", "options", "reward"), ROWS)
def test_what_a_completion_earns(name: str, completion: str, row: Row, options: dict[str, Any], reward: float) -> None:
    assert earned(name, completion, row, **options) == reward


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "#### {}", "#### {}.", "= ${}", "{} ####\n#### {}"]))
def test_a_number_is_itself_however_it_is_written(number: int, written: str) -> None:
    for text in (f"{number}", f"{number:,}", f"{number}.00"):
        if not (written == "= ${}" and number < 0):
            assert final_number(written.replace("{}", text)) == Decimal(number)


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    final_number(text)
    assert earned("exact", text, Row(text)) == 1
    assert -1 <= earned("length", text, Row(), target=3) <= 0
    assert earned("format", f"<a>{text.replace('<', '')}</a>", Row(), tags=["a"]) == 1


def test_a_pattern_is_linear_in_what_it_reads() -> None:
    began = time.monotonic()
    assert earned("regex", "a" * 50_000 + "b", Row(), pattern="^(?:a+)+$") == 0
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("completion", "held"),
    [("x = 1", "x = 1"), ("a\n```py\nx\n```\n```\ny\n```", "y\n"), ("```python\nunfinished", "unfinished")],
)
def test_the_program_in_a_completion(completion: str, held: str) -> None:
    assert program(completion) == held


def test_rewards_are_summed_by_weight() -> None:
    rewards = {"exact": (1.0, named("exact")), "length": (0.5, named("length", target=4))}
    judged = judge(rewards, ["four", "two", "fours"], [Row("four"), Row("two"), Row("four")])
    assert [each.total for each in judged] == [1.0, 1 - 0.125, -0.125]
    assert judged[1].parts == {"exact": 1.0, "length": -0.25}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gsm9k", {}, "there is no reward 'gsm9k'"),
        ("regex", {}, "the reward 'regex' needs 'pattern'"),
        ("format", {"tags": ()}, "the reward 'format' needs 'tags'"),
        ("regex", {"pattern": r"(a)\1"}, "is not a pattern: invalid escape"),
    ],
)
def test_a_reward_that_cannot_be(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        named(name, **options)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("gsm8k", Row("none"), "rows.jsonl row 1: answer = 'none' holds no number"),
        ("exact", Row(), "rows.jsonl row 1: there is no answer to compare with"),
        ("python", Row(), "rows.jsonl row 1: tests = None is no Python"),
    ],
)
def test_a_row_that_cannot_be_judged(name: str, row: Row, message: str) -> None:
    with pytest.raises(InputError, match=message):
        earned(name, "1", row)
