from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from hornbook.config import Bounds, Count, NotNegative, Takes, Unhashed, build, check, marks, plain
from hornbook.errors import UsageError
from hornbook.stages import NAMES, load


@dataclass(frozen=True, kw_only=True)
class Inner:
    r: Count = 8


@dataclass(frozen=True, kw_only=True)
class Example:
    """An example."""

    tokens: Annotated[Path, Takes("tokens")]
    depth: Count | None = 4
    rate: Annotated[float, Bounds(least=0, below=2)] = 0.1
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    weights: dict[str, NotNegative] | None = None
    inner: Inner | None = None
    workers: Annotated[int, Unhashed()] = 1


def test_a_table_becomes_a_config_and_back() -> None:
    table = {"tokens": "runs/x", "depth": 2, "rate": 1, "names": ["n"], "weights": {"a": 2}, "inner": {"r": 4}}
    config = build(Example, table, where="recipe: [example]")
    assert config == Example(
        tokens=Path("runs/x"), depth=2, rate=1.0, names=("n",), weights={"a": 2.0}, inner=Inner(r=4)
    )
    assert build(Example, plain(config), where="recipe: [example]") == config


def test_marks_name_the_fields_that_carry_them() -> None:
    assert marks(Example, Takes) == {"tokens": Takes("tokens")}
    assert marks(Example, Unhashed) == {"workers": Unhashed()}
    assert list(marks(Example, Bounds)) == ["depth", "rate", "weights"]


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        ({"tokens": "x", "dept": 2}, 'r: [t] has no key "dept"', 'did you mean "depth"?'),
        ({"depth": 2}, 'r: [t] needs the key "tokens"', 'tokens = "..."'),
        (
            {"tokens": "x", "depth": "four"},
            "r: [t] key \"depth\" is 'four', which is a text",
            "it takes a whole number",
        ),
        (
            {"tokens": "x", "depth": True},
            'r: [t] key "depth" is True, which is true or false',
            "it takes a whole number",
        ),
        ({"tokens": "x", "depth": 1.5}, 'r: [t] key "depth" is 1.5, which is a number', "it takes a whole number"),
        ({"tokens": "x", "kind": "c"}, "r: [t] key \"kind\": 'c' is none of 'a', 'b'", ""),
        ({"tokens": "x", "names": "n"}, "r: [t] key \"names\" is 'n', which is a text", "it takes a list"),
        ({"tokens": "x", "inner": {"rank": 1}}, 'r: [t] key "inner" has no key "rank"', "it has: r"),
        ({"tokens": "x", "depth": 0}, "r: [t]: depth is 0; it must be at least 1", ""),
        ({"tokens": "x", "rate": 2}, "r: [t]: rate is 2.0; it must be at least 0 and less than 2", ""),
        ({"tokens": "x", "rate": nan}, "r: [t]: rate is nan; it must be at least 0 and less than 2", ""),
        ({"tokens": "x", "weights": {"a": inf}}, "r: [t]: weights.a is inf; it must be at least 0", ""),
        ({"tokens": "x", "inner": {"r": 0}}, 'r: [t] key "inner": r is 0; it must be at least 1', ""),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(Example, table, where="r: [t]")
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize("name", NAMES)
def test_no_mark_is_a_class_that_nobody_finds(name: str) -> None:
    assert marks(load(name).config, type) == {}


def test_a_config_that_was_made_otherwise_is_checked_too() -> None:
    config = Example(tokens=Path("x"), depth=None, inner=Inner(r=1))
    assert check(config) is config
    with pytest.raises(UsageError, match=r"^inner\.r is 0; it must be at least 1$"):
        check(Example(tokens=Path("x"), inner=Inner(r=0)))
