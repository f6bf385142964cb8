"""A run folder, read for the report: manifest, settings, metrics, occasion and card, each empty where absent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbook.errors import InputError
from hornbook.manifest import Manifest, is_run_name, read_manifest
from hornbook.report.wording import compact

Json = dict[str, Any]

_MAKES: dict[str, Sequence[tuple[str, str]]] = {
    "crawl": (("pages_ok", "pages"), ("pages", "pages"), ("files", "files")),
    "corpus": (("documents", "documents"),),
    "tokens": (("tokens", "tokens"),),
    "rows": (("questions", "questions"), ("rows", "rows")),
    "model": (("parameters", "parameters"),),
    "reward model": (("parameters", "parameters"),),
}
"""For each kind of run, the counts and results that say how much it made, and their unit; the first that is there."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a page needs of one run folder; parts that the folder lacks are empty."""

    table: str
    """Its table in the recipe; the stage's name where it stands alone."""
    manifest: Manifest
    config: str
    metrics: Sequence[Json]
    timings: Sequence[Json]
    skipped: Sequence[Json]
    """Steps that nothing was learned from."""
    occasion: Json
    card: Json
    order: Sequence[str] = ()
    """The tables of the recipe, in order."""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def results(self) -> Json:
        return self.manifest.results

    @property
    def seconds(self) -> float:
        return float(self.occasion.get("seconds", 0.0))

    @property
    def size(self) -> int:
        return sum(int(entry["size"]) for entry in self.manifest.files.values())

    @property
    def link(self) -> str:
        return f"{self.name}/report.html" if is_run_name(self.name) else ""

    @property
    def labels(self) -> list[str]:
        """The models that were measured, in the order of the recipe; those that no table made come first."""
        given = self.results.get("labels") or self.results.get("models", {})
        return sorted(given, key=lambda label: list(self.order).index(label) if label in self.order else -1)

    @property
    def rate(self) -> float:
        """Median tokens per second; 0 where none was recorded."""
        rates = sorted(float(row["tokens_per_second"]) for row in self.timings if "tokens_per_second" in row)
        return rates[len(rates) // 2] if rates else 0.0

    @property
    def amount(self) -> str:
        """The one figure that says how much it made: `618 pages`."""
        if "models" in self.results:
            return f"{len(self.results['models'])} models"
        known = {**self.results, **self.manifest.counts}
        return next(
            (f"{compact(known[key])} {unit}" for key, unit in _MAKES.get(self.manifest.makes, ()) if known.get(key)), ""
        )


def load(folder: Path, *, table: str = "", order: Sequence[str] = ()) -> Run:
    """Read a run folder for the report.

    Raises:
        InputError: the folder is no run, or one of its files cannot be read; names the file and the line.
    """
    manifest = read_manifest(folder)
    return Run(
        table=table or manifest.stage,
        manifest=manifest,
        config=_text(folder / "config.toml"),
        metrics=list(_rows(folder / "metrics.jsonl")),
        timings=list(_rows(folder / "log" / "timings.jsonl")),
        skipped=list(_rows(folder / "skipped.jsonl")),
        occasion=_object(folder / "log" / "occasion.json"),
        card=_object(folder / "card.json"),
        order=order,
    )


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def _object(path: Path) -> Json:
    value = _parse(_text(path) or "{}", path)
    return value if isinstance(value, dict) else {}


def _rows(path: Path) -> Iterator[Json]:
    for number, line in enumerate(_text(path).splitlines(), start=1):
        value = _parse(line, path, line=number)
        if isinstance(value, dict):
            yield value


def _parse(text: str, path: Path, *, line: int = 1) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} line {line} is no JSON: {error}") from error
