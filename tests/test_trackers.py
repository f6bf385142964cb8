"""One row a tracker: what it was told, read back by the tracker's own client. Nothing leaves the machine."""

from __future__ import annotations

import json
import sqlite3
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hornbook.errors import MissingExtra
from hornbook.trackers import TRACKERS, TensorBoard, TrackerName

NAME = "pretrain-0a1b2c3d"
CONFIG = {"depth": 2, "sources": {"a": 1.0}}
TOLD: list[tuple[int, dict[str, float]]] = [
    (0, {"bits_per_byte/docs": 3.5}),
    (1, {"loss": 4.0}),
    (2, {"loss": 3.0}),
    (3, {"loss": 2.5}),
]
Points = dict[str, dict[int, float]]


def of_tensorboard(folder: Path) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {key: {e.step: e.value for e in events.Scalars(key)} for key in events.Tags()["scalars"]}


def of_mlflow(folder: Path) -> Points:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("hornbook")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params["depth"]) == (NAME, "FINISHED", "2")
    history = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    return {key: {point.step: point.value for point in points} for key, points in history.items()}


def of_trackio(folder: Path) -> Points:
    with sqlite3.connect(folder / "hornbook.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics").fetchall()
    found: Points = {}
    for name, step, metrics in rows:
        assert name == NAME
        for key, value in json.loads(metrics).items():
            found.setdefault(key, {})[step] = value
    return found


def of_wandb(folder: Path) -> Points:
    from wandb.proto.wandb_internal_pb2 import Record

    found: Points = {}
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        assert NAME in path.name
        for record in _closed(path, Record):
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for key in items:
                if not key.startswith("_"):
                    found.setdefault(key, {})[items["_step"]] = items[key]
    return found


def _closed(path: Path, kind: Callable[[], Any]) -> list[Any]:
    """The records of a run, once the last of them, which another process writes, is there."""
    for _ in range(100):
        records = [kind() for _ in _log_records(path.read_bytes())]
        for record, data in zip(records, _log_records(path.read_bytes()), strict=False):
            record.ParseFromString(data)
        if records and records[-1].HasField("exit"):
            return records
        time.sleep(0.1)
    raise TimeoutError(path)


def _log_records(log: bytes) -> Iterator[bytes]:
    """LevelDB's log, of which wandb's first block begins with 7 bytes of its own: blocks of 32 KiB; checksum, size,
    and whether a record is whole (1) or its first (2), a middle (3) or its last part (4)."""
    place, parts = 7, b""
    while place + 7 <= len(log):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        _, size, part = struct.unpack_from("<IHB", log, place)
        parts += log[place + 7 : place + 7 + size]
        place += 7 + size
        if part in (1, 4):
            yield parts
            parts = b""


READERS: Mapping[str, Callable[[Path], Points]] = {
    "tensorboard": of_tensorboard,
    "mlflow": of_mlflow,
    "trackio": of_trackio,
    "wandb": of_wandb,
}


def test_every_tracker_has_a_row() -> None:
    assert READERS.keys() == {"tensorboard", *TRACKERS}


@pytest.mark.filterwarnings("ignore")  # Of the trackers' own.
@pytest.mark.parametrize("name", READERS)
def test_it_is_told_a_run_and_goes_on_with_it(
    name: TrackerName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    local = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "TRACKIO_DIR": str(tmp_path)}
    local |= {"MLFLOW_TRACKING_URI": f"file://{tmp_path}/mlruns", "MLFLOW_ALLOW_FILE_STORE": "true"}
    for key, value in local.items():
        monkeypatch.setenv(key, value)
    if name != "tensorboard":
        pytest.importorskip(name, exc_type=ImportError)
    # Killed after the third, it goes on from the second: what is told again is the same. The events of TensorBoard
    # lie in the folder that a run begins anew; so it is told of everything again.
    for part in (TOLD[:3], TOLD[2:]) if name != "tensorboard" else (TOLD,):
        tracker = TensorBoard(tmp_path) if name == "tensorboard" else TRACKERS[name](NAME, CONFIG)
        for step, values in part:
            tracker.record(step, values)
        tracker.finish()
    assert READERS[name](tmp_path) == {"bits_per_byte/docs": {0: 3.5}, "loss": {1: 4.0, 2: 3.0, 3: 2.5}}
    assert capsys.readouterr().out == "", "stdout is the result's"


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_an_error_that_names_its_install(
    name: TrackerName, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What Python itself does with a module of None: the import fails as if it were not there.
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=rf'track = \["{name}"\] needs an extra') as raised:
        TRACKERS[name](NAME, CONFIG)
    assert raised.value.hint == f"pip install 'hornbook[{name}]'"
