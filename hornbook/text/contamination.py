"""Decontamination: documents that share runs of words with evaluation sets (Brown et al. 2020, appendix C).

Case, accents and punctuation make no difference. A text of an evaluation set counts with all its runs of `n` words; one
of fewer words counts as a whole, unless it has fewer than SHORTEST, which many a page says by chance. A run of numbers
only does not count.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hornbook.errors import InputError
from hornbook.text.document import Document
from hornbook.text.duplicates.word_hashes import (
    ONE,
    Hashes,
    Places,
    encoded,
    folding,
    hash_runs,
    hash_words,
    place_words,
)
from hornbook.text.files import Place, kind_of, one_line, open_bytes

SHORTEST = 8
"""Words that a text of an evaluation set has at least, to count."""
SEAM = "\0"
"""What stands in a text between parts that do not follow each other, a question and its choices."""
NO_RUNS = np.empty(0, np.uint64)
BITS_A_RUN = 16
"""Size of the filter that tells nearly all runs of a document to be in no evaluation set, without a search."""


@dataclass(frozen=True)
class Overlap:
    """A run of words that a text shares with an evaluation set."""

    task: str
    words: str


@dataclass(frozen=True, eq=False)
class Index:
    """The runs of words of evaluation sets, as hashes."""

    n: int
    tasks: dict[str, dict[str, int]]
    """Of each task how many `texts` it has, how many of them were `too_short` to count, and its `runs`."""
    lengths: tuple[int, ...]
    """Numbers of words that runs have."""
    heads: Hashes
    """The first SHORTEST words (or n) of all runs, sorted, each once."""
    runs: Hashes
    """All runs, sorted; a run of several tasks is there for each."""
    owners: NDArray[np.uint16]
    """The task of each run, by its place in `tasks`."""

    @classmethod
    def build(cls, tasks: Mapping[str, Iterable[str]], *, n: int = 13) -> Index:
        """Read the texts of each task; no run goes over a SEAM in a text."""
        counts, lengths, heads = dict[str, dict[str, int]](), set[int](), [NO_RUNS]
        runs, owners = [NO_RUNS], [NO_RUNS]
        for owner, (task, texts) in enumerate(tasks.items()):
            words = [_long_parts(text, min(n, SHORTEST)) for text in texts]
            parts = [part for parts in words for part in parts]
            lengths.update(min(n, len(part)) for part in parts)
            heads += [_runs(part, min(n, SHORTEST))[: max(1, len(part) - n + 1)] for part in parts]
            runs.append(np.unique(np.concatenate([NO_RUNS, *(_runs(part, n) for part in parts)])))
            owners.append(np.full(len(runs[-1]), owner, np.uint64))
            counts[task] = {"texts": len(words), "too_short": words.count([]), "runs": len(runs[-1])}
        flat, owned = np.concatenate(runs), np.concatenate(owners)
        order, sorted_heads = np.lexsort((owned, flat)), np.unique(np.concatenate(heads))
        return cls(n, counts, tuple(sorted(lengths)), sorted_heads, flat[order], owned[order].astype(np.uint16))

    def save(self, path: Path) -> None:
        """Write the index as one file (safetensors); the same index gives the same bytes."""
        said = json.dumps({"n": self.n, "tasks": self.tasks, "lengths": self.lengths})
        save_file({"heads": self.heads, "runs": self.runs, "owners": self.owners}, path, {"contamination": said})

    @classmethod
    def load(cls, path: Path) -> Index:
        """Read what `save` wrote.

        Raises:
            InputError: the file is not such an index.
        """
        try:
            with safe_open(path, "numpy") as file:
                said = json.loads((file.metadata() or {})["contamination"])
                heads, runs, owners = (file.get_tensor(name) for name in ("heads", "runs", "owners"))
            return cls(said["n"], said["tasks"], tuple(said["lengths"]), heads, runs, owners)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            hint = "contamination.Index.save writes one"
            raise InputError(f"{path} is no index of evaluation sets: {error}", hint=hint) from error

    @cached_property
    def sieve(self) -> Hashes:
        """A blocked Bloom filter of the heads (Putze et al. 2009): each has three bits of one word of 64 bits."""
        sieve = np.zeros(1 << max(0, BITS_A_RUN * len(self.heads) // 64).bit_length(), np.uint64)
        _fill(self.heads, sieve)
        return sieve

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The tasks, in the order of `owners`."""
        return tuple(self.tasks)


