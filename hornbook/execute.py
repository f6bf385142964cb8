"""How a stage becomes a folder: named by what goes in, committed whole or not at all, made once.

    runs/.tmp-<name>/out/        what the stage writes; cleared whenever it starts again
    runs/.tmp-<name>/scratch/    what survives a kill, for the stage to go on from
    runs/<name>/                 the same `out`, after every file is on disk and the manifest is written

A run is named by the hash of its inputs' contents, its config and the code it can reach, so running it again is a
no-op, and a kill at any instant followed by the same command ends with the same bytes.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import tomli_w

from hornbook import hub, ranks
from hornbook import progress as talk
from hornbook.config import Stage, Takes, Unhashed, marks, plain
from hornbook.disk import instant, sync
from hornbook.errors import Busy, HornbookError, InputError
from hornbook.manifest import (
    MANIFEST,
    Input,
    Manifest,
    code_version,
    contents_of,
    digest,
    package_versions,
    products,
    verify,
)
from hornbook.memory import forget_peak, resident_peak
from hornbook.run import Helping, Run


def execute(stage: Stage, config: Any, *, runs: Path) -> Path:
    """Make a run, or find it made.

    Returns:
        The run's folder.

    Raises:
        Busy: another process is making it.
        HornbookError: whatever the stage found wrong; nothing half-made is left under the run's name.
    """
    inputs = open_inputs(stage, config)
    name, identity = name_run(stage, config, inputs)
    if ranks.size() == 1:
        return _find_or_make(stage, config, inputs, runs, name, identity)
    with ranks.losses():
        meeting = ranks.Meeting(name)
        if ranks.rank() > 0:
            return _help(stage, config, inputs, runs / name, identity, meeting)
        with meeting.leading():
            return _find_or_make(stage, config, inputs, runs, name, identity, meeting)


def _find_or_make(
    stage: Stage,
    config: Any,
    inputs: Mapping[str, Input],
    runs: Path,
    name: str,
    identity: str,
    meeting: ranks.Meeting | None = None,
) -> Path:
    if (runs / name).exists():
        return _found(runs / name, identity)
    runs.mkdir(parents=True, exist_ok=True)
    with lock(runs, name):
        if (runs / name).exists():
            return _found(runs / name, identity)
        _make(stage, config, inputs, runs / name, identity, meeting)
    write_report(runs / name)
    return runs / name


def _help(
    stage: Stage, config: Any, inputs: Mapping[str, Input], final: Path, identity: str, meeting: ranks.Meeting
) -> Path:
    """Do this process' part of a run that the first process makes, or wait until it has made it."""
    if meeting.called():
        run = Helping(final.name, _unfinished(final), inputs, identity=identity, rank=ranks.rank())
        with _signals(run):
            stage.function(config, run)
        meeting.done()
    meeting.follow()
    return final


def _unfinished(final: Path) -> Path:
    return final.with_name(f".tmp-{final.name}")


def open_inputs(stage: Stage, config: Any) -> dict[str, Input]:
    """Every path that a config names, opened: by field, or by `field.label` for a table of paths."""
    found: dict[str, Input] = {}
    takes = marks(stage.config, Takes)
    for field, value in vars(config).items():
        pairs = value.items() if isinstance(value, dict) else [("", value)]
        for label, path in pairs:
            if isinstance(path, Path):
                key = f"{field}.{label}" if label else field
                found[key] = _open_input(path, key, takes[field].kind if field in takes else "")
    return found


def _open_input(path: Path, key: str, kind: str) -> Input:
    opened = Input(hub.fetched(path) if kind == "rows" and hub.is_dataset(path) else path)
    if kind and opened.manifest and opened.manifest.makes != kind:
        raise InputError(
            f"{key}: {path} holds {opened.manifest.makes}, not {kind}",
            hint=f"give the folder of a run that makes {kind}",
        )
    return opened


def name_run(stage: Stage, config: Any, inputs: Mapping[str, Input]) -> tuple[str, str]:
    """The name `<stage>-<hash8>` of a run and its whole identity."""
    unhashed = marks(stage.config, Unhashed)
    fields = {key: value for key, value in plain(config).items() if key not in unhashed}
    for key, opened in inputs.items():
        fields.pop(key.partition(".")[0], None)
        fields[f"input {key}"] = opened.contents
    world = stage.fingerprint(config) if stage.fingerprint else {}
    identity = digest(
        {"stage": stage.name, "config": fields, "world": world, "code": code_version(stage.function.__module__)}
    )
    return f"{stage.name}-{identity[:8]}", identity


