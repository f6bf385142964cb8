"""Running a program that a model wrote: in a process of its own, with limits, and with an end.

What holds it is the system: limits on CPU time, memory, size of a file, open files and (unless one is root) processes;
a wall clock, after which all of it is killed; on Linux, where unprivileged namespaces are allowed, a network and a
process space of its own. Inside, an audit hook refuses sockets, processes, native code and writing outside of an own
temporary folder, which needs no privilege and works everywhere.

What this is not: a jail for an attacker. The program can read what the user can read, and Python's audit hooks were
never meant to hold somebody who knows them. It holds what a model writes while it searches for reward: endless loops,
memory and fork bombs, early exits, downloads. A program that sets out to forge its own verdict, from inside the same
interpreter as its tests, can. For more than that run everything in a container without a network.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("sandboxed.py")
ISOLATED = ("-I", "-S", "-B")
"""No site-packages, no environment, nothing from the working folder, no bytecode written."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program may use."""

    seconds: float = 5.0
    """On the clock, the interpreter's start included; of CPU time this rounded up."""
    memory: int = 512 * 2**20
    """Bytes of address space."""
    file_size: int = 2**20
    """Bytes of any one file."""
    open_files: int = 32

    def as_resources(self) -> dict[str, int]:
        """By the names of setrlimit(2)."""
        cpu = int(self.seconds) + 1
        return {
            "CPU": cpu, "AS": self.memory, "FSIZE": self.file_size, "NOFILE": self.open_files, "NPROC": 0, "CORE": 0,
        }  # fmt: skip


LIMITS = Limits()


def passes(program: str, tests: str, *, limits: Limits = LIMITS) -> bool:
    """Whether a Python program and then its tests (`assert ...`) run to the end without an error, within the limits."""
    word = secrets.token_hex(16)
    given = json.dumps({"program": program, "tests": tests, "word": word})
    with tempfile.TemporaryDirectory(prefix="hornbook-", ignore_cleanup_errors=True) as folder:
        return _verdict(given.encode(), folder, limits)[: len(word) + 1] == word.encode()


def all_pass(pairs: Sequence[tuple[str, str]], *, limits: Limits = LIMITS) -> list[bool]:
    """`passes` for many (program, tests), as many at a time as there are cores."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(lambda pair: passes(*pair, limits=limits), pairs))


def _verdict(given: bytes, folder: str, limits: Limits) -> bytes:
    """What the child wrote. Both ways are files without a name: nobody waits for a reader, and what is written ends."""
    command = [sys.executable, *ISOLATED, str(SCRIPT), "enter", json.dumps(limits.as_resources()), json.dumps(ISOLATED)]
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as told:
        asked.write(given)
        asked.seek(0)
        child = subprocess.Popen(
            command, stdin=asked, stdout=told, stderr=subprocess.DEVNULL, cwd=folder, env={}, start_new_session=True
        )
        try:
            child.wait(limits.seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _kill(child)
        told.seek(0)
        return told.read(1024)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """The child and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
