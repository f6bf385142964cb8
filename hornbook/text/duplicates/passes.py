"""Duplicates across a corpus, way by way, with memory that does not grow with it.

For each way, every bucket writes its keys cut into parts; equal keys meet in a part (`spill`), and what was there
before is given back to its bucket. The first in the corpus' order stays. Who does the work makes no difference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hornbook.text.buckets import gather, read_batch
from hornbook.text.duplicates import minhash
from hornbook.text.duplicates.spill import (
    RECORD,
    REPEAT,
    Spill,
    bucket_of,
    neighbours,
    part_of,
    repeats,
    unite,
)
from hornbook.text.duplicates.ways import Bucket, Minhash, Way
from hornbook.text.engine import Workplace, written

PAIRS_A_TASK = 50_000

Watch = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows work in progress, given what it is and of how many tasks; what it gives is called after each of them."""


@dataclass(frozen=True)
class Corpus:
    """Documents in buckets below a folder, and the ways that are gone through in their order."""

    folder: Path
    buckets: int
    ways: tuple[Way, ...]

    def bucket(self, number: int, upto: int | None = None) -> Bucket:
        """A bucket as the first `upto` ways leave it; as all do, by default."""
        table = read_batch(self.kept(number), 0)
        bucket = Bucket(number, table.drop_columns(["text"]), table["text"].to_pylist())
        for at, way in enumerate(self.ways[:upto]):
            way.apply(bucket, self._found(at).read(number))
        return bucket

    def gather(self, number: int) -> dict[str, int]:
        """Bring a bucket's documents together from what was judged, the removed ones too."""
        kept = gather(self.folder / "judged-kept", number, self.kept(number))
        return {"kept": kept, "removed": gather(self.folder / "judged-removed", number, self.removed(number))}

    def kept(self, number: int) -> Path:
        """Where a bucket's documents are."""
        return self._below("kept") / f"{number:05}.arrow"

    def removed(self, number: int) -> Path:
        """Where those of a bucket are that were removed by themselves."""
        return self._below("removed") / f"{number:05}.arrow"

    def scatter(self, at: int, number: int) -> int:
        """Write the keys of a bucket's documents for the way at a place."""
        found = self.ways[at].keys(self.bucket(number, at))
        self._keys(at).write(number, found, part_of(found["high"], self.buckets))
        return len(found)

    def group(self, at: int, part: int) -> int:
        """Find the keys of a part that were there before, and give them back to their documents' buckets."""
        found = repeats(self._keys(at).read(part), times=self.ways[at].times)
        self._found(at).write(part, found, bucket_of(found["document"]))
        return len(found)

    def pair(self, at: int, part: int) -> int:
        """Find the pairs of documents of which some band is in a part."""
        pairs = neighbours(self._keys(at).read(part))
        _save(self._below(f"pairs-{at}") / f"{part:05}.npy", pairs)
        return len(pairs)

    def pairs(self, at: int) -> NDArray[np.uint64]:
        """All pairs [n, 2], once each, sorted."""
        found = [np.load(path) for path in sorted(self._below(f"pairs-{at}").glob("*.npy"))]
        return np.unique(np.concatenate([np.empty((0, 2), np.uint64), *found]), axis=0)

    def shingle(self, at: int, number: int) -> int:
        """Write the shingles of those documents of a bucket that are in a pair, to be compared."""
        way, bucket = self.ways[at], self.bucket(number, at)
        assert isinstance(way, Minhash)
        members = np.unique(self.pairs(at))
        places = (members[bucket_of(members) == number] & np.uint64(0xFFFFFFFF)).tolist()
        sets = [minhash.shingles(bucket.texts[place], words=way.words) for place in places]
        _save(self._below(f"shingles-{at}") / f"{number:05}.places.npy", np.array(places, np.int64))
        _save(self._below(f"shingles-{at}") / f"{number:05}.ends.npy", np.cumsum([0, *map(len, sets)]))
        _save(self._below(f"shingles-{at}") / f"{number:05}.npy", np.concatenate([np.empty(0, np.uint64), *sets]))
        return len(places)

    def confirm(self, at: int, start: int) -> int:
        """Of PAIRS_A_TASK pairs, write those that are as alike as the way wants."""
        way = self.ways[at]
        assert isinstance(way, Minhash)
        shelf = _Shelf(self._below(f"shingles-{at}"))
        pairs = self.pairs(at)[start : start + PAIRS_A_TASK]
        same = [minhash.jaccard(shelf[one], shelf[other]) >= way.threshold for one, other in pairs.tolist()]
        _save(self._below(f"confirmed-{at}") / f"{start:012}.npy", pairs[np.array(same, bool)])
        return sum(same)

    def unite(self, at: int) -> list[int]:
        """Join confirmed pairs to clusters, and give them to their documents' buckets; returns the clusters' sizes."""
        way = self.ways[at]
        assert isinstance(way, Minhash)
        confirmed = [np.load(path) for path in sorted(self._below(f"confirmed-{at}").glob("*.npy"))]
        pairs = np.concatenate([np.empty((0, 2), np.uint64), *confirmed]) if way.threshold else self.pairs(at)
        members, firsts = unite(pairs)
        found = np.zeros(len(members), REPEAT)
        found["document"], found["first"] = members, firsts
        self._found(at).write(0, found, bucket_of(members))
        return sorted(np.unique(firsts, return_counts=True)[1].tolist(), reverse=True)

    def _keys(self, at: int) -> Spill:
        return Spill(self.folder / f"keys-{at}", self.buckets, RECORD)

    def _found(self, at: int) -> Spill:
        return Spill(self.folder / f"found-{at}", self.buckets, REPEAT)

    def _below(self, name: str) -> Path:
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return self.folder / name


