"""Preferences as tokens: pairs of answers, or answers judged one by one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from hornbook.learn.chat import encode_judgement, encode_preference
from hornbook.learn.examples import Example
from hornbook.learn.rows import BadRow, Judgement, read_judgements, read_preferences
from hornbook.run import Run
from hornbook.training.opening import Opened
from hornbook.training.reading import Rows

Pair = tuple[Example, Example]
"""Chosen and rejected."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer and whether it is a good one."""

    example: Example
    good: bool


def read_pairs(
    run: Run, opened: Opened, *, length: int, bad_rows: Literal["error", "skip"]
) -> tuple[list[Pair], list[Pair]]:
    """Training and held-out pairs of a stage's `rows`; what is cut or set aside is counted."""
    rows = Rows(run, bad_rows)
    read = rows.read(run.input("rows"), "preference", partial(read_preferences, control=opened.control))
    encode = partial(
        encode_preference, tokenizer=opened.tokenizer, length=length, template=opened.template, special=opened.special
    )
    train, valid = (rows.sift(encode(row) for row in part) for part in read)
    rows.close(learned=train)
    rows.tell_cut("pairs", [chosen.cut + rejected.cut for chosen, rejected in (*train, *valid)])
    return train, valid


def read_judged(
    run: Run, opened: Opened, *, length: int, bad_rows: Literal["error", "skip"]
) -> tuple[list[Judged], list[Judged]]:
    """The same of judged answers; a pair is two of them."""
    rows = Rows(run, bad_rows)
    read = rows.read(run.input("rows"), "preference", partial(read_judgements, control=opened.control))

    def encode(row: Judgement) -> Judged | BadRow:
        made = encode_judgement(row, opened.tokenizer, length=length, template=opened.template, special=opened.special)
        return made if isinstance(made, BadRow) else Judged(made, row.label)

    train, valid = (rows.sift(map(encode, part)) for part in read)
    rows.close(learned=train)
    rows.tell_cut("answers", [judged.example.cut for judged in (*train, *valid)])
    return train, valid
