"""A web server of this machine that runs while its pages are gathered."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from hornbook.errors import InputError, UsageError

PATIENCE = 20.0
"""Seconds a server may take to come up, and a port to become free."""


@contextmanager
def serving(command: str, url: str, log: Path) -> Iterator[None]:
    """Run a command, without a shell, while the block runs; it starts when `url` answers.

    It works in an empty folder, since a server such as pydoc imports what lies in its own, and its standard input stays
    open as long as we live, which is what pydoc looks at.

    Raises:
        UsageError: the command is none, or is not installed.
        InputError: something else answers already, or the command does not come up.
    """
    if not command:
        yield
        return
    words = _words(command)
    _until(lambda: not _answers(url), f"{url} answers before its server was started", "is an old server still running?")
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as out:
        try:
            process = subprocess.Popen(
                words, cwd=folder, env=_environment(folder), stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise UsageError(f"server = {command!r}: {error}", hint="the command must be installed") from error
        try:
            done = lambda: _answers(url) or process.poll() is not None  # noqa: E731
            _until(done, f"{command!r} does not answer at {url}", _tail(log))
            if process.poll() is not None:
                raise InputError(f"{command!r} ended with exit code {process.returncode}", hint=_tail(log))
            yield
        finally:
            _end(process)


def _words(command: str) -> list[str]:
    try:
        program, *arguments = shlex.split(command)
    except ValueError as error:
        hint = "a program and its arguments, quoted as in a shell"
        raise UsageError(f"server = {command!r}: {error}", hint=hint) from error
    return [sys.executable if program in ("python", "python3") else program, *arguments]


def _until(done: Callable[[], bool], message: str, hint: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise InputError(message, hint=hint)
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        httpx.head(httpx.URL(url).join("/robots.txt"), timeout=PATIENCE, trust_env=False)
    except httpx.ConnectError:
        return False
    except httpx.HTTPError:
        return True
    return True


def _environment(home: str) -> dict[str, str]:
    """What a server may know: pages show it (pydoc prints os.environ), so no secret and nothing that changes."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}


def _tail(log: Path) -> str:
    return "it said: " + (" ".join(log.read_text(errors="replace").split())[-300:] or "nothing")


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.close()
    for stop in (process.terminate, process.kill, lambda: None):
        try:
            process.wait(timeout=3)
            return
        except subprocess.TimeoutExpired:
            stop()
