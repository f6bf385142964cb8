"""What the text is: the data card, and the way from pages to tokens and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hornbook.report.folder import Json, Run
from hornbook.report.wording import count

_DONE = {"crawl": "crawled", "corpus": "kept", "rows": "made of them"}


def tokens_by_source(runs: Sequence[Run]) -> dict[str, int]:
    """What `tokenize` made of each source; a card is written before there are tokens."""
    tables = [run.results.get("sources", {}) for run in runs if run.manifest.makes == "tokens"]
    rows = {source: row for table in tables for source, row in table.items()}
    return {source: row.get("train_tokens", 0) + row.get("valid_tokens", 0) for source, row in rows.items()}


def data_card(run: Run, tokens: Mapping[str, int]) -> Json:
    """The data card as the page shows it, with the tokens of a run that came after it instead of its words."""
    rows, removed = run.card.get("table", []), run.card.get("removed", {})
    tokenized = all(row["source"] in tokens for row in rows)
    return {
        **run.card,
        "table": [{**row, "tokens": tokens[row["source"]]} for row in rows] if tokenized else rows,
        "unit": "Tokens" if tokenized else "Words",
        "kept": sum(row["documents"] for row in rows),
        "rules": sorted(
            ({"name": name, **entry} for name, entry in removed.items()), key=lambda rule: -rule["documents"]
        ),
        "malformed_count": run.manifest.counts.get("malformed", 0),
    }


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
