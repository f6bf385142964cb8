"""What a stage sees of its run: where to write, what to read, and how to tell of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hornbook import progress as talk
from hornbook.disk import instant, sync
from hornbook.errors import Interrupted
from hornbook.manifest import Input
from hornbook.trackers import TRACKERS, TensorBoard, Tracker, TrackerName

RECORDS = {"metrics.jsonl": "metrics.jsonl", "skipped.jsonl": "skipped.jsonl", "timings.jsonl": "log/timings.jsonl"}
"""What is written row by row while a stage works, and its place among the products; none of it where it is empty."""


class Run:
    """What a stage sees of its run: where to write, what to read, and how to tell of it."""

    def __init__(
        self,
        name: str,
        folder: Path,
        inputs: Mapping[str, Input],
        *,
        identity: str,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.identity = name, identity
        self.out = folder / "out"
        self.scratch = folder / "scratch"
        self.checkpoints = self.scratch / "checkpoints"
        """The one folder that all processes of a run write to."""
        self._inputs = inputs
        self._signals = 0
        self._rewound = False
        self._settings = settings or {}
        self._board: TensorBoard | None = None
        self._trackers: list[Tracker] = []
        self.counts: dict[str, int] = {}
        self.results: dict[str, Any] = {}
        self.contents_override = ""

    def input(self, field: str) -> Input:
        """The input given by a config field."""
        return self._inputs[field]

    def inputs(self, field: str) -> dict[str, Input]:
        """The inputs given by a config field that is a table of paths, by label."""
        return {key.partition(".")[2]: value for key, value in self._inputs.items() if key.startswith(f"{field}.")}

    @contextmanager
    def progress(
        self, label: str, *, total: float | None, unit: str, start: int = 0, stops: bool = True
    ) -> Iterator[talk.Bar]:
        """Show work in progress, of which `start` was done before.

        Where it `stops`, advancing the bar ends the run when somebody asked for that; a stage with state to save looks
        at `stop_requested` itself, and calls `stop`.
        """
        with self.atomic(self.scratch / "progress.json") as path:
            path.write_text(json.dumps({"label": label, "total": total, "unit": unit}))
        with talk.progress(label, total=total, unit=unit, start=start) as bar:
            advance = bar.advance

            def advance_or_stop(amount: float = 1) -> None:
                advance(amount)
                if self._signals and stops:
                    self.stop()

            bar.advance = advance_or_stop  # type: ignore[method-assign]
            yield bar

    def say(self, text: str) -> None:
        """One line on stderr."""
        talk.say(text)

    def count(self, **counts: int) -> None:
        """Add to the counts in the manifest."""
        for name, value in counts.items():
            self.counts[name] = self.counts.get(name, 0) + value

    def result(self, **values: Any) -> None:
        """Headline results for the manifest and the report (JSON-able, and the same in every run)."""
        self.results |= values

    def contents(self, value: str) -> None:
        """Let downstream runs be named by this hash instead of by the products' bytes."""
        self.contents_override = value

    def track(self, names: Sequence[TrackerName]) -> None:
        """Tell trackers, too, of what is recorded from now on.

        Raises:
            MissingExtra: the package of one is not installed.
        """
        self._trackers += [TRACKERS[name](self.name, self._settings) for name in names]

    def record(self, step: int, **values: float) -> None:
        """One row of `metrics.jsonl`, which trackers are told too. Only numbers that are the same in every run."""
        self._append("metrics.jsonl", {"step": step, **values})
        self._track(step, values)

    def timing(self, step: int, **values: float) -> None:
        """One row of `log/timings.jsonl`, which trackers are told too: rates and seconds, different in every run."""
        self._append("timings.jsonl", {"step": step, **values})
        self._track(step, {f"timing/{key}": value for key, value in values.items()})

    def skip(self, step: int, *, reason: str, documents: Sequence[str]) -> None:
        """One row of `skipped.jsonl`: a step that nothing was learned from, and the documents that it had."""
        self._append("skipped.jsonl", {"step": step, "reason": reason, "documents": list(documents)})
        self.say(f"step {step} is left out: {reason}")

    def rewind(self, step: int) -> None:
        """Forget what was recorded after a step: a resumed run records it again.

        A stage that goes on from its scratch calls this before it records; for the others everything starts again.
        """
        self._rewound = True
        for name in RECORDS:
            rows = _json_rows(self.scratch / name)
            kept = [row for row in rows if row["step"] <= step]
            with self.atomic(self.scratch / name) as path:
                path.write_text("".join(json.dumps(row) + "\n" for row in kept))

    def flush(self) -> None:
        """Bring what was recorded to disk: before a checkpoint that counts on it."""
        for name in RECORDS:
            if (self.scratch / name).exists():
                sync(self.scratch / name)

    def count_skipped(self) -> None:
        """Count the steps that were left out, those of before a resume included, where there are any."""
        if skipped := len(_json_rows(self.scratch / "skipped.jsonl")):
            self.count(steps_skipped=skipped)

    def recorded(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl` so far, those of before a resume included."""
        return _json_rows(self.scratch / "metrics.jsonl")

    def stop_requested(self) -> bool:
        """Whether SIGTERM or SIGINT was received."""
        return self._signals > 0

    def stop(self) -> None:
        """End the run as asked; call after saving.

        Raises:
            Interrupted: always.
        """
        raise Interrupted(
            f"{self.name}: stopped as asked; what was done is saved", hint="run the same command again to go on"
        )

    @contextmanager
    def atomic(self, path: Path) -> Iterator[Path]:
        """A temporary path that becomes `path`, on disk and whole, when the block ends well."""
        temporary = path.with_name(f".{path.name}.tmp")
        yield temporary
        instant()
        sync(temporary)
        instant()
        os.replace(temporary, path)
        sync(path.parent)

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        if not self._rewound:
            self.rewind(-1)
        with (self.scratch / name).open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    def _track(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is None:
            self._board = TensorBoard(self.out / "log")
            self._replay(self._board)
        for tracker in (self._board, *self._trackers):
            tracker.record(step, values)

    def _replay(self, board: TensorBoard) -> None:
        """After a resume, draw again what was recorded before it (the row just recorded is drawn by the caller)."""
        for row in _json_rows(self.scratch / "metrics.jsonl")[:-1]:
            board.record(row["step"], {key: value for key, value in row.items() if key != "step"})

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """First signal: stop after this step. Second: at once."""
        self._signals += 1
        if self._signals > 1:
            raise KeyboardInterrupt
        talk.say(f"{self.name}: stopping after this step (once more to stop at once)")

    def finish(self) -> None:
        """Let the trackers go, with all that they were told."""
        for tracker in (*([self._board] if self._board else []), *self._trackers):
            tracker.finish()

    def close(self) -> None:
        """Bring what was recorded into the folder of products."""
        self.finish()
        (self.out / "log").mkdir(exist_ok=True)
        for name, place in RECORDS.items():
            if (self.scratch / name).exists() and (self.scratch / name).stat().st_size:
                shutil.copyfile(self.scratch / name, self.out / place)


class Helping(Run):
    """The run of a process that helps another make it: a folder of its own that nobody keeps, and nothing to tell."""

    def __init__(self, name: str, folder: Path, inputs: Mapping[str, Input], *, identity: str, rank: int) -> None:
        super().__init__(name, folder / f"rank-{rank}", inputs, identity=identity)
        self.checkpoints = folder / "scratch" / "checkpoints"
        shutil.rmtree(self.out, ignore_errors=True)
        for own in (self.out, self.scratch):
            own.mkdir(parents=True, exist_ok=True)

    def record(self, step: int, **values: float) -> None:
        """The first process records."""

    def timing(self, step: int, **values: float) -> None:
        """The first process records."""

    def rewind(self, step: int) -> None:
        """Nothing was recorded here."""


def _json_rows(path: Path) -> list[dict[str, Any]]:
    """The whole rows of a JSONL file; a row cut short by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]
