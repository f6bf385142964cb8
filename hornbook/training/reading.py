"""The rows that a stage is given."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from hornbook.errors import EmptyInput
from hornbook.learn.faults import BadRow, short
from hornbook.learn.rows import Spoken, sift
from hornbook.manifest import Input
from hornbook.run import Run
from hornbook.text.document import document_id, held_out

HELD_OUT = 0.05
"""Fraction of the rows of a plain file that is kept for evaluation."""


SHOWN, SHOWN_CHARACTERS = 4, 60
"""Of the first row: so many turns, each so long."""


class _Row(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def read_as(self) -> str: ...
    @property
    def spoken(self) -> Spoken: ...
    @property
    def asked(self) -> Spoken: ...


T = TypeVar("T")
Row = TypeVar("Row", bound=_Row)


class Rows:
    """The rows that a stage is given: read, sifted, and what could not be used set aside in `quarantine.jsonl`."""

    def __init__(self, run: Run, bad_rows: Literal["error", "skip"]) -> None:
        self._run, self._bad_rows = run, bad_rows
        self._bad: dict[tuple[str, int], BadRow] = {}

    def read(
        self, source: Input, stem: str, reader: Callable[[Path], Iterable[Row | BadRow]]
    ) -> tuple[list[Row], list[Row]]:
        """Training and held-out rows: of a run, its two files; of one file, held out by a hash of what is asked."""
        if source.path.is_file():
            rows = self.sift(reader(source.path))
            self._tell_format(source.path, rows)
            train, valid = split(rows)
        else:
            train, valid = (self.sift(reader(source.file(f"{stem}.{part}.jsonl"))) for part in ("train", "valid"))
        self._tell_repeated([*train, *valid])
        return train, valid

    def _tell_format(self, path: Path, rows: Sequence[Row]) -> None:
        """How the rows were read, and what became of the first one."""
        formats = Counter(row.read_as for row in rows)
        counted = [f"{name} ({count:,} rows)" if len(formats) > 1 else name for name, count in formats.most_common()]
        if rows:
            number = rows[0].where.rpartition(" ")[2]
            self._run.say(f"{path.name}: read as {', '.join(counted)}; row {number} becomes {_shown(rows[0].spoken)}")

    def _tell_repeated(self, rows: Sequence[Row]) -> None:
        """Count the rows that say what an earlier one says. Which of them are meant, only their owner knows."""
        first: dict[Spoken, Row] = {}
        repeated = [row for row in rows if first.setdefault(row.spoken, row) is not row]
        self._run.count(rows_repeated=len(repeated))
        if repeated:
            earlier = first[repeated[0].spoken].where
            example = f"the first of them: {repeated[0].where} says what {earlier} says"
            self._run.say(f"{len(repeated):,} rows repeat another and are learned from again; {example}")

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


def split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Training and held-out rows: two that answer the same are on the same side, and something is left to learn from.

    So a pair, or a judged answer, is measured on prompts of which nothing was learned.
    """
    train: list[Row] = []
    held: list[Row] = []
    for row in rows:
        asked = document_id("", json.dumps(row.asked, ensure_ascii=False).encode())
        (held if held_out(asked, fraction=HELD_OUT, seed=0) else train).append(row)
    return (train, held) if train else (held, [])


def _shown(spoken: Spoken) -> str:
    """The first turns of a row in a line, shortened."""
    turns = [f"{who}: {short(said, most=SHOWN_CHARACTERS)}" for who, said in spoken[:SHOWN]]
    more = len(spoken) - SHOWN
    return ", ".join(turns) + (f" and {more} more" if more > 0 else "")
