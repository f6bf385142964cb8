"""A corpus to token ids, a part at a time: which documents a tokenizer learns from, and what becomes of each."""

from __future__ import annotations

import multiprocessing
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as pq
from tokenizers import Tokenizer

from hornbook.text import bpe, shards
from hornbook.text.document import Document, held_out, order_key, write_documents
from hornbook.text.parts import Part

AT_A_TIME = 1_000_000
"""Characters that are encoded at a time."""
Keyed = list[list[int]]
"""[order key, UTF-8 bytes] of documents, in order."""


@dataclass(frozen=True)
class Choice:
    """Which documents are held out, and which a tokenizer learns from: each by its own id.

    The sample is the documents that are not held out, by a keyed hash, up to a size: those whose key is at most `last`.
    """

    seed: int
    fraction: float
    last: int = -1

    def split(self, id: str) -> str:
        return "valid" if held_out(id, fraction=self.fraction, seed=self.seed) else "train"

    def key(self, id: str) -> int:
        return order_key(id, seed=self.seed, purpose="tokenizer")

    def sampled(self, id: str) -> bool:
        return self.key(id) <= self.last and self.split(id) == "train"

    def first(self, part: Part, *, size: float) -> Keyed:
        """Keys and sizes of the documents of a part that may be in a sample of `size` bytes."""
        train = (document for document in part.documents() if self.split(document.id) == "train")
        return first([[self.key(document.id), len(document.text.encode())] for document in train], size=size)


def first(keyed: Keyed, *, size: float) -> Keyed:
    """The documents that come first, until `size` bytes are reached; one at least, if there is one."""
    keyed, total = sorted(keyed), 0.0
    for at, (_, bytes_) in enumerate(keyed):
        total += bytes_
        if total > size:
            return keyed[: max(at, 1)]
    return keyed


@dataclass
class Sampling:
    """Finds the last key of a sample, part by part, and never holds more than the sample's keys."""

    size: float
    keyed: Keyed = field(default_factory=list)
    total: int = 0

    def take(self, part: Keyed) -> None:
        """What `first` found in a part."""
        full = self.total > self.size
        new = part[: bisect_right(part, self.keyed[-1])] if full and self.keyed else part
        if new:
            self.keyed = first([*self.keyed, *new], size=self.size)
        self.total += sum(bytes_ for _, bytes_ in part)

    @property
    def last(self) -> int:
        return self.keyed[-1][0] if self.keyed else -1


def write_sample(part: Part, *, choice: Choice, folder: Path) -> str:
    """The documents of a part that are in the sample, as a file of its own; returns its name."""
    chosen = (document for document in part.documents() if choice.sampled(document.id))
    name = f"{part.number:05}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    write_documents(folder / name, chosen)
    return name


def read_texts(paths: Iterable[Path]) -> Iterator[str]:
    """The texts of files that `write_sample` wrote."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=128, columns=["text"]):
                yield from batch.column("text").to_pylist()


def held_out_texts(parts: Iterable[Part], choice: Choice, *, most: int) -> dict[str, list[str]]:
    """The first held-out texts by source, of about `most` characters in all."""
    found: dict[str, list[str]] = {}
    left = most
    for document in (document for part in parts for document in part.documents()):
        if left > 0 and choice.split(document.id) == "valid":
            found.setdefault(document.source, []).append(document.text)
            left -= len(document.text)
        elif left <= 0:
            break
    return found


@dataclass(frozen=True)
class Encoding:
    """How a part becomes tokens: the tokenizer's folder, and where what is made goes."""

    tokenizer: Path
    separator: int
    vocabulary: int
    choice: Choice
    out: Path

    def write(self, part: Part) -> dict[str, dict[str, int]]:
        """Write a part's shards and table; returns documents, bytes and tokens of each source."""
        if multiprocessing.parent_process() is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process a core already
        folder = self.folder(part.number)
        folder.mkdir(parents=True, exist_ok=True)
        told: dict[str, dict[str, int]] = {}
        rows = (_counted(row, told) for row in self._rows(part.documents()))
        shards.write(folder, rows, separator=self.separator, vocabulary=self.vocabulary)
        return told

    def folder(self, number: int) -> Path:
        return self.out / f"{number:05}"

    def _rows(self, documents: Iterable[Document]) -> Iterator[shards.Row]:
        for group in grouped(documents, AT_A_TIME):
            encoded = bpe.encode_texts(_loaded(self.tokenizer), [document.text for document in group])
            for document, tokens in zip(group, encoded, strict=True):
                yield shards.Row(
                    id=document.id,
                    source=document.source,
                    split=self.choice.split(document.id),
                    tokens=tokens,
                    bytes=len(document.text.encode()),
                    sampled=self.choice.sampled(document.id),
                )


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> Tokenizer:
    """A process has many parts to encode, and reads the tokenizer once."""
    return bpe.load(folder)


def _counted(row: shards.Row, told: dict[str, dict[str, int]]) -> shards.Row:
    cell = told.setdefault(row.source, {"documents": 0, "bytes": 0, "train_tokens": 0, "valid_tokens": 0})
    cell["documents"] += 1
    cell["bytes"] += row.bytes
    cell[f"{row.split}_tokens"] += len(row.tokens) + 1
    return row


def grouped(documents: Iterable[Document], characters: int) -> Iterator[list[Document]]:
    """Documents in groups of about so many characters, in their order."""
    group: list[Document] = []
    held = 0
    for document in documents:
        group.append(document)
        held += len(document.text)
        if held >= characters:
            yield group
            group, held = [], 0
    if group:
        yield group
