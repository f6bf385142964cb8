"""How a benchmark is run: ours and the peers in turn, each in a process of its own, compared pair by pair.

A subject is a script with a table of rows, which it hands to `main`:

    ROWS = (Row("extract", "MB/CPU-s", {"8 MB": {"megabytes": 8}}, ours, (Peer(theirs, "trafilatura"),)),)
    if __name__ == "__main__":
        main(ROWS)

A side is a function that takes the size's options (and `folder`, what the row's `prepare` filled), does the work and
returns what it measured. It runs in the interpreter whose venv has its package.

This file imports nothing large: a child's peak memory counts what its parent held when it was started.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("HORNBOOK_DATA") or ROOT.parent / "shared" / "data")
PEERS = Path(os.environ["PEERS_DIR"]) if "PEERS_DIR" in os.environ else None
"""Checkouts of peers that are on no registry: nanoGPT, ..."""
PEER_VENVS = (".venv-bench", ".venv-bench-datatrove", ".venv-bench-dolma", ".venv-bench-litgpt")
VENVS = os.environ.get("BENCH_VENVS", ":".join(str(ROOT / name) for name in PEER_VENVS))
"""Where peers are installed, looked through in order; then the venv that runs this."""
REPEATS = 3


@dataclass(frozen=True)
class Measured:
    """What a side measured, in the row's unit, and what else it has to say."""

    value: float
    notes: dict[str, Any] = field(default_factory=dict)


class Failed(Exception):
    """A side ended with an error."""


Work = Callable[..., Measured]


@dataclass(frozen=True)
class Peer:
    """The other side. `package` is what it needs: a distribution, or a folder of PEERS_DIR with a slash at its end."""

    work: Work
    package: str
    label: str = ""
    """Told apart from the row's first peer in the JSON: `ratio_<label>`."""
    config: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a table, at some sizes."""

    name: str
    unit: str
    sizes: Mapping[str, Mapping[str, Any]]
    ours: Work
    peers: tuple[Peer, ...] = ()
    prepare: Callable[..., None] | None = None
    """Fills a folder, once a size, for both sides."""
    less_is_better: bool = False
    compare: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] | None = None
    """What the notes of ours and of a peer say about each other."""
    repeats: int = REPEATS
    threads: int = 1
    trains: bool = False
    """Ours has the heap of `hornbook`'s commands that compute, and so has the best of a peer; its defaults have not."""


