"""Datasets of the Hugging Face hub, brought onto this machine as one Parquet file each."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hornbook.errors import InputError, MissingExtra, UsageError

_NAME = re.compile(r"([\w.-]+/[\w.-]+?)(?::([\w.-]+))?")


def is_dataset(path: Path) -> bool:
    """Whether a path that is not there reads like the name of a dataset: `owner/name` or `owner/name:split`."""
    return _NAME.fullmatch(str(path)) is not None and not path.parent.exists()


def fetched(path: Path) -> Path:
    """The Parquet file of a dataset's split, made in the cache of `datasets` unless it is there.

    Raises:
        MissingExtra: the package `datasets` is not installed.
        InputError: there is no such dataset, or it cannot be fetched.
        UsageError: it has several splits, and the path names none of them.
    """
    found = _NAME.fullmatch(str(path))
    assert found is not None
    name, split = found.groups()
    try:
        import datasets
    except ImportError:
        raise MissingExtra(f"there is no file {path}, and the dataset of that name", extra="hub") from None
    try:
        splits = datasets.load_dataset(name)
    except Exception as error:  # the hub, the network and each builder raise errors of their own libraries
        why = " ".join(str(error).split())[:200]
        hint = "is the name right, and is there a network?"
        raise InputError(f"there is no file {path}, and no dataset could be fetched: {why}", hint=hint) from error
    if split is None and len(splits) == 1:
        (split,) = splits
    if split not in splits:
        named = " or ".join(f"{name}:{one}" for one in splits)
        raise UsageError(f"the dataset {name} has {len(splits)} splits, none of them {split or 'named'}", hint=named)
    return _written(splits[split], Path(datasets.config.HF_DATASETS_CACHE), name=f"{name}:{split}")


def _written(rows: Any, cache: Path, *, name: str) -> Path:
    """The rows as a file that is named by what is in it, so that a dataset that changes is another file."""
    made: Path = cache / "hornbook" / rows._fingerprint / f"{name.replace('/', '--').replace(':', '--')}.parquet"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        temporary = made.with_suffix(f".{os.getpid()}.tmp")
        rows.to_parquet(str(temporary))
        os.replace(temporary, made)
    return made