def read_texts(place: Place) -> Iterator[str]:
    """The texts of an evaluation set (.jsonl, .json, .parquet, .txt or .md, also .gz and .zst), one a row.

    A row's text is all strings in it, whatever its fields are called, with a SEAM between them.

    Raises:
        InputError: the file, or a row of it, cannot be read.
    """
    try:
        with open_bytes(place) as stream:
            rows = _rows(stream, kind_of(place), str(place))
    except (OSError, EOFError, ValueError, zlib.error, pa.ArrowException) as error:
        raise InputError(f"{place} cannot be read as an evaluation set: {one_line(error)}") from error
    yield from (SEAM.join(_strings(row)) for row in rows)


def _rows(stream: BinaryIO, kind: str, name: str) -> list[Any]:
    if kind == ".parquet":
        table: list[Any] = pq.ParquetFile(stream).read().to_pylist()
        return table
    if kind in (".txt", ".md"):
        return [stream.read().decode("utf-8", "replace")]
    if kind == ".json":
        found = orjson.loads(stream.read())
        return found if isinstance(found, list) else [found]
    return [_row(line, f"{name}, row {number}") for number, line in enumerate(stream, 1) if line.strip()]


def _row(line: bytes, where: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{where} cannot be read: not JSON: {one_line(error)}") from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.replace(SEAM, " ")
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def contaminated(document: Document, *, index: Index, min_overlap: int = 1) -> str | None:
    """Remove documents that share at least `min_overlap` runs of words with one evaluation set."""
    found = list(_overlaps(document.text, index))
    counts = Counter(overlap.task for overlap in found)
    for overlap in found:
        if counts[overlap.task] >= min_overlap:
            return f'contaminated: {overlap.task} has "{overlap.words}"'
    return None


def overlaps(text: str, index: Index) -> Counter[str]:
    """How many runs of words a text shares with each task's evaluation set."""
    return Counter(overlap.task for overlap in _overlaps(text, index))


def _overlaps(text: str, index: Index) -> Iterator[Overlap]:
    """All shared runs, in the order of the text."""
    data = encoded(text)
    hashes = hash_words(data, folding(numbers=False))
    places = _candidates(hashes, min(index.n, SHORTEST), index.sieve, index.heads).tolist()
    if not places:
        return
    _, starts, ends = place_words(data, folding(numbers=False))
    for at in places:
        for length in index.lengths:
            if at + length <= len(hashes):
                words = " ".join(data[starts[at] : ends[at + length - 1]].tobytes().decode().split())
                if any(map(str.isalpha, words)):
                    for owner in _owners(_runs(hashes[at : at + length], length)[0], index):
                        yield Overlap(index.names[owner], words)


def _owners(run: np.uint64, index: Index) -> list[int]:
    first, last = (np.searchsorted(index.runs, run, side=side) for side in ("left", "right"))
    owners: list[int] = index.owners[first:last].tolist()
    return owners


def _long_parts(text: str, least: int) -> list[Hashes]:
    """The words of those parts of a text that have enough of them."""
    parts = (hash_words(encoded(part), folding(numbers=False)) for part in text.split(SEAM))
    return [part for part in parts if len(part) >= least]


def _runs(hashes: Hashes, length: int) -> Hashes:
    runs = np.empty(len(hashes), np.uint64)
    return runs[: hash_runs(hashes, len(hashes), length, runs)]


@njit(cache=True, nogil=True)
def _bits(head: np.uint64) -> np.uint64:
    """The three bits of a head in its word of the filter, by parts of the hash that do not choose the word."""
    one, two, three = head >> np.uint64(58), head >> np.uint64(52), head >> np.uint64(46)
    return ONE << one | ONE << (two & np.uint64(63)) | ONE << (three & np.uint64(63))


@njit(cache=True, nogil=True)
def _fill(heads: Hashes, sieve: Hashes) -> None:
    for head in heads:
        sieve[head & np.uint64(len(sieve) - 1)] |= _bits(head)


@njit(cache=True, nogil=True)
def _candidates(words: Hashes, length: int, sieve: Hashes, heads: Hashes) -> Places:
    """The places of the words at which a run begins as one of an evaluation set does."""
    runs = np.empty(len(words), np.uint64)
    count, found = hash_runs(words, len(words), length, runs), 0
    if len(words) < length:
        count = 0
    places = np.empty(count, np.int64)
    for at in range(count):
        bits = _bits(runs[at])
        places[found] = at
        found += sieve[runs[at] & np.uint64(len(sieve) - 1)] & bits == bits
    sure = 0
    for at in places[:found]:
        near = np.searchsorted(heads, runs[at])
        if near < len(heads) and heads[near] == runs[at]:
            places[sure] = at
            sure += 1
    return places[:sure]
