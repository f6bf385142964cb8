"""The page people look at first: one run, or a whole recipe, as one HTML file that needs nothing else.

Everything shown comes from the run folders. Crawled text is hostile by nature, so each text passes through jinja's escaping and loses
control and bidirectional characters; the page has no script and its own policy forbids loading anything. A section without data is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from hornbook import charts, wording
from hornbook.errors import InputError
from hornbook.manifest import Manifest, is_run_name, read_manifest
from hornbook.wording import compact, duration, metric_of, score

Json = dict[str, Any]


_NOT_CURVES = ("step", "tokens", "loss", "learning_rate", "grad_norm")
_SHOWN_RESULTS = ("before", "after", "models", "labels", "samples", "improvements")
_LAST_CURVES = ("learning_rate", "grad_norm")
_MAKES = {"crawl": "pages", "corpus": "documents", "tokens": "tokens", "rows": "rows", "model": "parameters"}
_MADE = {"align": "an aligned", "sft": "an instruction-tuned", "pretrain": "a base"}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a page needs of one run folder; parts that the folder lacks are empty."""

    table: str
    """Its table in the recipe; the stage's name where it stands alone."""
    manifest: Manifest
    config: str
    metrics: Sequence[Json]
    timings: Sequence[Json]
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
        key = _MAKES.get(self.manifest.makes, "")
        if "models" in self.results:
            return f"{len(self.results['models'])} models"
        value = _total({**self.results, **self.manifest.counts}.get(key))
        return f"{compact(value)} {key}" if value else ""


def _total(value: Any) -> float:
    """The sum of all numbers in a value."""
    if isinstance(value, Mapping):
        return sum(map(_total, value.values()))
    return value if isinstance(value, int | float) else 0


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


def render_run(folder: Path) -> str:
    """The page of one run, made from its folder alone."""
    run = load(folder)
    others = {key: value for key, value in run.results.items() if key not in _SHOWN_RESULTS}
    view = {"gains": own_improvements(run), "others": others, "machine": machine([run]), "nodes": lineage([run])}
    return _page("run.html", title=run.name, run=run, summary=summary(run), versions=run.manifest.versions, **view)


def render_recipe(name: str, runs: Mapping[str, Path]) -> str:
    """The page of a recipe, to be written beside the run folders, as its links expect.

    Args:
        runs: each table of the recipe, in order, with the run folder made from it.
    """
    loaded = [load(folder, table=table, order=list(runs)) for table, folder in runs.items()]
    versions = {key: value for run in loaded for key, value in run.manifest.versions.items()}
    judged = [run for run in loaded if "models" in run.results]
    trained = [run for run in loaded if any("loss" in row for row in run.metrics)]
    corpora = [run for run in loaded if run.card]
    gains = improvements(loaded)
    view = {"name": name, "machine": machine(loaded), "trained": trained, "corpora": corpora, "headline": headline(loaded), "gains": gains, "verdict": verdict(gains), "facts": data_facts(loaded), "failures": failures(loaded), "nodes": lineage(loaded)}
    return _page("recipe.html", title=name, runs=loaded, judged=judged[-1:], versions=versions, **view)


def _page(template: str, **view: Any) -> str:
    return wording.visible(_environment().get_template(template).render(**view))


@cache
def _environment() -> Environment:
    loader = PackageLoader("hornbook")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    written = (wording.compact, wording.count, wording.size, wording.duration, wording.score, wording.name_of, wording.metric_of)
    drawn = (change, gauge, curves, numbers, matrix, data_card)
    environment.filters.update({function.__name__: function for function in (*written, *drawn)})
    return environment


# What the page says.


def headline(runs: Sequence[Run]) -> str:
    """One sentence: from how much, to what, in what time."""
    models = [run for run in runs if run.manifest.makes == "model"]
    aligned = [run for run in models if run.table == "align"] or models
    start = f"From {runs[0].amount}" + (" crawled" if runs[0].manifest.makes == "crawl" else "") if runs and runs[0].amount else "From text"
    end = f"to {_MADE.get(aligned[-1].manifest.stage, 'a')} model" if aligned else "to what came of it"
    parameters = aligned[-1].results.get("parameters") if aligned else None
    of = f" of {compact(parameters)} parameters" if parameters else ""
    return f"{start} {end}{of} in {duration(sum(run.seconds for run in runs))}."


