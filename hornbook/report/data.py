"""What the text is: the data card, and the way from pages to tokens and rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hornbook.report.folder import Json, Run
from hornbook.report.wording import count
from hornbook.text.audit import MOST
from hornbook.text.card import OTHERS

_DONE = {"crawl": "crawled", "corpus": "kept", "rows": "made of them"}
_MOST_YEARS = 30


def tokens_by_source(runs: Sequence[Run]) -> dict[str, int]:
    """What `tokenize` made of each source; a card is written before there are tokens."""
    tables = [run.results.get("sources", {}) for run in runs if run.manifest.makes == "tokens"]
    rows = {source: row for table in tables for source, row in table.items()}
    return {source: row.get("train_tokens", 0) + row.get("valid_tokens", 0) for source, row in rows.items()}


def data_card(run: Run, tokens: Mapping[str, int]) -> Json:
    """The data card as the page shows it, with the tokens of a run that came after it instead of its words."""
    card = run.card
    rows, removed = card.get("table", []), card.get("removed", {})
    named = [row["source"] for row in rows if row["source"] != OTHERS]
    tokenized = all(source in tokens for source in named)
    rest = sum(tokens.values()) - sum(tokens.get(source, 0) for source in named)
    return {
        **card,
        "table": [{**row, "tokens": tokens.get(row["source"], rest)} for row in rows] if tokenized else rows,
        "unit": "Tokens" if tokenized else "Words",
        "kept": sum(row["documents"] for row in rows),
        "rules": sorted(
            ({"name": name, **entry} for name, entry in removed.items()), key=lambda rule: -rule["documents"]
        ),
        "malformed_count": run.manifest.counts.get("malformed", 0),
        "figures": [figure for figure in _figures(card) if figure["rows"]],
        "years": [figure for figure in _years(card.get("dates", {})) if figure["rows"]],
        "audits": audits(card.get("audits", {})),
        "most_ratio": MOST,
    }


def _figures(card: Json) -> Iterator[Json]:
    """The small tables with bars: title, rows of (name, number), and what the numbers are."""
    known, places, clusters = card.get("hosts_known", {}), card.get("geography", {}), card.get("clusters", {})
    at_least = "at least " if known.get("at_least") else ""
    hosts = f"Documents of the largest of {at_least}{count(known.get('number', 0))} hosts"
    yield _figure("Languages", _documents(card.get("languages", {})))
    yield _figure("Hosts", _documents(card.get("hosts", {})), hosts)
    share = f"{places.get('country_codes', 0):.0%} of the documents with an address have a country's"
    yield _figure("Endings of host names", _documents(places.get("domains", {})), share)
    yield _figure("Licences", _ranked(_documents(card.get("licenses", {}))), "Documents, by the licence that they name")
    masked = f"Occurrences replaced, in {count(card.get('masked_documents', 0))} documents"
    yield _figure("Personal data masked", card.get("masked", {}), masked)
    yield _figure("Opted out", card.get("opted_out", {}), "Pages left out because they ask for it, by signal")
    tests = _documents(card.get("contamination", {}))
    yield _figure("Evaluation sets", tests, "Documents removed because they hold a part of one")
    if clusters.get("number"):
        note = f"{count(clusters['number'])} clusters of {count(clusters['documents'])} documents, by their size"
        yield _figure("Near duplicates", _by_size(clusters["sizes"]), note)
    copies = {source: 100 * row["share"] for source, row in clusters.get("sources", {}).items()}
    yield _figure("Copies in each source", copies, "Share of its documents that was removed as nearly the same", "%")
    taken = {rule: row["bytes"] for rule, row in card.get("edits", {}).items()}
    yield _figure("Taken out of documents", taken, "Bytes that a rule took out of documents that stay", "bytes")
    cut = {rule: row["lines"] for rule, row in card.get("cut", {}).items()}
    yield _figure("Lines cut", cut, "Lines that a rule cut out of documents before they were judged")
    yield _figure("Malformed", card.get("malformed_kinds", {}), "Rows and records that could not be read, by reason")
    kinds = {name or "other": row["read"] for name, row in card.get("kinds", {}).items()}
    yield _figure("Read", kinds if len(kinds) > 1 else {}, "Documents judged, by what they were")


def _figure(title: str, rows: Mapping[str, float], note: str = "", unit: str = "") -> Json:
    return {"title": title, "rows": rows, "note": note, "unit": unit}


def _documents(entries: Mapping[str, Any]) -> dict[str, int]:
    return {name: row["documents"] for name, row in entries.items()}


def _by_size(sizes: Mapping[str, int]) -> dict[str, int]:
    """Clusters by size, the large sizes together: 2, 3 to 4, 5 to 8, 9 to 16 and so on."""
    told: dict[str, int] = {}
    for size, number in sorted((int(size), number) for size, number in sizes.items()):
        high = 1 << (size - 1).bit_length()
        name = f"{high // 2 + 1} to {high} documents" if high > 2 else "2 documents"
        told[name] = told.get(name, 0) + number
    return told


def _years(dates: Mapping[str, Any]) -> Iterator[Json]:
    """Documents by year, without a gap, so that columns stand where their year is."""
    for key, title in (("created", "Fetched or written"), ("published", "Published, as the pages say")):
        found = {int(year): number for year, number in dates.get(key, {}).items()}
        years = range(max(min(found), max(found) - _MOST_YEARS), max(found) + 1) if found else ()
        earlier = sum(number for year, number in found.items() if year < min(years, default=0))
        yield {"title": title, "rows": {year: found.get(year, 0) for year in years}, "earlier": earlier}


def audits(found: Json) -> list[Json]:
    """What each filter removed of the slices of an audited set, the most unequal filter first."""
    told = []
    for row in found.get("filters", []):
        slices = {name: _audited(cell) for name, cell in row["slices"].items()}
        worst = max((cell["ratio"] for cell in slices.values()), default=0.0)
        highest = max((cell["interval"][1] for cell in slices.values()), default=1.0)
        told.append({**row, "slices": slices, "worst": worst, "scale": 100 / (highest or 1.0)})
    return sorted((row for row in told if row["overall"]["removed"]), key=lambda row: -row["worst"])


def _audited(cell: Json) -> Json:
    """A slice's figures, with a ratio of infinity where only it and not its reference is touched, 0 without one."""
    ratio = cell.get("ratio", 0.0)
    return {**cell, "ratio": math.inf if ratio is None else ratio}


def facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The way from pages to tokens and rows in a few figures: (what, how much)."""
    told: list[tuple[str, str]] = []
    for run in runs:
        if run.manifest.makes in ("crawl", "corpus", "tokens", "rows") and run.amount:
            number, _, unit = run.amount.rpartition(" ")
            what = f"{unit} {_DONE.get(run.manifest.makes, '')}".strip()
            told.append((f"{what}, {run.table}" if what in dict(told) else what, number))
        if "vocabulary" in run.results:
            told.append(("tokens in the vocabulary", count(run.results["vocabulary"])))
        if "bytes_per_token" in run.results:
            told.append(("bytes per token", f"{run.results['bytes_per_token']:.2f}"))
    return told


def outcomes(runs: Sequence[Run]) -> dict[str, int]:
    """What became of each address that the crawls came upon, by count."""
    total: dict[str, int] = {}
    for run in runs:
        for reason, number in run.results.get("outcomes", {}).items():
            total[reason] = total.get(reason, 0) + number
    return _ranked(total)


def rows_made(runs: Sequence[Run], most: int = 3) -> list[Json]:
    """Some preference pairs that a stage made, with prompt, chosen and rejected."""
    examples = [run.results.get("examples", {}) for run in runs if run.manifest.makes == "rows"]
    return [row for example in examples for row in example.get("train", [])][:most]


def _ranked(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
