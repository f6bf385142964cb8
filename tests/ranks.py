"""Several processes as torchrun starts them, forked: a test costs no start-up."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore

from tests.forked import Forked, fork


@dataclass
class Group:
    """Processes at work on one thing; this one keeps the board that torchrun would keep."""

    members: Sequence[Forked]
    store: TCPStore

    def wait(self) -> list[int | None]:
        """Their exit codes, in order of rank."""
        return [member.wait() for member in self.members]

    def said(self) -> str:
        """All that they wrote to stderr."""
        return "".join(member.errors for member in self.members)

    def errors(self, rank: int) -> str:
        return self.members[rank].errors

    def stop(self) -> None:
        for member in self.members:
            member.send(signal.SIGTERM)

    def kill(self, rank: int) -> None:
        self.members[rank].send(signal.SIGKILL)


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
        members.append(fork(function, *arguments, folder=folder, name=str(rank), env=words))
    return Group(members, store)


def run(
    count: int, function: Callable[..., object], *arguments: object, folder: Path, env: Mapping[str, str] | None = None
) -> Group:
    """`start`, and wait for all of them to end well."""
    group = start(count, function, *arguments, folder=folder, env=env)
    assert group.wait() == [0] * count, group.said()
    return group


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
    while not condition() and any(member.running for member in group.members):
        time.sleep(0.005)
