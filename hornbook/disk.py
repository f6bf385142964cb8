"""What is on disk stays as it was written: forcing it there, its hash, and where a test ends the process between."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Force a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_instants = 0


def instant() -> None:
    """A point between two effects on disk; a crash test ends the process at the n-th (HORNBOOK_CRASH_AT=n)."""
    global _instants
    _instants += 1
    if os.environ.get("HORNBOOK_CRASH_AT") == str(_instants):
        os._exit(137)
