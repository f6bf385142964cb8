"""Does an answer do what it was told? Checks by rule, in the manner of IFEval (arXiv 2311.07911): no judge, no doubt.

A row is a prompt with `checks`, such as `[{"check": "words", "most": 50}, {"check": "without", "texts": [","]}]`. A
check is a function of the answer and its options; its name in `CHECKS` is what rows call it.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hornbook.errors import InputError
from hornbook.judge.metrics import Accuracy, accuracy

MANY = 10**9


def words(answer: str, *, least: int = 0, most: int = MANY) -> bool:
    """Words between white space."""
    return least <= len(answer.split()) <= most


def sentences(answer: str, *, least: int = 0, most: int = MANY) -> bool:
    """What ends with a full stop, a question or an exclamation mark before white space, or with the answer."""
    parts = [part for part in re.split(r"(?<=[.!?])\s+", answer.strip()) if part]
    return least <= len(parts) <= most


def paragraphs(answer: str, *, least: int = 0, most: int = MANY) -> bool:
    """Parted by empty lines."""
    parts = [part for part in re.split(r"\n\s*\n", answer) if part.strip()]
    return least <= len(parts) <= most


def bullets(answer: str, *, least: int = 0, most: int = MANY) -> bool:
    """Lines that begin with `*`, `-` or a bullet."""
    return least <= sum(bool(re.match(r"\s*[*\-\u2022] ", line)) for line in answer.splitlines()) <= most


def with_(answer: str, *, texts: list[str], times: int = 1) -> bool:
    """Each of them, so many times at least, in large or small letters."""
    return all(answer.lower().count(text.lower()) >= times for text in texts)


def without(answer: str, *, texts: list[str]) -> bool:
    """None of them, in large or small letters."""
    return not any(text.lower() in answer.lower() for text in texts)


def begins(answer: str, *, text: str) -> bool:
    return answer.strip().startswith(text)


def ends(answer: str, *, text: str) -> bool:
    return answer.strip().endswith(text)


def lowercase(answer: str) -> bool:
    return answer.lower() == answer


def uppercase(answer: str) -> bool:
    return answer.upper() == answer


def quoted(answer: str) -> bool:
    """The whole answer stands between double quotation marks."""
    text = answer.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def titled(answer: str) -> bool:
    """A title in double angle brackets: `<<the river>>`."""
    return bool(re.search(r"<<[^<>\n]*\S[^<>\n]*>>", answer))


def json_(answer: str) -> bool:
    """The whole answer is JSON; it may stand in a fence."""
    text = re.sub(r"\A```(?:json)?\n|\n?```\Z", "", answer.strip())
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def one_of(answer: str, *, texts: list[str]) -> bool:
    """One of them and nothing else, but for white space and a full stop."""
    return answer.strip().rstrip(".").strip() in texts


Check = Callable[..., bool]
_FUNCTIONS: tuple[Check, ...] = (
    words, sentences, paragraphs, bullets, with_, without, begins, ends, lowercase, uppercase, quoted, titled, json_,
    one_of,
)  # fmt: skip
CHECKS: dict[str, Check] = {function.__name__.rstrip("_"): function for function in _FUNCTIONS}


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that an answer must be: a check of `CHECKS` and its options."""

    check: str
    options: Mapping[str, Any]

    def met(self, answer: str) -> bool:
        """An answer without a word meets nothing: silence would pass whatever is forbidden."""
        return bool(answer.strip()) and CHECKS[self.check](answer, **self.options)


def read_checks(value: Any, *, where: str) -> tuple[Told, ...]:
    """The checks of a row.

    Raises:
        InputError: there is no such check, or it has no such option; named with the row and the key.
    """
    if not isinstance(value, list) or not value:
        raise InputError(f"{where}: checks is no list of checks", hint='checks = [{"check": "words", "most": 50}]')
    return tuple(_told(item, f"{where}: checks[{place}]") for place, item in enumerate(value))


def _told(item: Any, where: str) -> Told:
    options = dict(item) if isinstance(item, dict) else {}
    name = options.pop("check", None)
    if name not in CHECKS:
        raise InputError(f"{where}: check = {name!r} is not known", hint=f"known checks: {', '.join(CHECKS)}")
    parameters = list(inspect.signature(CHECKS[name]).parameters.values())[1:]
    for key in options:
        if key not in {parameter.name for parameter in parameters}:
            has = ", ".join(parameter.name for parameter in parameters) or "none"
            raise InputError(f"{where}: the check {name!r} has no option {key!r}", hint=f"its options: {has}")
    for parameter in parameters:
        _check_option(options, parameter, f"{where}.{parameter.name}")
    return Told(name, options)


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "str": (lambda value: isinstance(value, str) and value != "", "a text"),
    "list[str]": (
        lambda value: isinstance(value, list) and value != [] and all(isinstance(one, str) and one for one in value),
        "a list of texts",
    ),
}
"""By the annotation of an option: what its value must be, and in words."""


def _check_option(options: Mapping[str, Any], parameter: inspect.Parameter, where: str) -> None:
    holds, kind = _KINDS[str(parameter.annotation)]
    if parameter.name not in options:
        if parameter.default is parameter.empty:
            raise InputError(f"{where} is missing", hint=f"it is {kind}")
    elif not holds(options[parameter.name]):
        raise InputError(f"{where} = {options[parameter.name]!r} is not {kind}")


@dataclass(frozen=True, slots=True)
class Result:
    """How often everything that a prompt asked for was done, and each kind of thing."""

    prompts: Accuracy
    by_check: dict[str, Accuracy]


def instructions(told: Sequence[Sequence[Told]], answers: Sequence[str]) -> Result:
    """Answers to prompts beside what each was told.

    Raises:
        EmptyInput: there is no prompt.
    """
    met = [[(one.check, one.met(answer)) for one in all_] for all_, answer in zip(told, answers, strict=True)]
    kinds = sorted({check for row in met for check, _ in row})
    return Result(
        accuracy(all(good for _, good in row) for row in met),
        {kind: accuracy(good for row in met for check, good in row if check == kind) for kind in kinds},
    )