def deduplicate(corpus: Corpus, place: Workplace, watch: Watch) -> list[int]:
    """Go through all ways; returns the sizes of the clusters of near duplicates, largest first."""
    sizes = list[int]()
    for at, way in enumerate(corpus.ways):
        phases = list(_phases(corpus, at))
        with watch(way.rule, len(phases) * corpus.buckets) as advance:
            for name, work in phases:
                deque(place.phase(f"{name}-{at}", work, range(corpus.buckets), advance), maxlen=0)
            if isinstance(way, Minhash):
                chunks = range(0, len(corpus.pairs(at)) if way.threshold else 0, PAIRS_A_TASK)
                deque(place.phase(f"compared-{at}", partial(corpus.confirm, at), chunks, lambda: None), maxlen=0)
                sizes += corpus.unite(at)
    return sizes


def _phases(corpus: Corpus, at: int) -> Iterator[tuple[str, Callable[[int], int]]]:
    """What is done to every bucket, or part, for the way at a place."""
    way = corpus.ways[at]
    yield "scattered", partial(corpus.scatter, at)
    if not isinstance(way, Minhash):
        yield "grouped", partial(corpus.group, at)
        return
    yield "paired", partial(corpus.pair, at)
    if way.threshold:
        yield "shingled", partial(corpus.shingle, at)


@dataclass
class _Shelf:
    """The shingles of documents by reference, read as they are wanted."""

    folder: Path

    def __getitem__(self, document: int) -> NDArray[np.uint64]:
        number, place = document >> 32, document & 0xFFFFFFFF
        places, ends, start = self._index(number)
        at = int(np.searchsorted(places, place))
        path = self.folder / f"{number:05}.npy"
        count = int(ends[at + 1] - ends[at])
        return np.fromfile(path, np.uint64, count, offset=start + 8 * int(ends[at]))

    def _index(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        if number not in self._known:
            stem = self.folder / f"{number:05}"
            flat = np.load(f"{stem}.npy", mmap_mode="r")
            self._known[number] = (np.load(f"{stem}.places.npy"), np.load(f"{stem}.ends.npy"), flat.offset)
        return self._known[number]

    @cached_property
    def _known(self) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int64], int]]:
        return {}


def _save(path: Path, array: NDArray[np.generic]) -> None:
    with written(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)
