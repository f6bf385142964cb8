"""Ways of removing duplicates: of ids, URLs, texts, paragraphs, lines and long substrings, and near duplicates.

A way looks at one bucket of documents at a time. It tells the keys of their units; when it is given those that were
there before, it removes the documents or cuts their texts. `passes` brings the keys of a corpus together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hornbook.errors import UsageError
from hornbook.text.duplicates import exact, minhash, substrings
from hornbook.text.duplicates.spill import RECORD, Records, keys_of, records


@dataclass
class Removal:
    """Why a way removes a document; `first` refers to the document that stays instead."""

    reason: str
    first: int | None = None


@dataclass
class Bucket:
    """A bucket in memory: what the ways so far removed, and the texts as they left them."""

    number: int
    rows: pa.Table
    texts: list[str]
    removed: dict[int, Removal] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    """Lines and the like that were cut out, and how often."""
    edited: dict[str, dict[int, int]] = field(default_factory=dict)
    """By rule, how many bytes it cut out of which documents."""
    clustered: dict[int, int] = field(default_factory=dict)
    """Places of documents in clusters of near duplicates, with the reference of the one that stays."""

    def left(self) -> list[int]:
        """Places of the documents that are still there."""
        return [at for at in range(len(self.texts)) if at not in self.removed]

    def id(self, place: int) -> str:
        """The id of the document at a place."""
        return str(self.rows["id"][place].as_py())

    def reference(self, places: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint64]:
        """References to the documents at some places."""
        return np.asarray(places, np.uint64) + (np.uint64(self.number) << np.uint64(32))


class Way(Protocol):
    """A way of removing duplicates: an option of `dedup`."""

    rule: ClassVar[str]
    """What the reasons of removed documents begin with."""

    @property
    def times(self) -> int:
        """How often a key may be there before it counts as there already."""
        ...

    def keys(self, bucket: Bucket) -> Records:
        """RECORDs of the units of a bucket's documents."""
        ...

    def apply(self, bucket: Bucket, found: Records) -> None:
        """Take out of the bucket what REPEATs say was there before."""
        ...


class _Whole(ABC):
    """Keep the first of the documents that are alike as a whole."""

    rule: ClassVar[str]
    times: ClassVar[int] = 1
    alike: ClassVar[str]
    """What is said of the document that stays, before its id."""

    @abstractmethod
    def digests(self, bucket: Bucket) -> Mapping[int, bytes]:
        """What is equal for documents that are alike, by their places; those without one all stay."""

    def keys(self, bucket: Bucket) -> Records:
        """See Way."""
        digests = self.digests(bucket)
        return records(keys_of(list(digests.values())), bucket.reference(list(digests)))

    def apply(self, bucket: Bucket, found: Records) -> None:
        """See Way."""
        for document, first in zip(found["document"].tolist(), found["first"].tolist(), strict=True):
            bucket.removed[document & 0xFFFFFFFF] = Removal(f"{self.rule}: {self.alike}", first)


@dataclass(frozen=True, kw_only=True)
class Id(_Whole):
    """Keep the first document of each id; ids name documents, so this is no option."""

    rule: ClassVar[str] = "duplicate_id"
    alike: ClassVar[str] = "was there before:"

    def digests(self, bucket: Bucket) -> Mapping[int, bytes]:
        """See _Whole."""
        ids = bucket.rows["id"].to_pylist()
        return {at: exact.digest(ids[at]) for at in bucket.left()}


@dataclass(frozen=True, kw_only=True)
class Url(_Whole):
    """Keep the first document of each URL in its normal form; documents without one all stay."""

    rule: ClassVar[str] = "duplicate_url"
    alike: ClassVar[str] = "same URL as"

    def digests(self, bucket: Bucket) -> Mapping[int, bytes]:
        """See _Whole."""
        urls = bucket.rows["url"].to_pylist()
        return {at: exact.url_key(urls[at]) for at in bucket.left() if urls[at]}


@dataclass(frozen=True, kw_only=True)
class Text(_Whole):
    """Keep the first document of each text; case, white space and Unicode form make no difference."""

    rule: ClassVar[str] = "duplicate_text"
    alike: ClassVar[str] = "same text as"

    def digests(self, bucket: Bucket) -> Mapping[int, bytes]:
        """See _Whole."""
        return {at: exact.fingerprint(bucket.texts[at]) for at in bucket.left()}


@dataclass(frozen=True, kw_only=True)
class _Pieces:
    times: int = 3
    min_characters: int = 20
    min_left: float = 0.1

    rule: ClassVar[str]
    paragraphs: ClassVar[bool]

    def __post_init__(self) -> None:
        _at_least(self.rule, times=(self.times, 1), min_characters=(self.min_characters, 0))

    def keys(self, bucket: Bucket) -> Records:
        """See Way."""
        return _stacked(bucket, lambda text: exact.piece_keys(text, self.min_characters, self.paragraphs))

    def apply(self, bucket: Bucket, found: Records) -> None:
        """See Way."""
        for place, units in _by_document(found):
            text = bucket.texts[place]
            left, dropped = exact.drop_pieces(text, units, self.paragraphs)
            bucket.dropped.update(dropped)
            _shorten(bucket, place, left, self.rule, self.min_left)


