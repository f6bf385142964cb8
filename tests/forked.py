"""Processes forked from one that has imported torch and the stages: a test pays for no start-up."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.forked_preload"])


@dataclass
class Forked:
    """A process at work; what it writes goes to `stdout-<name>` and `stderr-<name>` in its folder."""

    process: BaseProcess
    folder: Path
    name: str

    @property
    def running(self) -> bool:
        return self.process.is_alive()

    def wait(self, seconds: float = 600) -> int | None:
        """Its exit code, negative where a signal ended it; None where it is still at work after so many seconds."""
        self.process.join(seconds)
        return self.process.exitcode

    @property
    def out(self) -> str:
        return (self.folder / f"stdout-{self.name}").read_text()

    @property
    def errors(self) -> str:
        return (self.folder / f"stderr-{self.name}").read_text()

    def send(self, signal: int) -> None:
        """Does nothing where it has ended."""
        assert self.process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal)


def fork(
    function: Callable[..., object],
    *arguments: object,
    folder: Path,
    name: str = "0",
    env: Mapping[str, str] | None = None,
) -> Forked:
    """`function(*arguments)` in a process of its own, in `folder`."""
    process = CONTEXT.Process(target=_work, args=(dict(env or {}), folder, name, function, arguments))
    process.start()
    return Forked(process, folder, name)


def command(*words: str) -> None:
    """The command line, as a person would give it."""
    from hornbook.cli import main

    sys.argv = ["hornbook", *words]
    main()


def _work(
    env: Mapping[str, str], folder: Path, name: str, function: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    os.environ.update(env)
    os.chdir(folder)
    for number, stream in ((1, "stdout"), (2, "stderr")):
        descriptor = os.open(folder / f"{stream}-{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
    torch.set_num_threads(1)
    function(*arguments)
