"""What runs inside the sandbox's process: first as the one that shuts itself in, then as the one that is shut in.

It is given to an interpreter as a script and imports the standard library only. See `sandbox.py` for what it is worth.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import sys
from typing import Any

NEW_USER, NEW_PIDS, NEW_NET, NEW_IPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
"""Flags of Linux's unshare(2)."""
PARENT_DIES, NO_NEW_PRIVILEGES = 1, 38
"""Options of Linux's prctl(2)."""
REFUSED = (
    "socket.", "subprocess.", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "os.spawn", "os.kill",
    "os.killpg", "ctypes.", "pty.", "signal.pthread_kill", "os.chmod", "os.chown", "os.link", "os.symlink", "os.mkfifo",
    "resource.setrlimit", "resource.prlimit", "sys.remote_exec", "os.putenv", "os.unsetenv", "syslog.",
)  # fmt: skip
"""Audit events, by their beginnings, that a program under test has no business with."""
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.listdir", "os.scandir", "shutil.")
"""Events that are well inside the own folder only."""
CLOSED = frozenset({"ctypes", "_ctypes", "_posixsubprocess", "_socket", "_multiprocessing", "_posixshmem", "mmap"})
"""Modules that reach past the audit hook."""


def enter(limits: dict[str, int], again: list[str]) -> None:
    """Shut this process in, as far as the system lets it, and go on as a fresh interpreter with nothing loaded."""
    isolate()
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None:
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
    os.execv(again[0], again)


def isolate() -> None:
    """Linux: no network, no view of other processes, no new privileges, death with the parent. Elsewhere nothing."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    system = ctypes.CDLL(None)
    own = NEW_NET | NEW_PIDS | NEW_IPC
    apart = any(system.unshare(flags) == 0 for flags in (own, NEW_USER | own, NEW_NET, NEW_USER | NEW_NET))
    child = os.fork() if apart else 0
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    system.prctl(PARENT_DIES, signal.SIGKILL, 0, 0, 0)
    system.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def guard(folder: str) -> None:
    """From now on this interpreter refuses what a program under test has no business with; for good."""
    inside = os.path.join(os.path.realpath(folder), "")

    def outside(path: Any) -> bool:
        return isinstance(path, str | bytes) and not os.path.realpath(os.fsdecode(path)).startswith(inside)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "import":
            refused = given[0] in CLOSED
        elif event == "open":
            writes = isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            refused = bool(writes) and outside(given[0])
        else:
            refused = event.startswith(REFUSED) or (event.startswith(CHANGES) and any(map(outside, given)))
        if refused:
            raise PermissionError(f"{event} is not for a program under test")

    sys.addaudithook(hook)


def run(verdict: int) -> None:
    """The program and then its tests, as given on stdin; the pass word goes to `verdict` if nothing was raised."""
    given = json.loads(sys.stdin.buffer.read())
    # Nothing that it prints has a reader.
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), io.StringIO(), io.StringIO()
    guard(os.getcwd())
    scope: dict[str, Any] = {"__name__": "__main__"}
    for text in (given["program"], given["tests"]):
        exec(compile(text, "<program>", "exec"), scope)
    os.write(verdict, given["word"].encode())
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "enter":
        enter(json.loads(sys.argv[2]), [sys.executable, *json.loads(sys.argv[3]), __file__, "run"])
    else:
        out = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        run(out)
