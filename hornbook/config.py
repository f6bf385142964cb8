"""What a stage is told: frozen dataclasses, filled from a recipe's TOML with errors that name file, table and key."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from hornbook.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Takes:
    """Marks a config field that reads what another stage makes: `tokens: Annotated[Path, Takes("tokens")]`."""

    kind: str
    """What it must hold; "" for a run of any kind."""
    when_there: bool = False
    """In a recipe, an optional field is filled too where a table above makes its kind."""


@dataclass(frozen=True)
class Unhashed:
    """Marks a config field that cannot change the result, such as a number of workers."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Marks a config field whose number, or each of whose numbers, lies in a range: never infinite, never NaN."""

    least: float = -inf
    above: float = -inf
    most: float = inf
    below: float = inf

    def hold(self, value: float) -> bool:
        """Whether a number is in the range."""
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        words = {"at least": self.least, "more than": self.above, "at most": self.most, "less than": self.below}
        return " and ".join(f"{word} {bound:g}" for word, bound in words.items() if abs(bound) != inf) or "finite"


Count = Annotated[int, Bounds(least=1)]
Positive = Annotated[float, Bounds(above=0)]
NotNegative = Annotated[float, Bounds(least=0)]
Fraction = Annotated[float, Bounds(above=0, below=1)]
Probability = Annotated[float, Bounds(above=0, most=1)]


