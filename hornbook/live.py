"""Follow a run while it is made: its page is drawn again and again, until the run is there or nobody makes it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from hornbook.progress import say
from hornbook.report import render_live

EVERY = 5
"""Seconds between two drawings, at least."""
SHARE = 0.05
"""Of one core that drawing may take from the run that is drawn."""


def find_going(runs: Path, name: Path) -> Path | None:
    """The folder of the one run that is being made now and whose name starts so, such as `pretrain`."""
    if len(name.parts) != 1 or name.is_absolute():
        return None
    found = [path for path in sorted(runs.glob(f".tmp-{name}*")) if _is_at_work(runs, path)]
    return found[0] if len(found) == 1 else None


def follow(runs: Path, folder: Path) -> None:
    """Draw `runs/<name>.html` until the run of `folder` ends; at its end that page leads to the run's own."""
    name = folder.name.removeprefix(".tmp-")
    page = runs / f"{name}.html"
    say(f"{name} is at work: {page} is drawn again every {EVERY} seconds; Ctrl-C ends that, and not the run")
    print(page, flush=True)
    while _is_at_work(runs, folder):
        started = time.process_time()
        _write(page, render_live(folder, refresh=EVERY))
        time.sleep(max(EVERY, (time.process_time() - started) / SHARE))
    if (runs / name).is_dir():
        _write(page, f'<!doctype html><meta http-equiv="refresh" content="0; url={name}/report.html">\n')
    elif folder.is_dir():
        _write(page, render_live(folder, refresh=None))


def _is_at_work(runs: Path, folder: Path) -> bool:
    """Whether a process holds the lock of the run's output."""
    path = runs / ".locks" / folder.name.removeprefix(".tmp-")
    if not path.is_file():
        return False
    with path.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _write(page: Path, text: str) -> None:
    temporary = page.with_name(f".{page.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, page)
