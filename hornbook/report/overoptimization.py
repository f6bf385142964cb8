"""Reward against distance from the reference: where it stops to rise on held-out questions, the reward is being gamed.

Over the root of the KL divergence, as in "Scaling Laws for Reward Model Overoptimization" (arXiv 2210.10760).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

from hornbook.report.canvas import Figure, canvas, numbered, plain, series
from hornbook.report.folder import Json

KL, HELD_OUT, LENGTH = "held_out_kl", "held_out_reward", "held_out_length"


def overoptimization(table: str, rows: Sequence[Json]) -> Figure | None:
    """A line of what was evaluated and one of what was learned from, from the first evaluation to the last.

    None, where nothing was evaluated twice.
    """
    evaluated = [row for row in rows if KL in row and HELD_OUT in row]
    if len(evaluated) < 2:
        return None
    roots = [max(0.0, float(row[KL])) ** 0.5 for row in evaluated]
    lines = {"held out": [float(row[HELD_OUT]) for row in evaluated], "learned from": _learned(rows, evaluated)}
    told = "; ".join(f"{name}: {plain(values[0])} to {plain(values[-1])}" for name, values in lines.items())
    with canvas(560, 240, title=f"{table}: reward by distance", description=told, ticks=5) as drawing:
        numbered(drawing.axes)
        for place, values in enumerate(lines.values()):
            drawing.axes.plot(roots, values, "-", color=series(place), linewidth=1.4)
            drawing.axes.plot(roots[-1:], values[-1:], "o", color=series(place), markersize=6, markeredgewidth=0)
    beside = {name: [float(row[key]) for row in evaluated] for name, key in _BESIDE if key in evaluated[0]}
    ends = [(name, f"{plain(all_[0])} to {plain(all_[-1])}") for name, all_ in (lines | beside).items()]
    unit = "up: reward; right: root of the KL divergence from the reference, in nats a token"
    return Figure(title="Reward by distance", unit=unit, picture=drawing.picture, legend=ends, aside=False)


_BESIDE = (("KL", KL), ("tokens of an answer", LENGTH))


def _learned(rows: Sequence[Json], evaluated: Sequence[Json]) -> list[float]:
    """Mean reward of the steps up to each evaluation; at the first, of those up to the second."""
    steps = [float(row.get("step", 0)) for row in evaluated]
    earned = [(float(row.get("step", 0)), float(row["reward"])) for row in rows if "reward" in row]
    means = [[reward for step, reward in earned if low < step <= high] for low, high in pairwise(steps)]
    found = [fmean(part) if part else float("nan") for part in means]
    return found[:1] + found