def summary(run: Run) -> str:
    """What a run made, in a line: `541 documents in 11.8 s`."""
    made = run.amount or run.manifest.makes or run.manifest.stage
    return f"{made[:1].upper()}{made[1:]} in {duration(run.seconds)}" if run.seconds else made


def machine(runs: Sequence[Run]) -> str:
    """Where and when it was made."""
    known = [run.occasion for run in runs if run.occasion]
    places = dict.fromkeys(f"{o['cpu']}, {o['cores']} cores" for o in known if "cpu" in o and "cores" in o)
    began = min((str(o["started"])[:10] for o in known if "started" in o), default="")
    return " · ".join([*places, *([f"begun {began}"] if began else [])])


def verdict(rows: Sequence[Improvement]) -> str:
    """How many stages did what they are for."""
    achieved = sum(row.achieved for row in rows)
    share = "Every stage" if achieved == len(rows) else f"{achieved} of {len(rows)} stages"
    return f"{share} improved what it is meant to improve, measured before and after it on rows that no stage was trained on." if rows else ""


@dataclass(frozen=True, kw_only=True)
class Improvement:
    """A number that a stage is meant to change, before it and after it, on held-out rows."""

    stage: str
    metric: str
    better: str
    before: float
    after: float

    @property
    def achieved(self) -> bool:
        return self.after < self.before if self.better == "lower" else self.after > self.before


def improvements(runs: Sequence[Run]) -> list[Improvement]:
    """What `evaluate` found that each stage did; without it, what the stages measured themselves."""
    judged = [row for run in runs for row in run.results.get("improvements", ())]
    if judged:
        keys = ("stage", "metric", "better", "before", "after")
        return [Improvement(**{key: row[key] for key in keys}) for row in judged]
    return [own[0] for run in runs if (own := own_improvements(run))]


def own_improvements(run: Run) -> list[Improvement]:
    """Every metric that a training stage took both before and after, that has a direction."""
    before, after = run.results.get("before", {}), run.results.get("after", {})
    if not isinstance(before, dict) or not isinstance(after, dict):
        return []
    rows = [(key, metric_of(key).better) for key in before if key in after and metric_of(key).better]
    return [Improvement(stage=run.table, metric=key, better=better, before=before[key], after=after[key]) for key, better in rows]


def gauge(row: Improvement) -> tuple[float, float]:
    """Where before and after stand on the card's line, in percent from its left."""
    low, high = (0.0, 1.0) if metric_of(row.metric).percent else (min(row.before, row.after, 0.0), max(row.before, row.after, 0.0))
    places = [100 * (value - low) / ((high - low) or 1.0) for value in (row.before, row.after)]
    return round(places[0], 2), round(places[1], 2)


def change(row: Improvement) -> str:
    """The change in words: `falls by 61%`, `rises by 23 points`."""
    difference = row.after - row.before
    verb = "falls by" if difference < 0 else "rises by"
    if difference == 0:
        return "stays the same"
    if metric_of(row.metric).percent:
        return f"{verb} {abs(100 * difference):.1f} points"
    if row.before > 0:
        return f"{verb} {abs(100 * difference / row.before):.3g}%"
    return f"{verb} {abs(difference):.3f} {metric_of(row.metric).unit}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart with its caption and the last value of each line."""

    title: str
    unit: str
    picture: Markup
    legend: Sequence[tuple[str, str]]
    aside: bool
    """Of interest to who looks for what went wrong, and drawn smaller."""


def curves(run: Run) -> list[Figure]:
    """The charts of a training run: loss, what was evaluated, then learning rate and gradient norm."""
    keys = list(dict.fromkeys(key for row in run.metrics for key in row))
    judged = list(dict.fromkeys(key.partition("/")[0] for key in keys if key not in _NOT_CURVES))
    wanted = ("loss", *judged, *_LAST_CURVES)
    drawn = (_figure(run, base, [key for key in keys if key.partition("/")[0] == base]) for base in wanted)
    return [figure for figure in drawn if figure]


