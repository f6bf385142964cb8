"""Curves of training runs for the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from markupsafe import Markup

from hornbook.report.canvas import Figure, canvas, plain, series, whole
from hornbook.report.folder import Json
from hornbook.report.overoptimization import overoptimization
from hornbook.report.wording import metric_of, rank, score, size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[float, float]]
"""(step, value) pairs in order of step."""

_MEASURED_ALWAYS = ("step", "tokens", "learned", "loss", "learning_rate", "grad_norm")
_ASIDE = ("grad_norm", "learning_rate", "tokens_per_second", "mfu", "memory")
_SMOOTH = ("loss", "grad_norm", "tokens_per_second", "mfu")

_MOST_POINTS = 240


class Measured(Protocol):
    """A run, finished or not, with what was measured of it step by step."""

    @property
    def table(self) -> str: ...
    @property
    def metrics(self) -> Sequence[Json]: ...
    @property
    def timings(self) -> Sequence[Json]: ...


def curves(run: Measured) -> list[Figure]:
    """The charts of a training run: loss, what was evaluated, and aside how the gradient and the machine did."""
    judged = list(dict.fromkeys(_base(key) for row in run.metrics for key in row if _is_judged(key)))
    rows = [*run.metrics, *run.timings]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    wanted = ("loss", *judged, *_ASIDE)
    drawn = (_figure(run.table, rows, base, [key for key in keys if _base(key) == base]) for base in wanted)
    return [figure for figure in (*drawn, overoptimization(run.table, run.metrics)) if figure]


def _base(key: str) -> str:
    return key.partition("/")[0]


def _is_judged(key: str) -> bool:
    """Whether it was evaluated now and then, and is not known of every step."""
    return _base(key) not in _MEASURED_ALWAYS


def _figure(table: str, rows: Sequence[Json], base: str, keys: Sequence[str]) -> Figure | None:
    aside = base in _ASIDE
    lines = {key: finite(listed(rows, key)) for key in keys}
    lines = {key: points for key, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    known = metric_of(base)
    picture = curve(lines, title=f"{table}: {known.label}", smooth=base in _SMOOTH, small=aside, unit=_unit(base))
    ends = [(key.partition("/")[2], score(points[-1][1], base)) for key, points in lines.items()]
    return Figure(title=known.label, unit=known.unit, picture=picture, legend=ends, aside=aside)


def numbers(run: Measured, most: int = 12) -> tuple[list[str], list[Json]]:
    """The charts as a table: its columns, and evenly chosen steps with first and last."""
    merged: dict[float, Json] = {}
    for row in run.metrics:
        merged.setdefault(row.get("step", 0), {}).update(row)
    rows = [merged[step] for step in sorted(merged)]
    judged = [row for row in rows if any(map(_is_judged, row))] or rows
    last = len(judged) - 1
    chosen = sorted({round(last * n / (most - 1)) for n in range(most)}) if judged else []
    measures = sorted({key for row in rows for key in row if _is_judged(key)}, key=rank)
    aside = sorted({key for row in rows for key in row if _base(key) in ("grad_norm", "learning_rate")}, key=rank)
    columns = [key for key in ("step", "loss", *measures, *aside) if any(key in row for row in rows)]
    return columns, [judged[index] for index in chosen]


def curve(
    lines: Mapping[str, Points],
    *,
    title: str,
    smooth: bool = False,
    small: bool = False,
    unit: Callable[[float], str] | None = None,
) -> Markup:
    """Lines over training steps.

    Args:
        title: what a reader who cannot see the picture is told, with the first and last value of each line.
        smooth: draw the values faintly and their running mean over them.
        small: for a narrow column beside others.
        unit: how the values are written beside the picture; plainly where it is None.
    """
    width, height = (240, 92) if small else (390, 206)
    description = "; ".join(_spoken(name, finite(points)) for name, points in lines.items())
    with canvas(width, height, title=title, description=description, ticks=2 if small else 4, unit=unit) as drawing:
        for place, points in enumerate(lines.values()):
            _line(drawing.axes, finite(points), colour=series(place), smooth=smooth)
    return drawing.picture


def finite(points: Points) -> list[tuple[float, float]]:
    """The points whose value is a number."""
    return [(step, value) for step, value in points if math.isfinite(value)]


def _spoken(name: str, points: Points) -> str:
    return f"{name}: {points[0][1]:.4g} at step {points[0][0]:g}, {points[-1][1]:.4g} at step {points[-1][0]:g}"


def _unit(base: str) -> Callable[[float], str]:
    known = metric_of(base)
    if known.percent:
        return lambda value: f"{100 * value:.3g}%"
    return size if known.bytes else whole if known.whole else plain


def _line(axes: Axes, points: Points, *, colour: str, smooth: bool) -> None:
    thin = _thinned(points)
    x, y = zip(*thin, strict=True)
    if smooth and len(points) > 20:
        axes.plot(x, y, color=colour, linewidth=0.9, alpha=0.3, clip_on=False)
        x, y = zip(*_thinned(_running_mean(points)), strict=True)
    few = len(thin) <= 30 and not smooth
    marker = "o" if few else None
    axes.plot(x, y, color=colour, linewidth=1.8, marker=marker, markersize=3.4, markeredgewidth=0, clip_on=False)


def _running_mean(points: Points) -> list[tuple[float, float]]:
    """Mean over a centred window of about a thirtieth of the run, narrower towards both ends; it does not lag."""
    sums = list(accumulate((value for _, value in points), initial=0.0))
    means: list[tuple[float, float]] = []
    for index, (step, _) in enumerate(points):
        reach = min(len(points) // 60 + 1, index, len(points) - 1 - index)
        means.append((step, (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)))
    return means


def _thinned(points: Points) -> list[tuple[float, float]]:
    """At most a few hundred points: of each stretch its lowest and highest, so that no spike is lost."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    size = math.ceil(2 * len(points) / _MOST_POINTS)
    stretches = [points[start : start + size] for start in range(0, len(points), size)]
    chosen = {pick(stretch, key=lambda p: (p[1], p[0])) for stretch in stretches for pick in (min, max)}
    return sorted(chosen | {points[0], points[-1]})


def listed(rows: Sequence[Json], key: str) -> list[tuple[float, float]]:
    """The (step, value) pairs of one number of `metrics.jsonl`."""
    return list(_pairs(rows, key))


def _pairs(rows: Sequence[Json], key: str) -> Iterator[tuple[float, float]]:
    for row in rows:
        value, step = row.get(key), row.get("step")
        if isinstance(value, int | float) and isinstance(step, int | float):
            yield float(step), float(value)