class Line(_Pieces):
    """Drop longer lines after they were there `times` times, and documents of which less than `min_left` is left."""

    rule: ClassVar[str] = "duplicate_lines"
    paragraphs: ClassVar[bool] = False


class Paragraph(_Pieces):
    """The same for paragraphs, which empty lines divide."""

    rule: ClassVar[str] = "duplicate_paragraphs"
    paragraphs: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Substring:
    """Cut out what repeats at least about `words` words in a row of what was there before."""

    words: int = 50
    min_left: float = 0.1
    times: ClassVar[int] = 1
    rule: ClassVar[str] = "duplicate_substrings"

    def __post_init__(self) -> None:
        _at_least(self.rule, words=(self.words, 5))

    def keys(self, bucket: Bucket) -> Records:
        """See Way."""

        def hashed(text: str) -> NDArray[np.uint64]:
            hashes = substrings.windows(text, words=self.words)[0]
            return np.stack([hashes, np.zeros_like(hashes)], axis=1)

        return _stacked(bucket, hashed)

    def apply(self, bucket: Bucket, found: Records) -> None:
        """See Way."""
        for place, units in _by_document(found):
            text = bucket.texts[place]
            _, starts, ends = substrings.windows(text, words=self.words)
            left = substrings.cut(text, list(zip(starts[units].tolist(), ends[units].tolist(), strict=True)))
            _shorten(bucket, place, left, self.rule, self.min_left)


@dataclass(frozen=True, kw_only=True)
class Minhash:
    """Keep the first of documents that share `threshold` of their runs of `words` words.

    A threshold of 0 takes every pair that agrees in a band for near duplicates, as datatrove does.
    """

    words: int = 5
    threshold: float = 0.8
    bands: int = 14
    rows: int = 8
    times: ClassVar[int] = 1
    rule: ClassVar[str] = "near_duplicate"

    def __post_init__(self) -> None:
        _at_least(self.rule, words=(self.words, 1), bands=(self.bands, 1), rows=(self.rows, 1))
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"dedup.minhash.threshold is {self.threshold}; it must be at least 0 and at most 1")

    def keys(self, bucket: Bucket) -> Records:
        """See Way. The unit is the band."""
        places = np.array(bucket.left(), np.int64)
        if not len(places):
            return np.empty(0, RECORD)
        texts = [bucket.texts[at] for at in places]
        signed = minhash.signatures(texts, words=self.words, permutations=self.bands * self.rows)
        keys = minhash.band_keys(signed, bands=self.bands, rows=self.rows)
        worded = keys.any(axis=1)
        places, keys = places[worded], keys[worded]
        band = np.tile(np.arange(self.bands, dtype=np.uint32), len(places))
        both = np.stack([keys.ravel(), band.astype(np.uint64)], axis=1)
        return records(both, np.repeat(bucket.reference(places), self.bands), band)

    def apply(self, bucket: Bucket, found: Records) -> None:
        """See Way. A document that is its own first is the one that stays of its cluster."""
        alike = f"near_duplicate: at least {self.threshold:.0%} like" if self.threshold else "near_duplicate: like"
        for document, first in zip(found["document"].tolist(), found["first"].tolist(), strict=True):
            place = document & 0xFFFFFFFF
            bucket.clustered[place] = first
            if document != first:
                bucket.removed[place] = Removal(alike, first)


WAYS: dict[str, type[Way]] = {
    "url": Url,
    "text": Text,
    "paragraph": Paragraph,
    "line": Line,
    "substring": Substring,
    "minhash": Minhash,
}


def _at_least(rule: str, **options: tuple[float, float]) -> None:
    for name, (value, least) in options.items():
        if value < least:
            raise UsageError(f"dedup ({rule}): {name} is {value}; it must be at least {least}")


def _stacked(bucket: Bucket, hashed: Callable[[str], NDArray[np.uint64]]) -> Records:
    """RECORDs of the pieces of all documents: `hashed` gives the keys [n, 2] of a text's pieces, 0 for none."""
    made = [np.empty(0, RECORD)]
    for place in bucket.left():
        keys = hashed(bucket.texts[place])
        units = np.flatnonzero(keys.any(axis=1)).astype(np.uint32)
        made.append(records(keys[units], np.repeat(bucket.reference([place]), len(units)), units))
    return np.concatenate(made)


def _by_document(found: Records) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The place and the repeated units of each document."""
    if not len(found):
        return
    ordered = found[np.lexsort((found["unit"], found["document"]))]
    documents, starts = np.unique(ordered["document"], return_index=True)
    ends = [*starts[1:].tolist(), len(ordered)]
    for document, start, end in zip(documents.tolist(), starts.tolist(), ends, strict=True):
        yield document & 0xFFFFFFFF, ordered["unit"][start:end].astype(np.int64)


def _shorten(bucket: Bucket, place: int, left: str, rule: str, min_left: float) -> None:
    """Give a document the text that is left of it, or remove it where that is too little."""
    before = len(bucket.texts[place])
    if not left or len(left) < min_left * before:
        reason = f"{rule}: {len(left):,} of {before:,} characters are new, less than {min_left:.0%}"
        bucket.removed[place] = Removal(reason)
        return
    edits = bucket.edited.setdefault(rule, {})
    cut = len(bucket.texts[place].encode()) - len(left.encode())
    edits[place] = edits.get(place, 0) + cut
    bucket.texts[place] = left
