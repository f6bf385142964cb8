"""A small model of texts on disk: a folder with `config.json` and `model.safetensors`, checked when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hornbook.errors import InputError

CONFIG, WEIGHTS = "config.json", "model.safetensors"

Arrays = dict[str, NDArray[Any]]


def save(folder: Path, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a model; `config` has its `kind` and `name`, and its numbers. The same model gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(dict(config), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    save_file({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}, folder / WEIGHTS)


def kind_of(folder: Path) -> str:
    """The `kind` in a model's config.

    Raises:
        InputError: the folder holds no model.
    """
    return str(_config(folder)["kind"])


def load(folder: Path, kind: str, keys: Mapping[str, type], types: Mapping[str, str]) -> tuple[dict[str, Any], Arrays]:
    """The config and the arrays of a model.

    Args:
        keys: the config's keys besides `kind` and `name`, with their types.
        types: the arrays' names, with numpy's names of their types.

    Raises:
        InputError: not a model of this kind, or one of its files is not as `save` writes it.
    """
    config = _config(folder)
    if config["kind"] != kind:
        raise InputError(f"{folder / CONFIG}: kind is {config['kind']!r}", hint=f"a model of kind {kind!r} is needed")
    for key, wanted in {"name": str, **keys}.items():
        if not isinstance(config.get(key), wanted):
            raise InputError(f"{folder / CONFIG}: {key} is {config.get(key)!r}, not of type {wanted.__name__}")
    arrays = _arrays(folder / WEIGHTS)
    for name, wanted_type in types.items():
        _check(folder / WEIGHTS, name, arrays.get(name), wanted_type)
    return config, arrays


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"{folder} holds no model: it has no {CONFIG}", hint="`hornbook classify` makes such a folder")
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict) or "kind" not in config:
        raise InputError(f"{path} has no key kind", hint="`hornbook classify` makes such a file")
    return config


def _arrays(path: Path) -> Arrays:
    if not path.is_file():
        raise InputError(f"{path} is missing")
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _check(path: Path, name: str, array: NDArray[Any] | None, wanted: str) -> None:
    if array is None:
        raise InputError(f"{path} has no array {name}")
    if array.dtype != wanted:
        raise InputError(f"{path}: {name} is of type {array.dtype}, not {wanted}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{path}: {name} holds a number that is not finite")
