"""What there is to compute on: a table of GPUs that the user can edit, or this machine as it is measured."""

from __future__ import annotations

import difflib
import os
import re
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from hornbook.config import NotNegative, Positive, build
from hornbook.device import choose_device, matmul_rate
from hornbook.errors import UsageError
from hornbook.model.hardware import has_bf16

TABLE = Path(__file__).with_name("machines.toml")
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(GB|GiB|G)?", re.IGNORECASE)
THIS = "this"
MIB = 2**20
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table, in the units of data sheets."""

    memory: Positive
    """MiB."""
    bandwidth: Positive
    """GB a second."""
    watts: Positive
    price: NotNegative = 0.0
    """Dollars an hour."""
    bf16: Positive | None = None
    """Tera-FLOPs a second of dense products."""
    fp16: Positive | None = None
    fp32: Positive | None = None

    def __post_init__(self) -> None:
        if not (self.bf16 or self.fp16 or self.fp32):
            raise UsageError("a machine needs a rate: bf16, fp16 or fp32", hint="in tera-FLOPs a second: bf16 = 121")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One accelerator, or this computer."""

    name: str
    kind: str
    """`cuda` or `cpu`, as torch calls it."""
    memory: int
    """Bytes that there are."""
    rates: Mapping[str, float]
    """FLOPs a second of matrix products, by type; those measured, or of the data sheet."""
    bandwidth: float
    """Bytes a second."""
    watts: float
    price: float = 0.0
    """Dollars an hour."""
    measured: bool = False
    note: str = ""

    @property
    def precision(self) -> str:
        """What `precision = "auto"` comes to there."""
        return next(name for name in TYPES if name in self.rates)

    @property
    def rate(self) -> float:
        return self.rates[self.precision]

    @property
    def autocast(self) -> torch.dtype | None:
        dtype = TYPES[self.precision]
        return None if dtype == torch.float32 else dtype


def table(path: Path | None = None) -> dict[str, Machine]:
    """The GPUs by name: the table that comes with the package, and over it that of a file of the same form.

    Raises:
        UsageError: the file cannot be read, or a row of it is wrong.
    """
    rows = _read(TABLE) | (_read(path) if path else {})
    return {name: _machine(name, row) for name, row in rows.items()}


def _read(path: Path) -> dict[str, Row]:
    try:
        found = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} is no table of machines: {error}", hint=f"one table a machine, as in {TABLE.name}"
        ) from error
    rows = {}
    for name, values in found.items():
        where = f"{path.name}: [{name}]"
        if not isinstance(values, dict):
            raise UsageError(f"{where} is {values!r}, not a table", hint="[T4]\nmemory = 15360")
        rows[name] = build(Row, values, where=where)
    return rows


def _machine(name: str, row: Row) -> Machine:
    known = {"bf16": row.bf16, "fp16": row.fp16, "fp32": row.fp32}
    return Machine(
        name=name,
        kind="cuda",
        memory=int(row.memory * MIB),
        rates={kind: rate * 1e12 for kind, rate in known.items() if rate},
        bandwidth=row.bandwidth * 1e9,
        watts=row.watts,
        price=row.price,
    )


def find(wanted: str, known: Mapping[str, Machine]) -> Machine:
    """A GPU by its name, or by its memory: then the slowest that has as much, with just so much memory.

    Raises:
        UsageError: there is none.
    """
    if size := SIZE.fullmatch(wanted.strip()):
        return _of_size(float(size[1]), wanted, known)
    plain = {_plain(name): machine for name, machine in known.items()}
    # "A100" is the one with least memory of those that are called so.
    named = [one for name, one in plain.items() if _plain(wanted) and name.startswith(_plain(wanted))]
    if named:
        return min(named, key=lambda one: (one.name != wanted, one.memory))
    close = difflib.get_close_matches(_plain(wanted), plain, n=1, cutoff=0.4)
    alike = f'did you mean "{plain[close[0]].name}"? ' if close else ""
    raise UsageError(
        f"there is no GPU {wanted!r} in the table",
        hint=f"{alike}known: {', '.join(known)}; or its memory: --gpu 24GB; or a table of your own: --machines FILE",
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]|nvidia|geforce|tesla|gb", "", name.lower())


def _of_size(gigabytes: float, wanted: str, known: Mapping[str, Machine]) -> Machine:
    # A card of "24 GB" shows 23,028 MiB or more: 3 in 100 less than that many GiB are still it.
    able = [one for one in known.values() if one.memory >= gigabytes * 2**30 * 0.93]
    if not able:
        most = max(known.values(), key=lambda one: one.memory)
        raise UsageError(
            f"no GPU of the table has {wanted}", hint=f"the largest is {most.name}, {most.memory / 2**30:.0f} GiB"
        )
    least = min(one.memory for one in able)
    alike = [one for one in able if one.memory <= least * 1.07 and one.bandwidth]
    slowest = min(alike, key=lambda one: one.rate)
    memory = min(int(gigabytes * 1e9), slowest.memory)
    note = f"as slow as {slowest.name}, the slowest of that size"
    return replace(slowest, name=wanted.strip(), memory=memory, note=note)


def this() -> Machine:
    """This machine: its best device, with rates that are measured now, in about two seconds."""
    device = choose_device("auto")
    types = {"bf16": has_bf16(device), "fp16": device.type != "cpu", "fp32": True}
    rates = {name: matmul_rate(device, TYPES[name]) for name, there in types.items() if there}
    return Machine(
        name=THIS,
        kind=device.type,
        memory=_memory(device),
        rates=rates,
        bandwidth=_bandwidth(device),
        watts=_WATTS_A_CORE * (os.cpu_count() or 1) if device.type == "cpu" else 300.0,
        measured=True,
    )


_WATTS_A_CORE = 10.0
"""Assumed of a CPU at work, as no counter tells: a server's 64 cores take a few hundred."""


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(min(_free(), _limit()))


def _free() -> int:
    """Of the computer, what no other program needs; where the system does not tell, all of it."""
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.exists() else []
    told = (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return next(told, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _limit() -> float:
    """What a container may take."""
    path = Path("/sys/fs/cgroup/memory.max")
    text = path.read_text().strip() if path.exists() else ""
    return int(text) if text.isdigit() else float("inf")


COPIED = 2**27
"""Bytes that the bandwidth is measured on: more than caches hold."""


@cache
def _bandwidth(device: torch.device) -> float:
    """Bytes a second that are read and written when memory is copied, the best of three."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        target.copy_(source)
        target[-1].item()
        best = min(best, time.perf_counter() - started)
    return 2 * COPIED / best
