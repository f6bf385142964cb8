"""Where the work is done: tasks on the processes of this machine, or on a Ray cluster, with the same results.

A task is a function and one argument; it writes files and returns something JSON-able. What it is given and what it
makes never depend on how many tasks run at a time, so neither do the results.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, TypeVar

import orjson

from hornbook.errors import MissingExtra

Argument = TypeVar("Argument")
AHEAD = 4
"""Tasks that wait for each process, so that none is idle while results are taken in order."""


class Engine(Protocol):
    """Runs tasks."""

    def run(self, work: Callable[[Argument], Any], arguments: Sequence[Argument]) -> Iterator[Any]:
        """What `work` returns for each argument, in the arguments' order."""
        ...


@dataclass(frozen=True)
class Local:
    """Processes of this machine; with one, the work is done in the process that asks."""

    workers: int = 1

    def run(self, work: Callable[[Argument], Any], arguments: Sequence[Argument]) -> Iterator[Any]:
        """See Engine."""
        workers = min(self.workers, len(arguments))
        if workers <= 1:
            yield from map(work, arguments)
            return
        # Not fork: the progress line is drawn by a thread.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
            waiting = deque[Any]()
            try:
                for argument in arguments:
                    if len(waiting) == AHEAD * workers:
                        yield waiting.popleft().result()
                    with _deaf():
                        waiting.append(pool.submit(work, argument))
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Ray:
    """A Ray cluster: the one that RAY_ADDRESS names, else one on this machine. Its nodes share the runs' folder."""

    workers: int | None = None

    def run(self, work: Callable[[Argument], Any], arguments: Sequence[Argument]) -> Iterator[Any]:
        """See Engine."""
        ray = _ray()
        if not ray.is_initialized():
            ray.init(num_cpus=self.workers, include_dashboard=False, log_to_driver=False, configure_logging=False)
        task = ray.remote(work_on).options(scheduling_strategy="SPREAD")
        ahead = AHEAD * int(self.workers or max(1, ray.cluster_resources().get("CPU", 1)))
        waiting = deque[Any]()
        for argument in arguments:
            if len(waiting) == ahead:
                yield ray.get(waiting.popleft())
            waiting.append(task.remote(os.getcwd(), work, argument))
        while waiting:
            yield ray.get(waiting.popleft())


def work_on(folder: str, work: Callable[[Argument], Any], argument: Argument) -> Any:
    """A task as Ray sees it, done where the one who asks is, so that paths mean the same."""
    os.chdir(folder)
    return work(argument)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtra('engine = "ray"', extra="ray") from error
    return ray


@dataclass(frozen=True)
class Workplace:
    """Phases of tasks in a folder that survives a kill: what was made is not made again."""

    engine: Engine
    folder: Path

    def phase(
        self, name: str, work: Callable[[Argument], Any], arguments: Sequence[Argument], advance: Callable[[], None]
    ) -> Iterator[Any]:
        """The result of each task, in order; `advance` is called as they come.

        A task's own files go below `folder`, by `written`; its result is written last, so that it stands for them.
        """
        place = self.folder / name
        place.mkdir(parents=True, exist_ok=True)
        paths = [place / f"{at:05}.json" for at in range(len(arguments))]
        made = [path.exists() for path in paths]
        left = [task for task, there in zip(zip(arguments, paths, strict=True), made, strict=True) if not there]
        fresh = self.engine.run(partial(_do, work), left)
        for path, there in zip(paths, made, strict=True):
            yield orjson.loads(path.read_bytes()) if there else next(fresh)
            advance()


def _do(work: Callable[[Any], Any], task: tuple[Any, Path]) -> Any:
    argument, path = task
    result = orjson.dumps(work(argument))
    with written(path) as temporary:
        temporary.write_bytes(result)
    return orjson.loads(result)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes it, whole and on disk, when the block ends well."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that start meanwhile ignore Ctrl-C from their first instant: it is their parent that ends them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with_parent() -> None:
    """A killed parent tells its workers nothing, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()
