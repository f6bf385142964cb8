"""A command that torchrun started in several processes: the first makes the run, the others help it.

Each process is a copy of the command, and `rank` is its number. They agree by notes on a board that torchrun keeps, so
that a process that waits hears of an error elsewhere. Nothing here imports torch where there is one process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn

from hornbook import errors
from hornbook.errors import HornbookError

POLL = 0.05
"""Seconds between two looks at the board: a process that waits must hear signals, so it does not sleep in the store."""


def size() -> int:
    """How many processes torchrun started for this command; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if size() > 1 else 0


class Board:
    """Notes that every process reads: JSON under a name, written once."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def write(self, name: str, note: dict[str, Any]) -> None:
        self._store.set(name, json.dumps(note))

    def read(self, name: str) -> dict[str, Any] | None:
        if not self._store.check([name]):
            return None
        note: dict[str, Any] = json.loads(self._store.get(name))
        return note

    def count(self, name: str, more: int = 0) -> int:
        """Add to a number that begins at 0; what it is now."""
        return int(self._store.add(name, more))


@cache
def board() -> Board:
    """Join the other processes: torch.distributed is ready after this, gloo on the CPU and nccl where CUDA is."""
    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, number, count = next(iter(rendezvous("env://")))
    store = PrefixStore(f"hornbook/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", store=store, rank=number, world_size=count)
    return Board(store)


def joined() -> bool:
    """Whether there are others, and this process has joined them."""
    return size() > 1 and board.cache_info().currsize > 0


def leave() -> None:
    """Take leave of the others, all of whom do."""
    if joined():
        import torch.distributed as dist

        dist.destroy_process_group()


def abandon(code: int) -> NoReturn:
    """End this process without the others: at once where they were joined, for a broken group may wait at its end."""
    if joined():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


class Meeting:
    """One run that all processes come to. The first leads: it makes it, calls the others, and says how it ended."""

    def __init__(self, name: str) -> None:
        self.board = board()
        self._name = f"{self.board.count(f'meetings/{rank()}', 1)}/{name}"

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Tell the others how it ended, whatever it was."""
        try:
            yield
        except HornbookError as error:
            self._end({"error": type(error).__name__, "message": error.message, "hint": error.hint})
            raise
        except BaseException as error:
            self._end({"error": "HornbookError", "message": f"the first process ended: {error!r}", "hint": ""})
            raise
        self._end({})

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Work that the others do too: they begin with this block, and it ends when they are done."""
        self.board.write(f"{self._name}/begin", {})
        yield
        while self.board.count(f"{self._name}/done") < size() - 1:
            time.sleep(POLL)

    def called(self) -> bool:
        """For the others: wait for the call, or for the end if none comes."""
        while self.board.read(f"{self._name}/begin") is None:
            if self.board.read(f"{self._name}/end") is not None:
                return False
            time.sleep(POLL)
        return True

    def done(self) -> None:
        """For the others: their part of the work is done."""
        self.board.count(f"{self._name}/done", 1)

    def follow(self) -> None:
        """For the others: wait for the end.

        Raises:
            HornbookError: what the first process raised.
        """
        while (end := self.board.read(f"{self._name}/end")) is None:
            time.sleep(POLL)
        if end:
            raise getattr(errors, end["error"])(end["message"], hint=end["hint"])

    def _end(self, note: dict[str, Any]) -> None:
        self.board.write(f"{self._name}/end", note)


@contextmanager
def losses() -> Iterator[None]:
    """Say in words that another process is gone, where a collective broke because of that.

    Raises:
        HornbookError: it is.
    """
    try:
        yield
    except RuntimeError as error:
        if size() == 1 or not _is_loss(error):
            raise
        raise HornbookError(
            f"process {rank()} of {size()} lost another one, which was killed or failed",
            hint="torchrun says which; what was saved stays, and the same command goes on from there",
        ) from error


def _is_loss(error: RuntimeError) -> bool:
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo" in str(error) or "Connection" in str(error)


def may_tell() -> bool:
    """Whether this process is the one to tell of an error: the first that met one."""
    if not joined():
        return True
    try:
        return board().count("errors", 1) == 1
    except RuntimeError:  # The process that kept the board is gone, and has told why.
        return False