def _figure(run: Run, base: str, keys: Sequence[str]) -> Figure | None:
    aside = base in _LAST_CURVES
    lines = {key: charts.finite(charts.listed(run.metrics, key)) for key in keys}
    lines = {key: points for key, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    known = metric_of(base)
    picture = charts.curve(lines, title=f"{run.table}: {known.label}", smooth=base in ("loss", "grad_norm"), small=aside)
    ends = [(key.partition("/")[2], score(points[-1][1], base)) for key, points in lines.items()]
    return Figure(title=known.label, unit=known.unit, picture=picture, legend=ends, aside=aside)


def numbers(run: Run, most: int = 12) -> tuple[list[str], list[Json]]:
    """The charts as a table: its columns, and evenly chosen rows of `metrics.jsonl` with first and last."""
    merged: dict[float, Json] = {}
    for row in run.metrics:
        merged.setdefault(row.get("step", 0), {}).update(row)
    rows = [merged[step] for step in sorted(merged)]
    judged = [row for row in rows if any(key not in _NOT_CURVES for key in row)] or rows
    last = len(judged) - 1
    chosen = sorted({round(last * n / (most - 1)) for n in range(most)}) if last >= 0 else []
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "step"))
    return ["step", *columns], [judged[index] for index in chosen]


def matrix(run: Run) -> list[tuple[str, list[tuple[str, bool]]]]:
    """Metrics by models: each metric's values as text, in order of model, with the best marked."""
    models = run.results.get("models", {})
    keys = sorted({key for scores in models.values() for key in scores}, key=wording.rank)
    return [(key, _marked([models[label].get(key) for label in run.labels], key)) for key in keys]


def _marked(values: Sequence[float | None], key: str) -> list[tuple[str, bool]]:
    present = [value for value in values if value is not None]
    best = {"lower": min, "higher": max}.get(metric_of(key).better, lambda _: None)(present)
    return [("" if value is None else score(value, key), value is not None and value == best) for value in values]


def data_card(run: Run) -> Json:
    """The data card as the page shows it."""
    card = run.card
    rules = [
        {"name": name, "documents": entry["documents"], "examples": entry.get("examples", [])} for name, entry in card.get("removed", {}).items()
    ]
    return {
        "table": card.get("table", []),
        "kept": sum(row["documents"] for row in card.get("table", [])),
        "rules": sorted(rules, key=lambda rule: -rule["documents"]),
        **{key: _ranked(card.get(key, {})) for key in ("languages", "hosts", "masked", "opted_out")},
    }


def data_facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The way from pages to tokens in a few figures: (what, how much)."""
    facts: list[tuple[str, str]] = []
    for run in runs:
        counts, results = run.manifest.counts, run.results
        match run.manifest.makes:
            case "crawl":
                facts += [(f"pages of {run.table}", wording.count(counts.get("pages", 0))), ("on the wire", wording.size(counts.get("bytes", 0)))]
            case "tokens" if "vocabulary" in results:
                facts += [("entries in the vocabulary", wording.count(results["vocabulary"]))]
                facts += [("bytes per token", f"{results['bytes_per_token']:.2f}")] if "bytes_per_token" in results else []
            case "corpus" | "tokens" | "rows" if run.amount:
                number, _, what = run.amount.rpartition(" ")
                facts.append((f"{what} from {run.table}", number))
    return facts


def failures(runs: Sequence[Run]) -> dict[str, int]:
    """Why the crawl has no page for an address, by count."""
    total: dict[str, int] = {}
    for run in runs:
        for reason, number in run.results.get("failures", {}).items() if run.manifest.makes == "crawl" else ():
            total[reason] = total.get(reason, 0) + number
    return _ranked(total)


def _ranked(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def lineage(runs: Sequence[Run]) -> Markup:
    """The drawing of what was made from what; inputs from elsewhere are dashed."""
    names = {run.name for run in runs}
    parents = {run.name: [given["name"] for given in run.manifest.inputs.values()] for run in runs}
    outside = dict.fromkeys(name for given in parents.values() for name in given if name not in names)
    nodes = [charts.Node(name=name, heading=name.partition("-")[0], detail="", outside=True) for name in outside]
    for run in runs:
        link = run.link if len(runs) > 1 else ""
        node = charts.Node(
            name=run.name, heading=run.table, detail=run.amount.replace("\u00a0million", "\u00a0M"), kind=run.manifest.makes, parents=parents[run.name], link=link
        )
        nodes.append(node)
    return charts.lineage(nodes, title="What was made from what") if nodes else Markup()
