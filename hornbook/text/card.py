"""The data card: what a corpus holds and what was left out, as one JSON-able object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hornbook.text.tally import Ledger, Tally

Json = dict[str, Any]

OTHERS = "smaller sources"
SHOWN = 50
"""Names of a list that are shown one by one."""
TABLE_ROWS = 500
LINES = 20
LARGEST = 20
FEWEST = 10
"""Documents of a source from which on it is worth a warning that a rule took most of them."""
CLUSTERED = ("near_duplicate",)
EXPECTED = ("mixture", "content_type", "http_status", "no_text")
"""Rules that may well take all of a source: they were told to, or it is of images."""


def card(
    tally: Tally,
    *,
    order: Sequence[str],
    tokens: Mapping[str, int] | None = None,
    clusters: Mapping[int, int] | None = None,
    audits: Mapping[str, Any] | None = None,
    contamination: Mapping[str, Mapping[str, Any]] | None = None,
) -> Json:
    """The whole card.

    Args:
        order: the rules in the order in which they are applied; others come before them.
        tokens: how many tokens each source has, once a tokenizer has counted them.
        clusters: how many clusters of near duplicates there are of each size.
        audits: what `audit.audit` found of the filters.
        contamination: the evaluation sets that documents were held against, by task, as `contamination.Index` counts
            them.
    """
    audits = dict(audits or {})
    return {
        "table": table(tally, tokens),
        "tokens_are": "tokens of the run's tokenizer" if tokens else "words between white space, until it is tokenized",
        "warnings": [*source_warnings(tally), *audits.get("warnings", ())],
        "kinds": _amounts(tally.kinds, ("read", "read_bytes", "documents", "bytes")),
        "removed": by_rule(tally),
        "steps": steps(tally, order),
        "edits": _amounts(tally.edits),
        "cut": _amounts(tally.cut, ("documents", "lines")),
        "lines": {
            "dropped": tally.lines.total(),
            "characters": tally.lines.total(1),
            "examples": [{"line": line, "times": times} for line, (times, _) in tally.lines.ranked()[:LINES]],
        },
        "languages": _amounts(tally.languages),
        "hosts": _amounts(tally.hosts, most=SHOWN),
        "hosts_known": {"number": len(tally.hosts.entries), "at_least": bool(tally.hosts.rest)},
        "dates": {
            "created": _by_year(tally.created),
            "published": _by_year(tally.published),
            "periods": dict(sorted(tally.periods.items())),
        },
        "geography": geography(tally),
        "licenses": licenses(tally),
        "masked": _first(tally.masked),
        "masked_documents": tally.masked_documents,
        "opted_out": _first(tally.opted_out),
        "clusters": near_duplicates(tally, clusters or {}),
        "malformed": tally.unread_rows,
        "malformed_kinds": _first(tally.unread),
        "audits": audits,
        "contamination": contaminated(tally, contamination or {}),
    }


def table(tally: Tally, tokens: Mapping[str, int] | None = None) -> list[Json]:
    """The table of the Dolma paper (Soldaini et al. 2024, arXiv 2402.00159, table 1).

    Its columns are source, type, UTF-8 bytes, documents and tokens. Tokens are words between white space where none
    were counted. The largest sources have a row each, the others one together.
    """
    ranked = sorted(tally.kept.entries.items(), key=lambda item: (-item[1][1], item[0]))
    rows: list[Json] = [
        {
            "source": source,
            "type": tally.types.get(source, ""),
            "bytes": bytes,
            "documents": documents,
            "tokens": tokens.get(source, 0) if tokens else words,
        }
        for source, (documents, bytes, words) in ranked[:TABLE_ROWS]
    ]
    if len(ranked) > TABLE_ROWS or tally.kept.rest:
        shown = Counter[str]()
        for row in rows:
            shown.update({name: row[name] for name in ("bytes", "documents", "tokens")})
        words = sum(tokens.values()) if tokens else tally.kept.total(2)
        whole = Counter(bytes=tally.kept.total(1), documents=tally.kept.total(), tokens=words)
        whole.subtract(shown)
        rows.append({"source": OTHERS, "type": "", **whole})
    return rows


def by_rule(tally: Tally) -> Json:
    """For each rule how much it removed, from which sources, with a few examples."""
    return {
        rule: {
            "documents": documents,
            "bytes": bytes,
            "sources": _first(tally.removed_sources[rule], most=SHOWN),
            "examples": tally.examples[rule],
        }
        for rule, (documents, bytes) in tally.removed.ranked()
    }


def steps(tally: Tally, order: Sequence[str]) -> list[Json]:
    """What was left after each rule that removed a document or a part of one, in their order."""
    taken = {rule: tally.removed.entries.get(rule, [0, 0]) for rule in (*tally.removed.entries, *tally.edits.entries)}
    edited = {rule: tally.edits.entries[rule][1] if rule in tally.edits.entries else 0 for rule in taken}
    documents = tally.kept.total() + sum(gone for gone, _ in taken.values())
    bytes = tally.kept.total(1) + sum(gone for _, gone in taken.values()) + sum(edited.values())
    told = [{"step": "read", "documents": documents, "bytes": bytes}]
    for rule in sorted(taken, key=lambda rule: (order.index(rule) if rule in order else -1, rule)):
        documents, bytes = documents - taken[rule][0], bytes - taken[rule][1] - edited[rule]
        told.append({"step": rule, "documents": documents, "bytes": bytes})
    return told


def source_warnings(tally: Tally) -> list[str]:
    """Rules that removed more than half of a source, which they were hardly meant to."""
    read = _read_by_source(tally)
    found = [
        (gone, f"{rule} removed {gone / read[source]:.0%} of {source}: {gone:,} of {read[source]:,} documents")
        for rule, ledger in tally.removed_sources.items()
        for source, (gone, _) in ledger.entries.items()
        if rule not in EXPECTED and read[source] >= FEWEST and 2 * gone > read[source]
    ]
    told = [text for _, text in sorted(found, key=lambda pair: (-pair[0], pair[1]))]
    more = len(told) - LARGEST
    return told[:LARGEST] + ([f"{more:,} more sources lost most of their documents to one rule"] if more > 0 else [])


def geography(tally: Tally) -> Json:
    """Where hosts are registered, as far as the ends of their names tell."""
    total = tally.top_level.total() or 1
    domains = {
        name: {"documents": documents, "bytes": bytes, "share": round(documents / total, 4)}
        for name, (documents, bytes) in tally.top_level.ranked()[:SHOWN]
    }
    # Two letters are a country's (ISO 3166); names in other scripts (xn--) are nearly all countries' too.
    countries = sum(row[0] for name, row in tally.top_level.entries.items() if len(name) == 2 or name[:4] == "xn--")
    return {
        "domains": domains,
        "country_codes": round(countries / total, 4),
        "note": "A domain ending such as .com, .org or .net says nothing of a place, and some countries' endings (.io, "
        ".ai, .tv, .me, .co) are in use everywhere: shares are of documents with a URL, by ending, not by author.",
    }


def licenses(tally: Tally) -> Json:
    """The ledger of licences: how much each covers, on which hosts, and how much no page names one for."""
    told = _amounts(tally.licenses, most=SHOWN)
    for name, entry in told.items():
        entry["hosts"] = _first(tally.license_hosts.get(name, Ledger(0)), most=5)
    missing = [tally.kept.total(place) - tally.licenses.total(place) for place in (0, 1)]
    return told | {"none named": dict(zip(("documents", "bytes"), missing, strict=True))} if told else {}


def contaminated(tally: Tally, sets: Mapping[str, Mapping[str, Any]]) -> Json:
    """For each evaluation set, how large it is and how many documents were removed because they hold a part of it."""
    found = _amounts(tally.contaminated)
    tasks = dict.fromkeys([*sets, *found])
    return {task: {**sets.get(task, {}), **found.get(task, {"documents": 0, "bytes": 0})} for task in tasks}


def near_duplicates(tally: Tally, clusters: Mapping[int, int]) -> Json:
    """How many clusters there are, how large, and which share of each source is gone as a copy of something."""
    read = _read_by_source(tally)
    gone: Counter[str] = Counter()
    for rule in CLUSTERED:
        for source, (documents, _) in tally.removed_sources.get(rule, Ledger(0)).entries.items():
            gone[source] += documents
    largest = [size for size in sorted(clusters, reverse=True)[:LARGEST] for _ in range(min(clusters[size], LARGEST))]
    return {
        "number": sum(clusters.values()),
        "documents": sum(size * number for size, number in clusters.items()),
        "sizes": {str(size): clusters[size] for size in sorted(clusters)},
        "largest": largest[:LARGEST],
        "sources": {
            source: {"removed": number, "of": read[source], "share": round(number / read[source], 4)}
            for source, number in sorted(gone.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
        },
    }


def _read_by_source(tally: Tally) -> Counter[str]:
    """Documents of each source, kept and removed."""
    read = Counter({source: amounts[0] for source, amounts in tally.kept.entries.items()})
    for ledger in tally.removed_sources.values():
        read.update({source: amounts[0] for source, amounts in ledger.entries.items()})
    return read


def _amounts(ledger: Ledger, names: Sequence[str] = ("documents", "bytes"), *, most: int | None = None) -> Json:
    return {name: dict(zip(names, amounts, strict=True)) for name, amounts in ledger.ranked()[:most]}


def _first(ledger: Ledger, *, most: int | None = None) -> dict[str, int]:
    return {name: amounts[0] for name, amounts in ledger.ranked()[:most]}


def _by_year(ledger: Ledger) -> dict[str, int]:
    return {year: documents for year, (documents, _) in sorted(ledger.entries.items())}
