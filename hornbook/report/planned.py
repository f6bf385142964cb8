"""What `hornbook plan` said of a run, beside what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hornbook.report.folder import Run, load
from hornbook.report.wording import count, duration, size


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One quantity, in words; `off` is how far what happened is above what was planned, as a share."""

    what: str
    planned: str
    happened: str
    off: float


def _memory(run: Run) -> float:
    """Of a GPU what tensors took there, else of the process."""
    on_device = max((float(row.get("memory/device", 0)) for row in run.timings), default=0.0)
    return on_device or float(run.occasion.get("peak_memory_bytes", 0))


WHAT: Mapping[str, tuple[str, Callable[[Run], float], Callable[[float], str]]] = {
    "seconds": ("time", lambda run: run.seconds, duration),
    "memory": ("peak memory", _memory, size),
    "memory_at_most": ("peak memory, at most", _memory, size),
    "tokens_per_second": ("tokens a second", lambda run: run.rate, count),
}
"""For each key of `planned` what it is, how it is found in a run, and how it is written."""


def compared(run: Run, planned: Mapping[str, float]) -> list[Compared]:
    """Every quantity that was planned, and that the run tells of."""
    rows = []
    for key, said in planned.items():
        if key in WHAT and said > 0:
            what, find, write = WHAT[key]
            if happened := find(run):
                off = happened / said - 1
                rows.append(Compared(what=what, planned=write(said), happened=write(happened), off=off))
    return rows


def lines(table: str, folder: Path, planned: Mapping[str, float]) -> list[str]:
    """The same for a terminal."""
    found = compared(load(folder), planned)
    told = (f"{table}: {row.what} planned {row.planned}, was {row.happened} ({row.off:+.0%})" for row in found)
    return [line.replace("\u00a0", " ") for line in told]
