"""A corpus cut into parts that one task can do: stretches of its Parquet files, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hornbook.errors import InputError
from hornbook.text.document import Document, read_documents
from hornbook.text.files import one_line

PART = 16_000_000
"""Bytes that make a part, before compression; a larger row group is one by itself."""


@dataclass(frozen=True, slots=True)
class Part:
    """Row groups of files, one after another."""

    number: int
    spans: tuple[tuple[str, tuple[int, ...]], ...]
    """(file, its row groups)"""
    bytes: int

    def documents(self) -> Iterator[Document]:
        for path, groups in self.spans:
            yield from read_documents(Path(path), groups)


def cut(paths: Iterable[Path], *, size: int = PART) -> list[Part]:
    """Parts of about `size` bytes. How a corpus is cut decides who does what, never what is made.

    Raises:
        InputError: a file is not Parquet.
    """
    parts: list[Part] = []
    spans: dict[str, list[int]] = {}
    held = 0
    for path, group, bytes_ in _groups(paths):
        spans.setdefault(str(path), []).append(group)
        held += bytes_
        if held >= size:
            parts.append(_part(len(parts), spans, held))
            spans, held = {}, 0
    return [*parts, _part(len(parts), spans, held)] if spans else parts


def _part(number: int, spans: dict[str, list[int]], size: int) -> Part:
    return Part(number, tuple((path, tuple(groups)) for path, groups in spans.items()), size)


def _groups(paths: Iterable[Path]) -> Iterator[tuple[Path, int, int]]:
    for path in paths:
        try:
            metadata = pq.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: cannot be read as Parquet: {one_line(error)}") from error
        for group in range(metadata.num_row_groups):
            yield path, group, metadata.row_group(group).total_byte_size
