from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from hornbook.config import Takes, Unhashed, build, marks, plain
from hornbook.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Inner:
    r: int = 8


@dataclass(frozen=True, kw_only=True)
class Example:
    """An example."""

    tokens: Annotated[Path, Takes("tokens")]
    depth: int = 4
    rate: float = 0.1
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    weights: dict[str, float] | None = None
    inner: Inner | None = None
    workers: Annotated[int, Unhashed()] = 1

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth is {self.depth}; it must be at least 1")


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
    ],
)
def test_what_is_wrong_is_named(table: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(Example, table, where="r: [t]")
    assert (caught.value.message, caught.value.hint) == (message, hint)
