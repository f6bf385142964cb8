"""The end of curation: what is left of each bucket as Parquet, what is not with its reason, and all of it counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
import pyarrow as pa

from hornbook.text import mixture
from hornbook.text.buckets import Entry, entries, read_batch
from hornbook.text.document import Document, write_documents, write_rows
from hornbook.text.duplicates.passes import Corpus
from hornbook.text.duplicates.ways import Bucket, Removal
from hornbook.text.tally import Json, Tally, size

REMOVED = pa.schema([(name, pa.string()) for name in ("id", "url", "source", "rule", "reason", "text")])
CLUSTERS = pa.schema([(name, pa.string()) for name in ("id", "survivor")])


@dataclass(frozen=True)
class Last:
    """The last step: the corpus as the ways leave it, mixed and written into a folder."""

    corpus: Corpus
    out: Path
    seed: int
    shares: Mapping[str, mixture.Share] = field(default_factory=dict)
    """What to keep of each source; all, of those that are not there."""

    def sizes(self, number: int) -> dict[str, int]:
        """UTF-8 bytes of each source in a bucket."""
        found: Counter[str] = Counter()
        for entry in _judged(self.corpus.bucket(number), _Names(self.corpus)):
            if not entry.reason:
                found[entry.document.source] += size(entry.document)
        return dict(found)

    def write(self, number: int) -> Json:
        """Write a bucket's documents and the removed ones; returns how many, their tally, clusters and sum."""
        self.out.mkdir(exist_ok=True)
        bucket, names, tally = self.corpus.bucket(number), _Names(self.corpus), Tally()
        own = [self._mixed(entry) for entry in _judged(bucket, names)]
        before = read_batch(self.corpus.removed(number), 0)
        gone = [*entries(before, before["text"].to_pylist()), *(entry for entry in own if entry.reason)]
        kept = [entry for entry in own if not entry.reason]
        for entry in gone:
            tally.remove(entry.document, entry.reason, kind=entry.kind)
        for entry in kept:
            tally.keep(entry.document, kind=entry.kind)
        tally.drop_lines(bucket.dropped)
        _count_edits(bucket, tally)
        write_documents(self.out / f"documents-{number:05}.parquet", [entry.document for entry in kept])
        write_rows(self.out / f"removed-{number:05}.parquet", map(_removed, gone), REMOVED)
        clusters = [[bucket.id(place), names[first]] for place, first in sorted(bucket.clustered.items())]
        return {
            "documents": len(kept),
            "removed": len(gone),
            "tally": tally.to_json(),
            "clusters": clusters,
            "sum": f"{contents(entry.document for entry in kept):064x}",
        }

    def _mixed(self, entry: Entry) -> Entry:
        document = entry.document
        share = self.shares.get(document.source)
        if entry.reason or not share or mixture.kept(document.id, fraction=share.fraction, seed=self.seed):
            return entry
        return replace(entry, reason=f"mixture: {share.fraction:.1%} of {document.source} is kept")


def contents(documents: Iterator[Document]) -> int:
    """A number of 256 bits that tells documents from others, but not when and in which record they came.

    It is a sum of hashes, so that it does not depend on how the documents are cut into buckets.
    """
    total = 0
    for document in documents:
        lasting = {key: value for key, value in document.metadata.items() if key != "record"}
        row = [document.id, document.text, document.source, document.url, lasting]
        total += int.from_bytes(hashlib.sha256(orjson.dumps(row, option=orjson.OPT_SORT_KEYS)).digest(), "big")
    return total % 2**256


@dataclass
class _Names:
    """The ids of documents by reference."""

    corpus: Corpus
    known: dict[int, list[str]] = field(default_factory=dict)

    def __getitem__(self, document: int) -> str:
        number = document >> 32
        if number not in self.known:
            self.known[number] = read_batch(self.corpus.kept(number), 0, ["id"])["id"].to_pylist()
        return self.known[number][document & 0xFFFFFFFF]


def _judged(bucket: Bucket, names: _Names) -> Iterator[Entry]:
    """The entries of a bucket with the texts that the ways left, and the reasons of what they removed."""
    for place, entry in enumerate(entries(bucket.rows, bucket.texts)):
        removal = bucket.removed.get(place)
        yield replace(entry, reason=_reason(removal, names)) if removal else entry


def _reason(removal: Removal, names: _Names) -> str:
    return removal.reason if removal.first is None else f"{removal.reason} {names[removal.first]}"


def _count_edits(bucket: Bucket, tally: Tally) -> None:
    for rule, edits in bucket.edited.items():
        left = [bytes for place, bytes in edits.items() if place not in bucket.removed]
        if left:
            tally.edited(rule, documents=len(left), bytes=sum(left))


def _removed(entry: Entry) -> dict[str, str]:
    document = entry.document
    named = {name: getattr(document, name) for name in ("id", "url", "source", "text")}
    return {"rule": entry.reason.partition(":")[0], "reason": entry.reason, **named}
