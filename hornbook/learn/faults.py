"""What is wrong with a row, said so that it can be found and put right."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be learned from. `key` and `value` (shortened) are what is wrong with it."""

    file: str
    row: int
    reason: str
    key: str = ""
    value: str = ""
    hint: str = ""

    def __str__(self) -> str:
        what = f"{self.key} = {self.value}: " if self.key else ""
        return f"{self.file} row {self.row}: {what}{self.reason}"


def bad_row(where: str, reason: str, *, hint: str = "") -> BadRow:
    """A row known by its `where`, `file row n`, that turns out to be bad later."""
    file, _, number = where.rpartition(" row ")
    return BadRow(file, int(number), reason, hint=hint)


class Fault(Exception):
    """What is wrong with the row in hand; always turned into a BadRow."""

    def __init__(self, reason: str, *, key: str = "", value: object = "", hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.key, self.value, self.hint = reason, key, short(value) if key else "", hint

    def of(self, file: str, row: int) -> BadRow:
        return BadRow(file, row, self.reason, self.key, self.value, self.hint)


def short(value: object, *, most: int = 80) -> str:
    """A value as JSON of at most so many characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= most else f"{text[: most - 3]}..."
