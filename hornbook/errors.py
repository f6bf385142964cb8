"""Every error a user can meet, drawn as one tree.

    HornbookError                   exit 1   `error: ...` and, where there is one, `hint: ...`
    ├── UsageError                  exit 2   the command or the recipe is wrong
    │   └── MissingExtra            exit 2   an optional dependency is not installed
    ├── InputError                  exit 1   a file, row, record or folder is not what it should be
    │   ├── EmptyInput              exit 1   nothing to work on: no documents, no rows, nothing to learn from
    │   └── Damaged                 exit 1   bytes differ from what the manifest promises
    ├── NonFinite                   exit 1   a loss or a gradient is NaN or infinite; no state was touched
    ├── Busy                        exit 1   another process is making the same run
    └── Interrupted                 exit 75  asked to stop; what was done is saved, the same command goes on

A message names the file, the row, the key and the value; a hint says what would have been right.
"""

from __future__ import annotations


class HornbookError(Exception):
    """Something the user can act on: printed without a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(HornbookError):
    """The command line or the recipe is wrong."""

    exit_code = 2


class MissingExtra(UsageError):
    """A feature needs a package that is not installed."""

    def __init__(self, feature: str, *, extra: str) -> None:
        super().__init__(f"{feature} needs an extra that is not installed", hint=f"pip install 'hornbook[{extra}]'")


class InputError(HornbookError):
    """A file, row, record or folder is not what it should be."""


class EmptyInput(InputError):
    """There is nothing to work on."""


class Damaged(InputError):
    """Bytes on disk differ from what their manifest promises."""


class NonFinite(HornbookError):
    """A loss or gradient is NaN or infinite."""


class Busy(HornbookError):
    """Another process is making the same run."""


class Interrupted(HornbookError):
    """Asked to stop (SIGTERM, SIGINT); state is saved and the same command resumes."""

    exit_code = 75
