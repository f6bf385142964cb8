"""The data card: what a corpus holds and what was left out, as one JSON-able object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hornbook.text.document import Document

Json = dict[str, Any]

EXAMPLES = 3
EXCERPT = 400


@dataclass(frozen=True, slots=True)
class Removed:
    """A document that was left out, and why; a reason begins with the name of its rule."""

    document: Document
    reason: str

    @property
    def rule(self) -> str:
        return self.reason.partition(":")[0]


def table(documents: Iterable[Document], types: Mapping[str, str]) -> list[Json]:
    """The table of the Dolma paper (Soldaini et al. 2024, arXiv 2402.00159, table 1).

    Its columns are source, type, UTF-8 bytes, documents and tokens. Tokens are words between white space here, since
    there is no tokenizer yet.
    """
    rows: dict[str, Json] = {}
    for document in documents:
        kind = types.get(document.source, "")
        row = rows.setdefault(
            document.source, {"source": document.source, "type": kind, "bytes": 0, "documents": 0, "tokens": 0}
        )
        row["bytes"] += size(document)
        row["documents"] += 1
        row["tokens"] += len(document.text.split())
    return [rows[source] for source in sorted(rows, key=lambda source: (-rows[source]["bytes"], source))]


def size(document: Document) -> int:
    """A document's UTF-8 bytes."""
    return len(document.text.encode("utf-8", "replace"))


def card(
    kept: Sequence[Document],
    removed: Sequence[Removed],
    *,
    order: Sequence[str],
    types: Mapping[str, str],
    dropped: Counter[str],
) -> Json:
    """The whole card.

    Args:
        kept, removed: in the order in which they should be told.
        order: the rules in the order in which they are applied; others come before them.
        types: what kind of thing each source is.
        dropped: lines that line dedup took out, and how often.
    """
    return {
        "table": table(kept, types),
        "tokens_are": "words between white space, until the corpus is tokenized",
        "removed": by_rule(removed),
        "steps": steps(kept, removed, order),
        "lines": {
            "dropped": dropped.total(),
            "characters": sum(len(line) * count for line, count in dropped.items()),
            "examples": [{"line": line[:EXCERPT], "times": count} for line, count in _ranked(dropped)[:20]],
        },
        "languages": dict(_ranked(Counter(document.metadata.get("language", "unknown") for document in kept))),
        "licenses": dict(
            _ranked(Counter(document.metadata["license"] for document in kept if "license" in document.metadata))
        ),
        "hosts": dict(_ranked(Counter(_host(document) for document in kept if document.url))[:50]),
        "masked": dict(_ranked(masked(kept))),
        "opted_out": dict(_ranked(Counter(one.reason.partition(": ")[2] for one in removed if one.rule == "opt_out"))),
    }


def by_rule(removed: Sequence[Removed]) -> Json:
    """For each rule how much it removed, from which sources, with a few examples."""
    rules: dict[str, Json] = {}
    for one in removed:
        entry = rules.setdefault(one.rule, {"documents": 0, "bytes": 0, "sources": {}, "examples": []})
        entry["documents"] += 1
        entry["bytes"] += size(one.document)
        entry["sources"][one.document.source] = entry["sources"].get(one.document.source, 0) + 1
        if len(entry["examples"]) < EXAMPLES:
            where = one.document.url or f"{one.document.source} {one.document.id}"
            entry["examples"].append({"where": where, "reason": one.reason, "text": one.document.text[:EXCERPT]})
    return dict(sorted(rules.items(), key=lambda item: (-item[1]["documents"], item[0])))


def steps(kept: Sequence[Document], removed: Sequence[Removed], order: Sequence[str]) -> list[Json]:
    """What was left after each rule that removed anything, in their order; without the bytes that line dedup took."""
    documents, bytes = len(kept) + len(removed), sum(map(size, kept)) + sum(size(one.document) for one in removed)
    told = [{"step": "read", "documents": documents, "bytes": bytes}]
    rules = dict.fromkeys(one.rule for one in removed)
    for rule in sorted(rules, key=lambda rule: order.index(rule) if rule in order else -1):
        gone = [size(one.document) for one in removed if one.rule == rule]
        documents, bytes = documents - len(gone), bytes - sum(gone)
        told.append({"step": rule, "documents": documents, "bytes": bytes})
    return told


def masked(documents: Iterable[Document]) -> Counter[str]:
    """How often personal data of each kind was masked."""
    counts: Counter[str] = Counter()
    for document in documents:
        for entry in document.metadata.get("masked", "").split():
            kind, _, count = entry.partition("=")
            counts[kind] += int(count)
    return counts


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _host(document: Document) -> str:
    try:
        return urlsplit(document.url).netloc
    except ValueError:
        return ""
