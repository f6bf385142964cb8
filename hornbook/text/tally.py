"""Counting a corpus: what was kept, removed and changed, in memory that does not grow with the corpus.

A tally is made for each part of a corpus, in the order of the part's documents, and the tallies are merged in the order
of the parts: then every number and every example is the same whoever made them, and however many did so at a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date as Date
from functools import partial
from typing import Any, Self
from urllib.parse import urlsplit

from hornbook.text.document import Document, Malformed
from hornbook.text.privacy import mask
from hornbook.text.white_space import count_words

Json = dict[str, Any]

EXAMPLES = 3
"""Documents shown for a rule."""
EXCERPT = 400
"""Characters shown of a document or a line."""
MALFORMED_ROWS = 20
OPT_OUTS = ("opt_out", "robots_opt_out", "takedown")
"""Rules by which somebody has said no: what they remove is not shown."""

_COUNT = re.compile(r"[0-9]{1,9}")
_MASKED = re.compile(r"\b([a-z0-9_]{1,40})=([0-9]{1,9})\b")
_NUMBER = re.compile(r"\d[\d,.]*")


def size(document: Document) -> int:
    """A document's UTF-8 bytes."""
    return len(document.text.encode("utf-8", "replace"))


def host_of(url: str) -> str:
    """The host of a URL in lower case, without port and password; "" where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def day_of(date: str) -> str:
    """The day that a date or time in ISO 8601 begins with, YYYY-MM-DD; "" where it begins with none."""
    try:
        return Date.fromisoformat(date[:10]).isoformat()
    except ValueError:
        return ""


@dataclass
class Ledger:
    """Amounts by name, such as (documents, bytes), for names whose number nobody knows beforehand.

    With more than `most` names all but the largest quarter are folded into `rest`: sums stay right, and the amounts of
    single names are then a lower bound, since one that was folded and comes again begins anew.
    """

    most: int
    entries: dict[str, list[int]] = field(default_factory=dict)
    rest: list[int] = field(default_factory=list)

    def add(self, name: str, *amounts: int) -> None:
        entry = self.entries.get(name)
        if entry is None:
            entry = self.entries.setdefault(_written(name), [0] * len(amounts))
        for place, amount in enumerate(amounts):
            entry[place] += amount
        if len(self.entries) > self.most:
            self._fold()

    def merge(self, other: Self) -> None:
        for name, amounts in other.entries.items():
            self.entries[name] = _sums(self.entries.get(name, []), amounts)
        self.rest = _sums(self.rest, other.rest)
        if len(self.entries) > self.most:
            self._fold()

    def ranked(self) -> list[tuple[str, list[int]]]:
        """Largest first amount first."""
        return sorted(self.entries.items(), key=lambda item: ([-amount for amount in item[1]], item[0]))

    def total(self, place: int = 0) -> int:
        """The sum of one of the amounts over all names."""
        return sum(amounts[place] for amounts in (*self.entries.values(), self.rest) if amounts)

    def _fold(self) -> None:
        ranked = self.ranked()
        self.entries = dict(ranked[: self.most // 4])
        for _, amounts in ranked[self.most // 4 :]:
            self.rest = _sums(self.rest, amounts)


Few = partial(Ledger, 400)
"""A ledger that stands inside of another, or whose names are few unless somebody plays tricks."""
Many = partial(Ledger, 20_000)


@dataclass
class Tally:
    """What is counted of a corpus or a part of it. Amounts are (documents, UTF-8 bytes) where nothing else is said."""

    kinds: Ledger = field(default_factory=Few)
    """By kind of thing, such as web pages: documents and bytes of all that was judged, then of what was kept."""
    kept: Ledger = field(default_factory=Many)
    """By source: documents, bytes, words between white space."""
    types: dict[str, str] = field(default_factory=dict)
    """What kind of thing each source of `kept` is."""
    languages: Ledger = field(default_factory=Few)
    hosts: Ledger = field(default_factory=Many)
    top_level: Ledger = field(default_factory=Many)
    """By the last label of the host's name."""
    created: Ledger = field(default_factory=Few)
    """By year of `created`: when it was fetched or written, as the input says."""
    published: Ledger = field(default_factory=Few)
    """By year of the page's own date, where it has one."""
    periods: dict[str, list[str]] = field(default_factory=dict)
    """The first and the last day of `created`, by kind of thing."""
    licenses: Ledger = field(default_factory=Few)
    license_hosts: dict[str, Ledger] = field(default_factory=dict)
    masked: Ledger = field(default_factory=Few)
    """By kind of personal data: how often it was masked, and in how many documents."""
    masked_documents: int = 0
    removed: Ledger = field(default_factory=Few)
    """By rule."""
    removed_sources: dict[str, Ledger] = field(default_factory=dict)
    """By rule, then by source."""
    examples: dict[str, list[Json]] = field(default_factory=dict)
    """By rule, the first few documents that it removed."""
    opted_out: Ledger = field(default_factory=Few)
    """By signal."""
    contaminated: Ledger = field(default_factory=Few)
    """By task, where documents were removed because they hold a part of its evaluation set."""
    edits: Ledger = field(default_factory=Few)
    """By rule that takes something out of documents that stay: the documents, and the bytes that it took."""
    cut: Ledger = field(default_factory=Few)
    """By rule that cuts lines before anything is judged: the documents that stay, and the lines."""
    lines: Ledger = field(default_factory=partial(Ledger, 2_000))
    """Lines that line dedup took out: times, characters."""
    unread: Ledger = field(default_factory=Few)
    """Malformed rows and records by what is wrong with them: how many."""
    unread_rows: list[Json] = field(default_factory=list)

    def keep(self, document: Document, *, kind: str) -> None:
        """Count a document that stays; `kind` is what kind of thing it was, such as "web pages"."""
        data = document.text.encode("utf-8", "replace")
        source, bytes = _written(document.source), len(data)
        self.kinds.add(kind, 1, bytes, 1, bytes)
        self.kept.add(source, 1, bytes, count_words(data))
        self.types.setdefault(source, kind)
        if len(self.types) > self.kept.most:
            self._forget_types()
        self.languages.add(document.metadata.get("language", "unknown"), 1, bytes)
        self._keep_place(document, bytes)
        self._keep_dates(document, bytes, kind)
        self._keep_changes(document.metadata)

    def remove(self, document: Document, reason: str, *, kind: str) -> None:
        """Count a document that does not stay; its reason begins with the name of its rule."""
        rule, bytes = reason.partition(":")[0], size(document)
        self.kinds.add(kind, 1, bytes, 0, 0)
        self.removed.add(rule, 1, bytes)
        self.removed_sources.setdefault(rule, Few()).add(document.source, 1, bytes)
        if len(examples := self.examples.setdefault(rule, [])) < EXAMPLES:
            examples.append(_example(document, rule, reason))
        if rule in OPT_OUTS:
            self.opted_out.add("takedown list" if rule == "takedown" else reason.partition(": ")[2], 1, bytes)
        if rule == "contaminated":
            self.contaminated.add(reason.partition(": ")[2].partition(' has "')[0], 1, bytes)

    def drop_lines(self, lines: Mapping[str, int]) -> None:
        """Count lines that were taken out of documents, each with how often."""
        for line, times in lines.items():
            self.lines.add(line[:EXCERPT], times, times * len(line))

    def edited(self, rule: str, *, documents: int, bytes: int) -> None:
        """Count what a rule took out of documents that it did not remove."""
        self.edits.add(rule, documents, bytes)

    def malformed(self, row: Malformed) -> None:
        """Count something that could not be read; its reason begins with its kind and a colon."""
        self.unread.add(_NUMBER.sub("N", row.reason.partition(":")[0]), 1)
        if len(self.unread_rows) < MALFORMED_ROWS:
            told = asdict(row)
            self.unread_rows.append({key: _written(v) if isinstance(v, str) else v for key, v in told.items()})

    def merge(self, other: Tally) -> None:
        """Add what the tally of the next part of the corpus counted."""
        for name in _LEDGERS:
            getattr(self, name).merge(getattr(other, name))
        for name in _NESTED:
            for key, ledger in getattr(other, name).items():
                getattr(self, name).setdefault(key, Few()).merge(ledger)
        self.types = other.types | self.types
        self._forget_types()
        self._forget_licenses()
        for kind, (first, last) in other.periods.items():
            self._extend(kind, first)
            self._extend(kind, last)
        self.masked_documents += other.masked_documents
        for rule, examples in other.examples.items():
            self.examples[rule] = (self.examples.get(rule, []) + examples)[:EXAMPLES]
        self.unread_rows = (self.unread_rows + other.unread_rows)[:MALFORMED_ROWS]

    def to_json(self) -> Json:
        """All of it as a JSON-able object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The tally that `to_json` wrote."""
        ledgers = {name: Ledger(**values[name]) for name in _LEDGERS}
        nested = {name: {key: Ledger(**entry) for key, entry in values[name].items()} for name in _NESTED}
        return cls(**{**values, **ledgers, **nested})

    def _keep_place(self, document: Document, bytes: int) -> None:
        host = host_of(document.url) if document.url else ""
        if host:
            self.hosts.add(host, 1, bytes)
            self.top_level.add(top_level(host), 1, bytes)
        if license := _written(document.metadata.get("license", "")):
            self.licenses.add(license, 1, bytes)
            if license in self.licenses.entries:
                self.license_hosts.setdefault(license, Few()).add(host or document.source, 1, bytes)
            self._forget_licenses()

    def _keep_dates(self, document: Document, bytes: int, kind: str) -> None:
        if day := day_of(document.created):
            self.created.add(day[:4], 1, bytes)
            self._extend(kind, day)
        if day := day_of(document.metadata.get("published", "")):
            self.published.add(day[:4], 1, bytes)

    def _keep_changes(self, metadata: Mapping[str, str]) -> None:
        # Rows from elsewhere may have fields of these names, with anything in them.
        found = _MASKED.findall(metadata.get("masked", ""))
        for kind, count in found:
            self.masked.add(kind, int(count), 1)
        self.masked_documents += bool(found)
        for name, value in metadata.items():
            if name.startswith("cut_") and _COUNT.fullmatch(value):
                self.cut.add(name.removeprefix("cut_"), 1, int(value))

    def _extend(self, kind: str, day: str) -> None:
        first, last = self.periods.get(kind, (day, day))
        self.periods[kind] = [min(first, day), max(last, day)]

    def _forget_types(self) -> None:
        self.types = {source: self.types[source] for source in self.kept.entries if source in self.types}

    def _forget_licenses(self) -> None:
        if len(self.license_hosts) > self.licenses.most:
            known = self.license_hosts
            self.license_hosts = {name: known[name] for name in self.licenses.entries if name in known}


_LEDGERS = tuple(one.name for one in fields(Tally) if one.type == "Ledger")
_NESTED = tuple(one.name for one in fields(Tally) if one.type == "dict[str, Ledger]")


def _example(document: Document, rule: str, reason: str) -> Json:
    """A document as the card shows it: masked, also where it was removed before that was its turn."""
    where = document.url or f"{document.source} {document.id}"
    text = "" if rule in OPT_OUTS else mask(document.text[: 2 * EXCERPT])[0][:EXCERPT]
    return {"where": _written(where), "reason": _written(reason), "text": _written(text)}


def top_level(host: str) -> str:
    """The last label of a host's name; "address" for a number, and "none" for a name without a dot."""
    if ":" in host or host.replace(".", "").isdigit():
        return "address"
    return host.rstrip(".").rpartition(".")[2] if "." in host.rstrip(".") else "none"


def _sums(one: list[int], other: list[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)] if one and other else list(one or other)


def _written(text: str) -> str:
    """Text that JSON can hold: a lone half of a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
