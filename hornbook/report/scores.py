"""How the models were measured: what each stage improved, and every metric of every model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hornbook.report.folder import Json, Run
from hornbook.report.wording import metric_of, rank, score


@dataclass(frozen=True, kw_only=True)
class Improvement:
    """A number that a stage is meant to change, before it and after it, on held-out rows."""

    stage: str
    metric: str
    better: str
    before: float
    after: float
    interval: tuple[float, float] | None = None
    """95 % interval of `after`, where it is known."""

    @property
    def achieved(self) -> bool:
        return self.after < self.before if self.better == "lower" else self.after > self.before


def improvements(runs: Sequence[Run]) -> list[Improvement]:
    """What `evaluate` found that each stage did; without it, what the stages measured themselves."""
    judged = [
        _judged(row, run.results.get("intervals", {})) for run in runs for row in run.results.get("improvements", ())
    ]
    return judged or [own[0] for run in runs if (own := own_improvements(run))]


def _judged(row: Json, intervals: Json) -> Improvement:
    known = intervals.get(row["stage"], {}).get(row["metric"])
    keys = ("stage", "metric", "better", "before", "after")
    return Improvement(**{key: row[key] for key in keys}, interval=(known["low"], known["high"]) if known else None)


def own_improvements(run: Run) -> list[Improvement]:
    """Every metric that a training stage took both before and after, that has a direction."""
    before, after = run.results.get("before", {}), run.results.get("after", {})
    if not isinstance(before, dict) or not isinstance(after, dict):
        return []
    keys = sorted((key for key in before if key in after and metric_of(key).better), key=rank)
    return [
        Improvement(stage=run.table, metric=k, better=metric_of(k).better, before=before[k], after=after[k])
        for k in keys
    ]


def gauge(row: Improvement) -> dict[str, float]:
    """Where before, after and its interval stand on the card's line, in percent from its left."""
    values = [row.before, row.after, 0.0]
    low, high = (0.0, 1.0) if metric_of(row.metric).percent else (min(values), max(values))
    bounds = row.interval or (row.after, row.after)
    places = {"before": row.before, "after": row.after, "low": bounds[0], "high": bounds[1]}
    return {key: round(100 * (value - low) / ((high - low) or 1.0), 2) for key, value in places.items()}


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


def verdict(rows: Sequence[Improvement]) -> str:
    """How many stages did what they are for."""
    achieved = sum(row.achieved for row in rows)
    share = "Every stage" if achieved == len(rows) else f"{achieved} of {len(rows)} stages"
    meant = "it is meant" if achieved == len(rows) else "they are meant"
    told = f"improved what {meant} to improve, measured before and after on rows that no stage was trained on."
    return f"{share} {told}" if rows else ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model's value of one metric, as text."""

    text: str = ""
    interval: str = ""
    best: bool = False


def matrix(run: Run) -> list[tuple[str, list[Cell]]]:
    """Metrics by models, in the order of `run.labels`, the best of each metric marked."""
    models = run.results.get("models", {})
    keys = sorted({key for scores in models.values() for key in scores}, key=rank)
    return [(key, [_cell(run, label, key, _best(models, key)) for label in run.labels]) for key in keys]


def _best(models: Mapping[str, Json], key: str) -> float | None:
    values = [scores[key] for scores in models.values() if key in scores]
    pick = {"lower": min, "higher": max}.get(metric_of(key).better)
    return pick(values) if pick else None


def _cell(run: Run, label: str, key: str, best: float | None) -> Cell:
    value = run.results["models"].get(label, {}).get(key)
    if value is None:
        return Cell()
    known = run.results.get("intervals", {}).get(label, {}).get(key)
    interval = f"{score(known['low'], key)} to {score(known['high'], key)}" if known else ""
    return Cell(text=score(value, key), interval=interval, best=value == best)
