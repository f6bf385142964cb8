"""Where a run's numbers are drawn while it goes: TensorBoard always, and what `track` names.

A tracker is started with the run's name and config, told the numbers of a step, and finished. Its own files and its
account are where its own settings have them (`WANDB_MODE`, `MLFLOW_TRACKING_URI`, `TRACKIO_DIR`, ...). Where a killed
run goes on, so does its tracker, under the same name: what it is told twice is the same both times.
"""

from __future__ import annotations

import importlib
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal, Protocol

from hornbook.errors import MissingExtra, UsageError

TrackerName = Literal["mlflow", "trackio", "wandb"]
PROJECT = "hornbook"
"""What the runs are filed under."""


class Tracker(Protocol):
    """Told of one run, from its start to its end."""

    def record(self, step: int, values: Mapping[str, float]) -> None: ...
    def finish(self) -> None: ...


Start = Callable[[str, Mapping[str, Any]], Tracker]
"""Begin, or go on with, the run of a name; its config is plain values."""


class TensorBoard:
    """Events in a folder (tensorboardX)."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def record(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def finish(self) -> None:
        self._writer.close()


class Wandb:
    """Weights & Biases (docs.wandb.ai)."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        wandb = _package("wandb")
        try:
            self._run = wandb.init(project=PROJECT, id=name, name=name, config=dict(config), resume="allow")
        except wandb.Error as error:
            raise UsageError(f"wandb: {error}", hint="`wandb login`, or WANDB_MODE=offline") from error

    def record(self, step: int, values: Mapping[str, float]) -> None:
        # The same step of a run that goes on after a kill is left out by the server: it has it.
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        self._run.finish()


class Trackio:
    """Trackio (huggingface.co/docs/trackio), which talks on stdout, where only the result belongs."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        trackio = _package("trackio")
        with redirect_stdout(sys.stderr):
            self._run = trackio.init(project=PROJECT, name=name, config=dict(config), resume="allow")

    def record(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        with redirect_stdout(sys.stderr):
            self._run.finish()


class Mlflow:
    """MLflow tracking (mlflow.org/docs)."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self._mlflow = _package("mlflow")
        self._client = self._mlflow.MlflowClient()
        known = self._client.get_experiment_by_name(PROJECT)
        experiment = known.experiment_id if known else self._client.create_experiment(PROJECT)
        before = self._client.search_runs([experiment], filter_string=f"attributes.run_name = '{name}'")
        run = before[0] if before else self._client.create_run(experiment, run_name=name)
        self._id = run.info.run_id
        for key, value in config.items():
            self._client.log_param(self._id, key, value)

    def record(self, step: int, values: Mapping[str, float]) -> None:
        now, metric = int(1000 * time.time()), self._mlflow.entities.Metric
        # Sources have names of their own; MLflow refuses a name with any other character.
        named = {re.sub(r"[^\w\-. :/]", "_", key): value for key, value in values.items()}
        self._client.log_batch(self._id, metrics=[metric(key, value, now, step) for key, value in named.items()])

    def finish(self) -> None:
        self._client.set_terminated(self._id)


TRACKERS: dict[TrackerName, Start] = {"mlflow": Mlflow, "trackio": Trackio, "wandb": Wandb}
"""What `track` can name."""


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(f'track = ["{name}"]', extra=name) from error