def _found(folder: Path, identity: str) -> Path:
    if verify(folder).identity != identity:
        raise InputError(f"{folder} is another run, whose hash begins alike", hint="give another folder with --runs")
    # What a kill between the last two effects of a commit left.
    shutil.rmtree(_unfinished(folder), ignore_errors=True)
    if not (folder / "report.html").exists():
        write_report(folder)
    talk.say(f"{folder.name}: already made")
    return folder


def _make(
    stage: Stage,
    config: Any,
    inputs: Mapping[str, Input],
    final: Path,
    identity: str,
    meeting: ranks.Meeting | None,
) -> None:
    settings = _shareable(stage, config, inputs)
    run = Run(final.name, _unfinished(final), inputs, identity=identity, settings=settings)
    occasion = _begin(run)
    (run.out / "config.toml").write_text(tomli_w.dumps({stage.name: settings}))
    forget_peak()
    try:
        with _signals(run), meeting.calling() if meeting and stage.shared else nullcontext():
            stage.function(config, run)
    except HornbookError:
        run.finish()
        _clear(run)
        raise
    occasion |= {"seconds": occasion["seconds"] + time.time() - occasion["since"], "peak_memory_bytes": resident_peak()}
    run.close()
    occasion["inputs"] = {key: str(value.path) for key, value in inputs.items()}
    (run.out / "log" / "occasion.json").write_text(json.dumps(occasion, indent=1) + "\n")
    _commit(stage, run, inputs, identity, final)
    if run.stop_requested():
        run.stop()


def _clear(run: Run) -> None:
    """After an error, leave nothing of the run but what a stage saved to go on from."""
    shutil.rmtree(run.out, ignore_errors=True)
    if {path.name for path in run.scratch.iterdir()} <= {"occasion.json", "progress.json"}:
        shutil.rmtree(run.out.parent, ignore_errors=True)


def _begin(run: Run) -> dict[str, Any]:
    """Clear what a killed run left of its products, keep its scratch, and note the occasion."""
    shutil.rmtree(run.out, ignore_errors=True)
    run.out.mkdir(parents=True)
    run.scratch.mkdir(exist_ok=True)
    path = run.scratch / "occasion.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    occasion = {
        "started": before.get("started", datetime.now(UTC).isoformat(timespec="seconds")),
        "seconds": before.get("seconds", 0.0),
        "resumed": before.get("resumed", -1) + 1,
        "since": time.time(),
        "host": socket.gethostname(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "processes": ranks.size(),
    }
    with run.atomic(path) as temporary:
        temporary.write_text(json.dumps(occasion))
    return occasion


def _commit(stage: Stage, run: Run, inputs: Mapping[str, Input], identity: str, final: Path) -> None:
    """Everything to disk, the manifest last, then one rename."""
    files = products(run.out)
    Manifest(
        name=run.name,
        stage=stage.name,
        makes=stage.makes or "",
        identity=identity,
        contents=run.contents_override or contents_of(files),
        inputs={key: {"name": value.name, "contents": value.contents} for key, value in inputs.items()},
        code=code_version(stage.function.__module__),
        versions=package_versions(),
        counts=run.counts,
        results=run.results,
        files=files,
    ).write(run.out)
    for path in sorted(run.out.rglob("*"), key=lambda path: path.name == MANIFEST):
        instant()
        sync(path)
    sync(run.out)
    instant()
    os.rename(run.out, final)
    instant()
    sync(final.parent)
    shutil.rmtree(run.out.parent, ignore_errors=True)


def _shareable(stage: Stage, config: Any, inputs: Mapping[str, Input]) -> dict[str, Any]:
    """The config without what cannot change the result, and inputs by name, wherever they lie."""
    unhashed = marks(stage.config, Unhashed)
    values = {key: value for key, value in plain(config).items() if key not in unhashed}
    for key, opened in inputs.items():
        field, _, label = key.partition(".")
        values[field] = {**values[field], label: opened.name} if label else opened.name
    return values


@contextmanager
def lock(runs: Path, name: str) -> Iterator[None]:
    """Hold the one lock of an output; the kernel frees it when its owner dies.

    Raises:
        Busy: another process holds it.
    """
    (runs / ".locks").mkdir(exist_ok=True)
    with (runs / ".locks" / name).open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"{name} is being made by {_owner(stream)}", hint="wait for it, or stop it and run this again"
            ) from None
        stream.truncate(0)
        stream.write(
            f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        )
        stream.flush()
        yield


def _owner(stream: IO[str]) -> str:
    stream.seek(0)
    return stream.read() or "another process"


@contextmanager
def _signals(run: Run) -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, run.on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_report(folder: Path) -> None:
    """Draw a run's page into its folder."""
    from hornbook.report import render_run

    temporary = folder / ".report.tmp"
    temporary.write_text(render_run(folder))
    os.replace(temporary, folder / "report.html")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor()
