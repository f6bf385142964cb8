"""A scaling law as a picture: what the models of a ladder reached, what the law says, and what it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hornbook.report.canvas import Figure, canvas, series
from hornbook.report.folder import Json, Run
from hornbook.report.wording import score

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def ladder(run: Run) -> Figure:
    """Bits per byte over the FLOPs of training: dots measured, lines the law, the prediction with its range."""
    target = run.results["predicted"]
    by_depth: dict[int, list[Json]] = {}
    for row in sorted(run.results["ladder"], key=lambda row: (row["depth"], row["flops"])):
        by_depth.setdefault(row["depth"], []).append(row)
    title = f"{run.table}: bits per byte by FLOPs of training"
    with canvas(560, 260, title=title, description=_spoken(run.results["ladder"], target), ticks=4) as drawing:
        axes = drawing.axes
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0e}".replace("e+", "e"))
        for place, rows in enumerate(by_depth.values()):
            _depth(axes, rows, colour=series(place))
        _prediction(axes, target, colour=series(len(by_depth)))
    reached = {f"{depth} layers": rows[-1]["bits_per_byte"] for depth, rows in by_depth.items()}
    reached[f"{target['depth']} layers, predicted"] = target["law"]
    legend = [(name, score(value, "bits_per_byte")) for name, value in reached.items()]
    unit = "dots: measured; lines: the law"
    return Figure(title="Bits per byte", unit=unit, picture=drawing.picture, legend=legend, aside=False)


def _depth(axes: Axes, rows: Sequence[Json], *, colour: str) -> None:
    flops = [row["flops"] for row in rows]
    axes.plot(flops, [row["law"] for row in rows], color=colour, linewidth=1.4)
    axes.plot(flops, [row["bits_per_byte"] for row in rows], "o", color=colour, markersize=5, markeredgewidth=0)


def _prediction(axes: Axes, target: Json, *, colour: str) -> None:
    axes.plot([target["flops"]] * 2, [target["low"], target["high"]], color=colour, linewidth=1.4)
    axes.plot([target["flops"]], [target["law"]], "_", color=colour, markersize=14, markeredgewidth=2)
    if target["bits_per_byte"] is not None:
        axes.plot([target["flops"]], [target["bits_per_byte"]], "o", color=colour, markersize=5, markeredgewidth=0)


def _spoken(rows: Sequence[Json], target: Json) -> str:
    told = [f"{row['depth']} layers, {row['flops']:.3g} FLOPs: {row['bits_per_byte']:.3f}" for row in rows]
    return "; ".join([*told, f"predicted for {target['flops']:.3g} FLOPs: {target['law']:.3f}"])
