"""What should not be learned: documents that hold words or phrases of a blocklist."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import re2

from hornbook.errors import EmptyInput, InputError
from hornbook.text.document import Document


def blocklist(document: Document, *, phrases: tuple[str, ...], max_count: int = 0) -> str | None:
    """A filter: at most `max_count` occurrences of the phrases as whole words, in any case. Linear time (RE2)."""
    count, first = 0, ""
    for match in _search(phrases)(document.text):
        count += 1
        first = first or match
    return f"blocklist: {count} hits, the first is {first!r}" if count > max_count else None


def read_phrases(path: Path) -> tuple[str, ...]:
    """The phrases of a blocklist: one a line, in UTF-8; empty lines and lines that begin with # are left out.

    Raises:
        InputError: the file cannot be read.
        EmptyInput: it holds no phrase.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"blocklist {path}: {error}") from error
    phrases = tuple(sorted({line.strip() for line in lines if line.strip() and not line.startswith("#")}))
    if not phrases:
        raise EmptyInput(f"blocklist {path} holds no phrase", hint="one word or phrase a line")
    return phrases


@lru_cache(maxsize=4)
def _search(phrases: tuple[str, ...]) -> Callable[[str], list[str]]:
    options = re2.Options()
    options.case_sensitive = False
    options.max_mem = 64 * 2**20
    either = "|".join(map(re2.escape, phrases))
    pattern = re2.compile(rf"(?:^|[^\pL\pN_])({either})(?:$|[^\pL\pN_])", options)

    def search(text: str) -> list[str]:
        return [match[1] for match in pattern.finditer(text)]

    return search