class Stopwatch:
    """Wall and CPU seconds (all threads, and children that have ended) of a `with` block."""

    def __enter__(self) -> Stopwatch:
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, _cpu_seconds() - self._cpu


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def resident_mb() -> float:
    """Memory of this process now; a side notes it as `loaded_mb` when it is ready to work (Linux only, else 0)."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if status.exists() else 0.0


# -- running ----------------------------------------------------------------------------------------------------------


def main(rows: Sequence[Row], argv: Sequence[str] | None = None) -> None:
    """The command line of every subject: a table, or one JSON object a row and size."""
    parser = argparse.ArgumentParser(description="Ours and the peers in turn; a ratio above 1: ours is better.")
    parser.add_argument("--only", metavar="ROW", choices=[row.name for row in rows], help="one row")
    parser.add_argument("--size", help="one size of each row, or a size of your own as a JSON object")
    parser.add_argument("--json", action="store_true", help="one JSON object a row and size")
    parser.add_argument("--repeats", type=int, help="pairs of runs")
    parser.add_argument("--side", help="only run one side, here: ours, peer, peer_<label> (to profile it)")
    parser.add_argument("--folder", type=Path, help="what `--side prepare` fills and the other sides read")
    given = parser.parse_args(argv)
    chosen = [row for row in rows if given.only in (None, row.name)]
    if given.side:
        _run_side(chosen[0], given.size or next(iter(chosen[0].sizes)), given.side, given.folder)
        return
    results = []
    for row in chosen:
        for size in [given.size] if given.size else row.sizes:
            results.append(measure(row, size, repeats=given.repeats or row.repeats))
            if given.json:
                print(json.dumps(results[-1]), flush=True)
    if not given.json:
        print(table(results))


def measure(row: Row, size: str, *, repeats: int) -> dict[str, Any]:
    """Run the sides in turn and put the medians beside each other."""
    pythons = {peer: find_python(peer.package) for peer in row.peers}
    there = {peer: found for peer, found in pythons.items() if found}
    missing = [peer.package for peer, found in pythons.items() if not found]
    result: dict[str, Any] = {"row": row.name, "size": size, "unit": row.unit, "repeats": repeats}
    result |= {"ours": None, "peer": None, "ratio": None, "machine": machine(), "load": round(os.getloadavg()[0], 2)}
    if missing:
        result["missing"] = f"{', '.join(missing)}: `make bench-setup`" + _peers_hint(missing)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        if row.prepare:
            _child(row, size, "prepare", Path(sys.executable), folder)
        ours: list[dict[str, Any]] = []
        theirs: dict[Peer, list[dict[str, Any]]] = {peer: [] for peer in there}
        for _ in range(repeats):
            ours.append(_child(row, size, "ours", Path(sys.executable), folder))
            for peer, (python, _version) in there.items():
                theirs[peer] += _attempt(row, size, peer, python, folder)
    result |= _summary("ours", ours)
    for peer, runs in theirs.items():
        if len(runs) == repeats:
            result |= _comparison(row, peer, there[peer][1], ours, runs)
        else:
            result[f"{_key(peer)}_config"] = f"{there[peer][1]} fails, see above"
    return result


def options_of(row: Row, size: str) -> dict[str, Any]:
    """What the sides are told of a size: by its name, or as a JSON object."""
    if size in row.sizes:
        return dict(row.sizes[size])
    if not size.startswith("{"):
        raise SystemExit(f"{row.name} has no size {size!r}; it has {', '.join(row.sizes)}, or takes a JSON object")
    options: dict[str, Any] = json.loads(size)
    return options


def find_python(package: str) -> tuple[Path, str] | None:
    """The first interpreter that has a package, and the version it has; of a checkout this one and its folder."""
    if package.endswith("/"):
        there = PEERS is not None and (PEERS / package).is_dir()
        return (Path(sys.executable), package.strip("/")) if there else None
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    for python in (*(Path(venv) / "bin" / "python" for venv in VENVS.split(":")), Path(sys.executable)):
        if python.is_file():
            found = subprocess.run([python, "-c", ask], capture_output=True, text=True)
            if found.returncode == 0:
                return python, f"{package} {found.stdout.strip()}"
    return None


def _attempt(row: Row, size: str, peer: Peer, python: Path, folder: Path) -> list[dict[str, Any]]:
    """One run of a peer; none, and its last words, where it fails: the other rows are still worth measuring."""
    try:
        return [_child(row, size, _key(peer), python, folder)]
    except Failed as failure:
        print(failure, file=sys.stderr)
        return []


def _child(row: Row, size: str, side: str, python: Path, folder: Path) -> dict[str, Any]:
    """Run one side; what it measured, with its CPU seconds and peak memory as the kernel counted them."""
    command = [str(python), sys.argv[0], "--only", row.name, "--size", size, "--side", side, "--folder", str(folder)]
    print(f"{row.name} {size}: {side}", file=sys.stderr)
    # The usual variable still counts: on a busy machine, where threads wait for each other, one is the fairer number.
    threads = os.environ.get("OMP_NUM_THREADS", str(row.threads))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads, "TQDM_DISABLE": "1"}
    if row.trains and side in ("ours", "peer_best"):
        from hornbook.memory import TIDY

        environment["GLIBC_TUNABLES"] = TIDY
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode:
            raise Failed(f"{' '.join(command)} failed:\n{err.read()[-4000:]}")
        printed: dict[str, Any] = json.loads(out.read().splitlines()[-1]) if side != "prepare" else {}
    return {**printed, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss * 1024 / 1e6}


def _run_side(row: Row, size: str, side: str, folder: Path | None) -> None:
    """What a child does: the work, then its measurement as the last line of stdout."""
    options = options_of(row, size)
    if row.prepare:
        folder = folder or Path(tempfile.mkdtemp(prefix="bench-"))
        if side == "prepare" or not any(folder.iterdir()):
            row.prepare(folder=folder, **options)
        options["folder"] = folder
    if side != "prepare":
        work = row.ours if side == "ours" else next(peer.work for peer in row.peers if _key(peer) == side)
        measured = work(**options)
        print(json.dumps({"value": measured.value, "notes": measured.notes}))


# -- comparing --------------------------------------------------------------------------------------------------------


def _summary(key: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    prefix = "" if key == "ours" else f"{key}_"
    notes = {name: value for name, value in runs[-1]["notes"].items() if not name.startswith("_")}
    return {
        key: _median([run["value"] for run in runs]),
        f"{prefix}peak_mb": _median([run["peak_mb"] for run in runs]),
        f"{prefix}cpu_seconds": _median([run["cpu_seconds"] for run in runs]),
        **{f"{prefix}{name}": value for name, value in notes.items()},
    }


def _comparison(
    row: Row, peer: Peer, version: str, ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    pairs = list(zip(ours, theirs, strict=True))
    ratios = [(a["value"], b["value"]) for a, b in pairs]
    end = f"_{peer.label}" if peer.label else ""
    said = row.compare(ours[-1]["notes"], theirs[-1]["notes"]) if row.compare else {}
    return {
        **_summary(_key(peer), theirs),
        f"{_key(peer)}_config": f"{version}{', ' if peer.config else ''}{peer.config}",
        f"ratio{end}": _median([b / a if row.less_is_better else a / b for a, b in ratios]),
        f"memory_ratio{end}": _median([_above(b) / _above(a) for a, b in pairs]),
        **{f"{name}{end}": value for name, value in said.items()},
    }


def _above(run: dict[str, Any]) -> float:
    """Peak memory above what the side held when it was ready to work, where it noted that."""
    return max(1.0, float(run["peak_mb"]) - float(run["notes"].get("loaded_mb", 0.0)))


def _key(peer: Peer) -> str:
    return f"peer_{peer.label}" if peer.label else "peer"


def _median(values: Sequence[float]) -> float:
    return float(f"{median(values):.4g}")


# -- telling ----------------------------------------------------------------------------------------------------------

COLUMNS = ("row", "size", "ours", "peer", "ratio", "unit", "CPU s", "MB", "MB of peer", "peer is")


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Results as a Markdown table, a line a peer."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS)]
    lines += [line for result in results for line in _lines(result)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _lines(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    keys = [key.removesuffix("_config") for key in result if key.startswith("peer") and key.endswith("_config")]
    return [_line(result, key) for key in keys or ["peer"]]


def _line(result: Mapping[str, Any], key: str) -> tuple[str, ...]:
    end = key.removeprefix("peer")
    what = result.get(f"{key}_config") or result.get("missing", "")
    numbers = [_show(result.get(name)) for name in ("ours", key, f"ratio{end}")]
    costs = [_show(result.get(name)) for name in ("cpu_seconds", "peak_mb", f"{key}_peak_mb")]
    return (result["row"], result["size"], *numbers, result["unit"], *costs, what)


def _show(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine() -> str:
    """Processor and cores."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def _peers_hint(missing: Sequence[str]) -> str:
    return ", or PEERS_DIR for checkouts" if any(package.endswith("/") for package in missing) else ""


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
