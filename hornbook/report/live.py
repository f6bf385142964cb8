"""The page of a run that is still being made, from what it has written so far: it asks the browser to load it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from hornbook.report.folder import Json

RECENT = 50
"""Steps whose median time says how long the rest takes."""


@dataclass(frozen=True, kw_only=True)
class Going:
    """What a page needs of a run that is not finished; parts that are not there yet are empty."""

    name: str
    metrics: Sequence[Json]
    timings: Sequence[Json]
    skipped: Sequence[Json]
    occasion: Json
    work: Json
    """What it is at: label, total and unit of the progress shown last."""
    config: str

    @property
    def table(self) -> str:
        return self.name.rpartition("-")[0]

    @property
    def step(self) -> int:
        return int(self.metrics[-1]["step"]) if self.metrics else 0

    @property
    def total(self) -> int:
        """Steps in all; 0 where it is at something else."""
        return int(self.work.get("total") or 0) if self.work.get("unit") == "steps" else 0

    @property
    def latest(self) -> Json:
        """The last known value of everything that is recorded."""
        return {key: value for row in (*self.metrics, *self.timings) for key, value in row.items()}

    @property
    def seconds_left(self) -> float:
        """At the pace of the last steps, without evaluations; 0 where nothing is known of it."""
        recent = [float(row["seconds"]) for row in self.timings[-RECENT:]]
        return median(recent) * max(0, self.total - self.step) if recent else 0.0


def load_going(folder: Path) -> Going:
    """Read the folder of a run that is being made; a row that is being written is left for the next time."""
    scratch = folder / "scratch"
    return Going(
        name=folder.name.removeprefix(".tmp-"),
        metrics=_whole_rows(scratch / "metrics.jsonl"),
        timings=_whole_rows(scratch / "timings.jsonl"),
        skipped=_whole_rows(scratch / "skipped.jsonl"),
        occasion=_object(scratch / "occasion.json"),
        work=_object(scratch / "progress.json"),
        config=_text(folder / "out" / "config.toml"),
    )


def _whole_rows(path: Path) -> list[Json]:
    return [json.loads(line) for line in _text(path).split("\n")[:-1]]


def _object(path: Path) -> Json:
    known: Json = json.loads(_text(path) or "{}")
    return known


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
