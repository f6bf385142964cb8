"""How long work is shown: one live line in a terminal, plain lines elsewhere. All of it on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from hornbook.ranks import rank

PLAIN_EVERY = 10.0
"""Seconds between two plain lines."""


def say(text: str) -> None:
    """One line to the person, on stderr, with terminal control characters removed; of several processes one speaks."""
    if rank() > 0:
        return
    print("".join(c for c in text if c.isprintable() or c == "\n"), file=sys.stderr, flush=True)


class Bar:
    """Work in progress: `advance` by what was done, `note` what it is at."""

    def __init__(self, label: str, total: float | None, unit: str, start: int = 0) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.start = start
        self.done: float = start
        self.text = ""
        self._started = self._last = time.monotonic()

    def advance(self, amount: float = 1) -> None:
        self.done += amount
        if time.monotonic() - self._last > PLAIN_EVERY:
            self._last = time.monotonic()
            say(f"{self.label}: {self.line()}")

    def note(self, text: str) -> None:
        """A short text to show beside the bar, such as the loss."""
        self.text = text

    def line(self) -> str:
        """Count, rate and time left, as plain text."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = (self.done - self.start) / seconds
        of = f" of {_short(self.total)}" if self.total else ""
        left = (
            f", {_clock((self.total - self.done) / rate)} left"
            if self.total and rate and self.total > self.done
            else ""
        )
        note = f", {self.text}" if self.text else ""
        return f"{_short(self.done)}{of} {self.unit} in {_clock(seconds)}, {_short(rate)} {self.unit}/s{left}{note}"


class _LiveBar(Bar):
    def __init__(self, label: str, total: float | None, unit: str, start: int, progress: Progress) -> None:
        super().__init__(label, total, unit, start)
        self._progress = progress
        self._task = progress.add_task(label, total=total, completed=start, unit=unit, note="")

    def advance(self, amount: float = 1) -> None:
        self.done += amount
        self._progress.advance(self._task, amount)

    def note(self, text: str) -> None:
        super().note(text)
        self._progress.update(self._task, note=text)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{_short(task.speed or task.finished_speed or 0)} {task.fields['unit']}/s", style="cyan")


@contextmanager
def progress(label: str, *, total: float | None, unit: str, start: int = 0) -> Iterator[Bar]:
    """Show the progress of a block of work, of which `start` was done before."""
    if rank() > 0 or not sys.stderr.isatty():
        bar = Bar(label, total, unit, start)
        yield bar
        say(f"{label}: {bar.line()}")
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True)) as live:
        yield _LiveBar(label, total, unit, start, live)


def _short(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:.1f}M"
    if number >= 1e4:
        return f"{number / 1e3:.0f}k"
    return f"{number:.0f}" if number >= 100 or number == int(number) else f"{number:.1f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
