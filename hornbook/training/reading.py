"""The rows that a stage is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from hornbook.errors import EmptyInput
from hornbook.learn.rows import BadRow, sift
from hornbook.manifest import Input
from hornbook.run import Run
from hornbook.text.document import held_out

HELD_OUT = 0.05
"""Fraction of the rows of a plain file that is kept for evaluation."""


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T")
Row = TypeVar("Row", bound=_Identified)


class Rows:
    """The rows that a stage is given: read, sifted, and what could not be used set aside in `quarantine.jsonl`."""

    def __init__(self, run: Run, bad_rows: Literal["error", "skip"]) -> None:
        self._run, self._bad_rows = run, bad_rows
        self._bad: dict[tuple[str, int], BadRow] = {}

    def read(
        self, source: Input, stem: str, reader: Callable[[Path], Iterable[Row | BadRow]]
    ) -> tuple[list[Row], list[Row]]:
        """Training and held-out rows: of a run, its two files; of one JSONL file, held out by hash of the row's id."""
        if source.path.is_file():
            rows = self.sift(reader(source.path))
            held = [held_out(row.id, fraction=HELD_OUT, seed=0) for row in rows]
            return [r for r, h in zip(rows, held, strict=True) if not h], [
                r for r, h in zip(rows, held, strict=True) if h
            ]
        return self.sift(reader(source.file(f"{stem}.train.jsonl"))), self.sift(
            reader(source.file(f"{stem}.valid.jsonl"))
        )

    def sift(self, rows: Iterable[T | BadRow]) -> list[T]:
        """The good rows; a bad one ends the run or is set aside, once, as the config says."""
        good, bad = sift(rows, bad_rows=self._bad_rows)
        for row in bad:
            self._bad.setdefault((row.file, row.row), row)
        return good

    def close(self, *, learned: Sequence[object]) -> None:
        """Count and write what was set aside.

        Raises:
            EmptyInput: nothing is left to be learned from.
        """
        if not learned:
            bad = list(self._bad.values())
            why = f"; the first of {len(bad)} bad ones: {bad[0]}" if bad else ""
            raise EmptyInput(f"{self._run.input('rows').path} has no row to learn from{why}")
        self.set_aside()

    def tell_cut(self, kind: str, cut: Sequence[int]) -> None:
        """Count the conversations or pairs (`kind`) that were too long, given the tokens cut from each."""
        rows_cut = sum(1 for tokens in cut if tokens)
        if rows_cut:
            self._run.say(f"{rows_cut} of {len(cut)} {kind} were cut, by {sum(cut):,} tokens in all")
        self._run.count(**{kind: len(cut), f"{kind}_cut": rows_cut, "tokens_cut": sum(cut)})

    def set_aside(self) -> None:
        """Count and write the bad rows."""
        self._run.count(rows_set_aside=len(self._bad))
        if self._bad:
            bad = list(self._bad.values())
            self._run.say(f"{len(bad)} rows set aside, the first: {bad[0]}")
            lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in bad]
            (self._run.out / "quarantine.jsonl").write_text("".join(lines))
