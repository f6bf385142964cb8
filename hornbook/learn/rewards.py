"""Verifiable rewards: pure functions of what a model said and of what is known of the question.

A reward is `(completion, question, *, options) -> float`, and its name a row of `REWARDS`. Completions are plain text,
without the tokens that end them. None of these asks a model; a reward model is one more reward, of the stages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

import re2

from hornbook.errors import InputError, UsageError
from hornbook.learn.sandbox import all_pass


class Asked(Protocol):
    """What a reward may know of a question."""

    @property
    def answer(self) -> str | None: ...
    @property
    def columns(self) -> Mapping[str, Any]: ...
    @property
    def where(self) -> str: ...


Score = Callable[[Sequence[str], Sequence[Asked]], list[float]]
"""The rewards of many completions, each with its question."""

# -- answers ----------------------------------------------------------------------------------------------------------

MARK = "####"
"""What stands before the final answer in GSM8K (arXiv 2110.14168)."""
_NUMBERS = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")


def gsm8k(completion: str, question: Asked) -> float:
    """1 where the final number is the right one: the one behind the last `####`, without one the last of the text."""
    return float(final_number(completion) == _number(question))


def _number(question: Asked) -> Decimal:
    right = final_number(_answer(question))
    if right is None:
        raise InputError(f"{question.where}: answer = {question.answer!r} holds no number", hint='"answer": "#### 72"')
    return right


def final_number(text: str) -> Decimal | None:
    """`#### $1,234.50.` is 1234.5; None where there is no number."""
    _, marked, behind = text.rpartition(MARK)
    found = _NUMBERS.findall(behind if marked else text)
    if not found:
        return None
    # Behind the mark the first number is meant: the answer comes before what a model goes on to say.
    try:
        return Decimal((found[0] if marked else found[-1]).replace(",", ""))
    except InvalidOperation:
        return None


def exact(completion: str, question: Asked) -> float:
    """1 where the completion is the answer, whatever its white space and case."""
    return float(_plain(completion) == _plain(_answer(question)))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _answer(question: Asked) -> str:
    if question.answer is None:
        raise InputError(
            f"{question.where}: there is no answer to compare with", hint='{"question": "...", "answer": "..."}'
        )
    return question.answer


def regex(completion: str, question: Asked, *, pattern: str) -> float:
    """1 where the pattern (RE2: its time is linear) is found; a group in it must, at its last place, be the answer."""
    found = re2.compile(pattern)
    matches = list(found.finditer(completion))
    if not matches or not found.groups:
        return float(bool(matches))
    return float(_plain(matches[-1].group(1) or "") == _plain(_answer(question)))


# -- form -------------------------------------------------------------------------------------------------------------


def length(completion: str, question: Asked, *, target: int) -> float:
    """0 at `target` characters, falling to -1 at none and at twice as many: -min(1, |n - target| / target)."""
    return -min(1.0, abs(len(completion) - target) / target)


def form(completion: str, question: Asked, *, tags: Sequence[str]) -> float:
    """1 where all of it is `<tag>...</tag>` for each tag once and in order, with white space between."""
    rest = completion
    for tag in tags:
        opening, closing = f"<{tag}>", f"</{tag}>"
        if completion.count(opening) != 1 or completion.count(closing) != 1:
            return 0.0
        before, _, rest = rest.partition(opening)
        if before.strip() or closing not in rest:
            return 0.0
        rest = rest.partition(closing)[2]
    return float(not rest.strip())


# -- programs ---------------------------------------------------------------------------------------------------------

_FENCED = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


def python(completions: Sequence[str], questions: Sequence[Asked]) -> list[float]:
    """1 where the program in the completion passes the tests of the row's `tests`, run by `sandbox`."""
    pairs = [(program(c), _tests(q)) for c, q in zip(completions, questions, strict=True)]
    return [float(passed) for passed in all_pass(pairs)]


def program(completion: str) -> str:
    """What stands in the last fence; without one, all of it."""
    fenced = _FENCED.findall(completion)
    return str(fenced[-1]) if fenced else completion


def _tests(question: Asked) -> str:
    tests = question.columns.get("tests")
    if isinstance(tests, list) and tests and all(isinstance(test, str) for test in tests):
        return "\n".join(tests)
    if isinstance(tests, str) and tests.strip():
        return tests
    raise InputError(f"{question.where}: tests = {tests!r} is no Python", hint='"tests": ["assert add(1, 2) == 3"]')


# -- the table --------------------------------------------------------------------------------------------------------

REWARDS: dict[str, Callable[..., Any]] = {
    "gsm8k": gsm8k,
    "exact": exact,
    "regex": regex,
    "length": length,
    "format": form,
    "python": python,
}
OPTIONS = {"regex": "pattern", "length": "target", "format": "tags"}
"""The option that a reward cannot do without."""
WHOLE = ("python",)
"""Those that judge many completions at a time."""


NEEDED: dict[str, Callable[[Asked], object]] = {"gsm8k": _number, "exact": _answer, "python": _tests}
"""What a reward reads of the row, so that a row without it is found before anything is learned."""


def named(name: str, **options: Any) -> Score:
    """A reward of the table, with its option.

    Raises:
        UsageError: there is none of that name, its option is missing, or its pattern is no RE2.
    """
    if name not in REWARDS:
        raise UsageError(f"there is no reward {name!r}", hint=f"rewards: {', '.join(REWARDS)}")
    needed = OPTIONS.get(name)
    if needed and not options.get(needed):
        raise UsageError(f"the reward {name!r} needs {needed!r}", hint=f"{needed} = {_EXAMPLES[needed]}")
    given = {needed: options[needed]} if needed else {}
    if name == "regex":
        check_pattern(given["pattern"])
    judge = REWARDS[name]
    if name in WHOLE:
        return judge
    return lambda completions, questions: [judge(c, q, **given) for c, q in zip(completions, questions, strict=True)]


_EXAMPLES = {"pattern": r"'####\s*(-?\d+)'", "target": "200", "tags": '["think", "answer"]'}


def check_pattern(pattern: str) -> None:
    """That a pattern is RE2, which knows no backreferences and no looking around.

    Raises:
        UsageError: it is not.
    """
    try:
        re2.compile(pattern)
    except re2.error as error:
        said = error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]
        raise UsageError(f"pattern = {pattern!r} is not a pattern: {said}", hint="patterns are RE2's") from error


@dataclass(frozen=True)
class Judged:
    """What one completion earned."""

    total: float
    """The weighted sum."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """By reward, before the weights."""


def judge(
    rewards: Mapping[str, tuple[float, Score]], completions: Sequence[str], questions: Sequence[Asked]
) -> list[Judged]:
    """Each completion's rewards, given (weight, reward) by name."""
    columns = {name: score(completions, questions) for name, (_, score) in rewards.items()}
    rows = [{name: column[at] for name, column in columns.items()} for at in range(len(completions))]
    return [Judged(sum(rewards[name][0] * value for name, value in row.items()), row) for row in rows]