@typing.dataclass_transform(frozen_default=True)
def options(kind: type[T]) -> type[T]:
    """A frozen dataclass of a stage's options that adds to those of classes which others share.

    Its own come first, then those of the nearest class: dataclasses put what is inherited before what can be given
    without a name.
    """
    made = dataclass(frozen=True)(kind)
    fields: dict[str, dataclasses.Field[Any]] = made.__dataclass_fields__  # type: ignore[attr-defined]
    farthest_first = reversed(list(enumerate(kind.__mro__)))
    distance = {name: away for away, parent in farthest_first for name in inspect.get_annotations(parent)}
    ordered = sorted(fields, key=lambda name: (fields[name].kw_only, distance[name]))
    made.__dataclass_fields__ = {name: fields[name] for name in ordered}  # type: ignore[attr-defined]
    return made


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One command: its config, the function that does the work, and what it makes (None: it only talks)."""

    name: str
    config: type[Any]
    function: Callable[..., None]
    makes: str | None
    fingerprint: Callable[[Any], Any] | None = None
    """What of the world outside the config the result depends on, such as the files that a glob matches."""
    shared: bool = False
    """Whether the processes that torchrun starts do it together; else the first does, and the others wait."""

    @property
    def summary(self) -> str:
        return (self.config.__doc__ or "").strip().splitlines()[0]


def marks(config: Callable[..., Any], kind: type[Any]) -> dict[str, Any]:
    """The fields of a config that carry a mark of the given kind, anywhere in their type, with the mark."""
    hints = typing.get_type_hints(config, include_extras=True)
    return {name: mark for name, hint in hints.items() for mark in _marks(hint) if isinstance(mark, kind)}


def _marks(hint: Any) -> Iterator[Any]:
    yield from getattr(hint, "__metadata__", ())
    for part in get_args(hint):
        yield from _marks(part)


def check(config: Any, *, inside: str = "") -> Any:
    """The config, once its numbers are known to be in their bounds.

    Args:
        inside: names the table that the config is, such as `lora.`.

    Raises:
        UsageError: one is not.
    """
    check_numbers(type(config), vars(config), inside=inside)
    for name, value in vars(config).items():
        if dataclasses.is_dataclass(value):
            check(value, inside=f"{inside}{name}.")
    return config


def check_numbers(kind: Callable[..., Any], values: Mapping[str, Any], *, inside: str = "") -> None:
    """Check values for the fields of a config, or for the parameters of a function, against their bounds.

    Raises:
        UsageError: one is out of them.
    """
    for name, bounds in marks(kind, Bounds).items():
        for key, number in _numbers(values.get(name)):
            if number is not None and not bounds.hold(number):
                what = f"{inside}{name}.{key}" if key else f"{inside}{name}"
                raise UsageError(f"{what} is {number}; it must be {bounds}")


def _numbers(value: Any) -> Iterable[tuple[str, Any]]:
    """The numbers of a field, with their names where it holds several."""
    if isinstance(value, tuple):
        return ((str(place), number) for place, number in enumerate(value))
    return value.items() if isinstance(value, dict) else [("", value)]


def build(config: type[Any], values: Mapping[str, Any], *, where: str) -> Any:
    """A config from a table of plain values.

    Args:
        where: names the table in messages, such as `recipes/demo.toml: [pretrain]`.

    Raises:
        UsageError: a key that the config does not have, lacks, or whose value has the wrong type or is refused.
    """
    hints = {name: hint for name, hint in typing.get_type_hints(config).items() if hint is not dataclasses.KW_ONLY}
    for key in values:
        if key not in hints:
            raise UsageError(f'{where} has no key "{key}"', hint=_suggest(key, hints))
    for name in required(config):
        if name not in values:
            raise UsageError(f'{where} needs the key "{name}"', hint=f"{name} = {_example(hints[name])}")
    filled = {key: convert(value, hints[key], f'{where} key "{key}"') for key, value in values.items()}
    try:
        return check(config(**filled))
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from error


def required(config: type[Any]) -> list[str]:
    """Names of the fields without a default."""
    missing = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(config) if f.default is missing and f.default_factory is missing]


def plain(config: Any) -> dict[str, Any]:
    """A config as TOML-able values: paths as text, tuples as lists, absent values left out."""
    return {
        f.name: _plain(getattr(config, f.name))
        for f in dataclasses.fields(config)
        if getattr(config, f.name) is not None
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return plain(value) if dataclasses.is_dataclass(value) else value


def convert(value: Any, hint: Any, where: str) -> Any:
    """A plain value as the type that a hint asks for.

    Raises:
        UsageError: it is of another type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, where)
    if origin is Literal:
        if value not in arguments:
            raise UsageError(f"{where}: {value!r} is none of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        return tuple(convert(v, arguments[0], where) for v in _expect(value, (list, tuple), hint, where))
    if origin is dict:
        return {k: convert(v, arguments[1], where) for k, v in _expect(value, (dict,), hint, where).items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, _expect(value, (dict,), hint, where), where=where)
    return _convert_plain(value, hint, where)


def _convert_union(value: Any, options: tuple[Any, ...], where: str) -> Any:
    errors: list[UsageError] = []
    for option in options:
        if option is not type(None):
            try:
                return convert(value, option, where)
            except UsageError as error:
                errors.append(error)
    raise errors[0]


def _convert_plain(value: Any, hint: Any, where: str) -> Any:
    if hint is Any:
        return value
    if hint is Path:
        return Path(_expect(value, (str, Path), str, where))
    if hint is float:
        return float(_expect(value, (int, float), hint, where))
    return _expect(value, (hint,), hint, where)


def _expect(value: Any, kinds: tuple[type[Any], ...], hint: Any, where: str) -> Any:
    # bool is an int to Python, but never what a person means by a number.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise UsageError(
            f"{where} is {value!r}, which is {_type_name(type(value))}", hint=f"it takes {_type_name(hint)}"
        )
    return value


def _type_name(hint: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
        dict: "a table",
        list: "a list",
        tuple: "a list",
    }
    known = names.get(get_origin(hint) or hint)
    return known or ("a table" if dataclasses.is_dataclass(hint) else str(hint))


def _example(hint: Any) -> str:
    return {int: "1", float: "1.0", bool: "true"}.get(hint, '"..."')


def _suggest(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"it has: {', '.join(known)}"
