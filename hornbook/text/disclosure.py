"""The public summary of training content that the EU asks for, as far as a corpus' own records can fill it.

Source: Regulation (EU) 2024/1689 (AI Act), Article 53(1)(d), and the Commission's template of 24 July 2025. The
sections and ranges here follow descriptions of that template and were not checked against its text. What no record
says is listed for the provider to fill, never invented.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import ceil
from typing import Any

from hornbook.text.tally import Tally

Json = dict[str, Any]

RANGES = (
    (10**9, "less than 1 billion tokens"),
    (10**13, "1 billion to 10 trillion tokens"),
)
ABOVE = "more than 10 trillion tokens"
TOP = 10
"""Per cent of the domains, by size, that are to be named."""
CRAWLED = "web pages"
TO_FILL = {
    "general": (
        "provider: name, contact, authorised representative in the Union",
        "model: name, version, models that it was made from, date of placing on the market",
        "modalities other than text, if the model was trained on any",
    ),
    "sources": (
        "which of the files below are publicly available data sets, and where they are",
        "data licensed from rightholders or obtained from third parties",
        "user data from the provider's services",
        "synthetic data and the models that made it",
    ),
    "processing": (
        "whether the provider has signed the Code of Practice",
        "measures against illegal content beyond the rules below",
    ),
}


def disclosure(
    tally: Tally,
    card: Mapping[str, Any],
    *,
    crawlers: Sequence[str] = (),
    reservations: Iterable[str] = (),
    illegal: Iterable[str] = (),
) -> Json:
    """The fields that can be filled, by section, and those that cannot.

    Args:
        card: the data card made of the tally.
        crawlers: names of the crawlers, as they told them to sites.
        reservations, illegal: rules of the card that leave out what is reserved from text and data mining, and what is
            unlawful to have.
    """
    return {
        "about": "Fields of the public summary of training content (AI Act, Article 53(1)(d)) that records of this "
        "corpus fill. Sections and ranges are unchecked against the text of the template.",
        "general": {"modalities": ["text"], "size": _size(card), "languages": card["languages"]} | _latest(card),
        "sources": {"crawled": _crawled(tally, card, crawlers), "files": _files(card)},
        "processing": {
            "reservations": _removed(card, reservations),
            "signals": card["opted_out"],
            "illegal_content": _removed(card, illegal),
            "personal_data_masked": card["masked"],
            "all_rules": _removed(card, card["removed"]),
        },
        "to_fill": {section: list(fields) for section, fields in TO_FILL.items()} | _unknown_crawlers(card, crawlers),
    }


def range_of(tokens: int) -> str:
    """The template's range for an amount of text."""
    return next((name for below, name in RANGES if tokens < below), ABOVE)


def _size(card: Mapping[str, Any]) -> Json:
    tokens = sum(row["tokens"] for row in card["table"])
    return {"range": range_of(tokens), "counted": tokens, "counted_are": card["tokens_are"]}


def _latest(card: Mapping[str, Any]) -> Json:
    days = list(chain.from_iterable(card["dates"]["periods"].values()))
    return {"latest_date": max(days)} if days else {}


def _crawled(tally: Tally, card: Mapping[str, Any], crawlers: Sequence[str]) -> Json:
    """The section on crawled data; the hosts are those of all documents with a URL, however these were gathered."""
    ranked = sorted(tally.hosts.entries.items(), key=lambda item: (-item[1][1], item[0]))
    return {
        "crawlers": list(crawlers),
        "pages_read": _read(card, CRAWLED),
        "pages_kept": card["kinds"].get(CRAWLED, {}).get("documents", 0),
        "period": card["dates"]["periods"].get(CRAWLED, []),
        "domains": [name for name, _ in ranked[: ceil(len(ranked) * TOP / 100)]],
        "domains_are": f"the largest {TOP} % of {'at least ' if tally.hosts.rest else ''}{len(ranked):,} host names "
        "of kept documents, by UTF-8 bytes",
    }


def _unknown_crawlers(card: Mapping[str, Any], crawlers: Sequence[str]) -> Json:
    missing = _read(card, CRAWLED) and not crawlers
    return {"crawled": ["names of the crawlers that gathered the pages"] if missing else []}


def _files(card: Mapping[str, Any]) -> Json:
    return {kind or "other": row for kind, row in card["kinds"].items() if kind != CRAWLED}


def _read(card: Mapping[str, Any], kind: str) -> int:
    return int(card["kinds"].get(kind, {}).get("read", 0))


def _removed(card: Mapping[str, Any], rules: Iterable[str]) -> dict[str, int]:
    """How many documents each of the rules removed; those that removed none are told too."""
    return {rule: card["removed"].get(rule, {}).get("documents", 0) for rule in rules}
