"""What this process takes of the machine's memory, in bytes."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path


def resident() -> int:
    """In use now; where the system does not tell, the largest so far."""
    return _status("VmRSS") or resident_peak()


def resident_peak() -> int:
    """The largest since it was forgotten; where the system does not tell, of the whole process."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    """Begin a new peak, so that a stage in a recipe is not charged with what one before it took (Linux only)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    """A size that Linux tells of this process; 0 where it does not."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)
