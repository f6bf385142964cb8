"""Tables and samples on stdout, of text that may be hostile."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hornbook.report.wording import visible

EXCERPT = 400
"""Characters shown of a text."""
WIDTH = 100
"""Columns of what is written where there is no terminal."""
INDENT = " " * 5


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)


def print_line(line: str) -> None:
    print(visible(line))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, header in enumerate(headers):
        table.add_column(header, justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    console().print(table)


def print_sample(number: int, where: str, source: str, reason: str | None, text: str, search: str | None) -> None:
    print_wrapped(f"\n{number:>3}  ", one_line(where), "bold")
    print_wrapped(INDENT, " · ".join(one_line(part) for part in (source, reason or "") if part), "dim")
    print_wrapped(INDENT, excerpt(text, search), "")


def print_wrapped(start: str, text: str, style: str) -> None:
    screen = console()
    for line in Text(text, style).wrap(screen, screen.width - len(INDENT)):
        line.rstrip()
        screen.print(Text.assemble(start, line))
        start = INDENT


def excerpt(text: str, search: str | None) -> str:
    """The beginning of a text, or what is around the place where the searched words are."""
    found = text.lower().find(search.lower()) if search else 0
    start = max(0, found - EXCERPT // 2) if found > EXCERPT // 2 else 0
    shown = "\n".join(line for line in visible(text[start : start + EXCERPT]).split("\n") if line.strip())
    return ("… " if start else "") + (shown or "(nothing)") + (" …" if len(text) > start + EXCERPT else "")


def one_line(text: str) -> str:
    return " ".join(visible(text).split())


def percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""
