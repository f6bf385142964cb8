"""Ways of adapting one base beside each other: what each gained on its domain, what it lost elsewhere, and its cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hornbook.report.canvas import Figure, canvas, number, numbered, series
from hornbook.report.folder import Json, Run
from hornbook.report.wording import duration, score, size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BITS = "bits_per_byte/"


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """One model beside its base, in bits per byte."""

    label: str
    gained: float
    """Fewer, on the domain: the sources that all of them learned from."""
    lost: float
    """More, on the others, also where it saw some of them again."""
    seconds: float
    memory: float
    """Bytes at the peak."""


def adaptation(runs: Sequence[Run]) -> Figure | None:
    """A point a model, with its number: to the right what it lost, upwards what it gained; its size is its memory.

    None, unless `evaluate` measured two models or more of one base on what they learned from and on something else.
    """
    rows = adapted(runs)
    if len(rows) < 2:
        return None
    told = [f"{row.label}: gained {row.gained:.3f}, lost {row.lost:.3f}" for row in rows]
    with canvas(560, 260, title="What adapting gained and lost", description="; ".join(told), ticks=5) as drawing:
        _draw(drawing.axes, rows)
    legend = [(f"{place} {row.label}", _costs(row)) for place, row in enumerate(rows, 1)]
    unit = "up: bits per byte gained on the domain; right: lost on other text; size: memory"
    return Figure(title="Adapting the base", unit=unit, picture=drawing.picture, legend=legend, aside=False)


def adapted(runs: Sequence[Run]) -> list[Adapted]:
    """The models that go on from one base, in the order of the recipe."""
    judged = next((run for run in reversed(runs) if "models" in run.results), None)
    if judged is None:
        return []
    scores: Mapping[str, Json] = judged.results["models"]
    names = {label: judged.manifest.inputs.get(f"models.{label}", {}).get("name") for label in scores}
    labels = {name: label for label, name in names.items() if name}
    adapting = [
        (run, scores[base])
        for run in runs
        if run.name in labels and (base := labels.get(run.manifest.inputs.get("base", {}).get("name", "")))
    ]
    sources = [learned for run, _ in adapting if (learned := _learned(run))]
    shared = set.intersection(*sources) if sources else set()
    found = (
        _beside(run, scores[labels[run.name]], before, labels[run.name], domain=shared or _learned(run))
        for run, before in adapting
    )
    return [row for row in found if row is not None]


def _learned(run: Run) -> set[str]:
    return {f"{BITS}{source}" for source in run.results.get("epochs", {})}


def _beside(run: Run, after: Json, before: Json, label: str, *, domain: set[str]) -> Adapted | None:
    measured = {key for key in after if key.startswith(BITS) and key in before}
    if not domain & measured or not measured - domain:
        return None
    return Adapted(
        label=label,
        gained=_mean(before[key] - after[key] for key in measured & domain),
        lost=_mean(after[key] - before[key] for key in measured - domain),
        seconds=run.seconds,
        memory=float(run.occasion.get("peak_memory_bytes", 0)),
    )


def _mean(values: Iterable[float]) -> float:
    listed = sorted(values)
    return sum(listed) / len(listed)


def _draw(axes: Axes, rows: Sequence[Adapted]) -> None:
    most = max(row.memory for row in rows) or 1.0
    numbered(axes)
    axes.margins(x=0.15, y=0.2)
    for place, row in enumerate(rows):
        points = 4 + 10 * (row.memory / most) ** 0.5
        axes.plot([row.lost], [row.gained], "o", color=series(place), markersize=points, markeredgewidth=0)
    # Colours begin again after a few, and not everybody tells them apart.
    number(axes, [(row.lost, row.gained) for row in rows], away=14)


def _costs(row: Adapted) -> str:
    measured = f"{score(row.gained, BITS)} gained, {score(row.lost, BITS)} lost"
    return f"{measured}, {duration(row.seconds)}, {size(row.memory)}"
