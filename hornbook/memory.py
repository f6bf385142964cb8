"""What this process takes of the machine's memory, in bytes."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path


def _kept(version: str) -> int:
    """Bytes: a tensor below that lies in the heap, and so much that is freed at the heap's end is not given back.

    glibc before 2.35 takes no threshold above half of a thread's heap, 32 MB.
    """
    number = tuple(int(part) for part in version.removeprefix("glibc ").split(".")[:2] if part.isdigit())
    return 2**30 if number >= (2, 35) else 2**25


def _version() -> str:
    """Of the C library; of another than glibc nothing is known here."""
    with suppress(AttributeError, ValueError, OSError):
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    return ""


def tunables(version: str) -> str:
    """How malloc is to serve a training loop, which asks for the same sizes in every step; in the words of glibc.

    No caches of small freed pieces: torch aligns tensors to 64 bytes, and what malloc cuts off before and behind them
    goes there, so a freed tensor's place stays a little too short for the next one of its size. And what was freed is
    kept: the system fills every page with zeros before it lends it again, up to a fifth of the time of a step.
    """
    kept = _kept(version)
    told = {"tcache_count": 0, "mxfast": 0, "mmap_threshold": kept, "trim_threshold": kept}
    return ":".join(f"glibc.malloc.{name}={value}" for name, value in told.items())


TIDY = tunables(_version())


def keep_tidy() -> None:
    """Begin this program again with a heap in which freed neighbours become one piece at once, and stay at hand.

    Only a process that begins can be told so, only glibc knows these words, and whoever set others knows better.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = TIDY
        os.execv(sys.executable, sys.orig_argv)


def resident() -> int:
    """In use now; where the system does not tell, the largest so far."""
    return _status("VmRSS") or resident_peak()


def resident_peak() -> int:
    """The largest since it was forgotten; where the system does not tell, of the whole process."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    """Begin a new peak, so that a stage in a recipe is not charged with what one before it took (Linux only).

    What that one freed and the heap has kept goes back to the system.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # Another C library than glibc.
            ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    """A size that Linux tells of this process; 0 where it does not."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)
