"""Values of a foreign `config.json`, checked. Each raises InputError naming the key and the value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hornbook.errors import InputError

Config = Mapping[str, Any]


def whole(config: Config, key: str, where: str, *, default: int | None = None) -> int:
    value = _value(config, key, where, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{where}: {key} = {value!r} must be a whole number")
    return value


def number(config: Config, key: str, where: str, *, default: float | None = None) -> float:
    value = _value(config, key, where, default)
    if value is None or not positive(value):
        raise InputError(f"{where}: {key} = {value!r} must be a number above 0, below 1e30")
    return float(value)


def numbers(config: Config, key: str, where: str) -> tuple[float, ...]:
    values = _value(config, key, where, None)
    if not isinstance(values, list) or not all(map(positive, values)):
        raise InputError(f"{where}: {key} = {values!r} must be a list of numbers above 0, below 1e30")
    return tuple(map(float, values))


def _value(config: Config, key: str, where: str, default: Any) -> Any:
    if default is None and key not in config:
        raise InputError(f"{where} has no {key}", hint="a config as transformers' `save_pretrained` writes it is whole")
    value = config.get(key)
    return default if value is None else value


def positive(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 < value < 1e30


def flag(config: Config, key: str, where: str, *, default: bool = False) -> bool:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, bool):
        raise InputError(f"{where}: {key} = {value!r} must be true or false")
    return value
