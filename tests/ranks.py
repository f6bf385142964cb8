"""Several processes as torchrun starts them, forked from one that has imported torch: a test costs no start-up."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.ranks_preload"])


@dataclass
class Group:
    """Processes at work on one thing; this one keeps the board that torchrun would keep."""

    members: Sequence[BaseProcess]
    store: TCPStore
    folder: Path

    def wait(self) -> list[int | None]:
        """Their exit codes, in order of rank."""
        for member in self.members:
            member.join(120)
        return [member.exitcode for member in self.members]

    def said(self) -> str:
        """All that they wrote to stderr."""
        return "".join(self.errors(rank) for rank in range(len(self.members)))

    def errors(self, rank: int) -> str:
        return (self.folder / f"stderr-{rank}").read_text()

    def stop(self) -> None:
        for member in self.members:
            member.terminate()

    def kill(self, rank: int) -> None:
        pid = self.members[rank].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)


def start(
    count: int, function: Callable[..., object], *arguments: object, folder: Path, env: Mapping[str, str] | None = None
) -> Group:
    """`function(*arguments)` in each of `count` processes, in `folder`."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    members = []
    for rank in range(count):
        words = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            **(env or {}),
        }
        member = CONTEXT.Process(target=_work, args=(words, folder, rank, function, arguments))
        member.start()
        members.append(member)
    return Group(members, store, folder)


def run(
    count: int, function: Callable[..., object], *arguments: object, folder: Path, env: Mapping[str, str] | None = None
) -> Group:
    """`start`, and wait for all of them to end well."""
    group = start(count, function, *arguments, folder=folder, env=env)
    assert group.wait() == [0] * count, group.said()
    return group


def command(*words: str) -> None:
    """The command line, as a person would give it."""
    from hornbook.cli import main

    sys.argv = ["hornbook", *words]
    main()


def joined(function: Callable[..., object], *arguments: object) -> None:
    """A function that finds the others there."""
    from hornbook import ranks

    ranks.board()
    try:
        function(*arguments)
    finally:
        ranks.leave()


def until(condition: Callable[[], Any], group: Group) -> None:
    """Wait for something that the group brings about."""
    while not condition() and any(member.is_alive() for member in group.members):
        time.sleep(0.005)


def _work(
    env: Mapping[str, str], folder: Path, rank: int, function: Callable[..., object], arguments: Sequence[object]
) -> None:
    os.environ.update(env)
    os.chdir(folder)
    for number, name in ((1, "stdout"), (2, "stderr")):
        descriptor = os.open(folder / f"{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
    torch.set_num_threads(1)
    function(*arguments)
