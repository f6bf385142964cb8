"""`torchrun -m hornbook pretrain`: the run of one process, made by several, stopped, killed and resumed by others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hornbook.config import build
from hornbook.execute import execute
from hornbook.stages import load
from hornbook.text.document import Document, write_documents
from tests import forked, ranks
from tests.test_run import hashes

# Two micro-batches, one for each process, and nothing clipped: then two processes round as one does. The norm that
# clipping goes by is summed in another order, and Adam magnifies that (1e-6 of the loss after 20 steps of this model).
TRAINING = "--length 16 --batch 8 --rows 4 --precision fp32 --device cpu --evaluation-tokens 200 --clip 1000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokens to train on, in `runs`."""
    made = tmp_path_factory.mktemp("processes")
    (made / "corpus").mkdir()
    texts = [f"Page {n} tells of {n * n} apples and {n} pears, and of the tree they grew on." for n in range(80)]
    rows = (Document(f"{n:02d}", text, "orchard") for n, text in enumerate(texts))
    write_documents(made / "corpus" / "documents.parquet", rows)
    stage = load("tokenize")
    config = build(stage.config, {"corpus": str(made / "corpus"), "vocabulary": 300}, where="tokenize")
    execute(stage, config, runs=made / "runs")
    return made


@pytest.fixture(scope="module")
def words(folder: Path) -> Callable[..., tuple[str, ...]]:
    """The words of a command that trains for some steps, into a folder of runs."""
    (tokens,) = (folder / "runs").glob("tokenize-*")

    def command(runs: str, *more: str, steps: int = 40, optimizer: str = "adamw", depth: int = 1) -> tuple[str, ...]:
        given = (
            f"pretrain --tokens {tokens} --runs {folder / runs} --optimizer {optimizer} --train-tokens {steps * 128} "
            f"--depth {depth}"
        )
        return (*given.split(), *TRAINING.split(), *more)

    return command


@pytest.fixture(scope="module")
def alone(folder: Path, words: Callable[..., tuple[str, ...]]) -> Path:
    """The run of one process."""
    ranks.run(1, forked.command, *words("alone"), folder=folder)
    return the_run(folder / "alone")


def the_run(runs: Path) -> Path:
    (found,) = (path.parent for path in runs.glob("[a-z]*/manifest.json"))
    return found


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def same_curve(run: Path, other: Path, *, loss: float = 1e-6) -> None:
    """The loss to `loss`; norms to 1e-4, since Adam divides by small gradients and so magnifies their rounding."""
    assert len(metrics(run)) == len(metrics(other))
    for ours, theirs in zip(metrics(run), metrics(other), strict=True):
        assert ours == {key: pytest.approx(value, rel=1e-4 if "norm" in key else loss) for key, value in theirs.items()}


def at_work(runs: Path) -> bool:
    """Whether a run in the making has taken some steps."""
    return any(path.read_text().count("\n") > 6 for path in runs.glob(".tmp-*/scratch/metrics.jsonl"))


def test_two_processes_make_the_run_that_one_makes(folder: Path, words: Any, alone: Path) -> None:
    group = ranks.run(2, forked.command, *words("two"), folder=folder)
    run = the_run(folder / "two")
    assert run.name == alone.name
    same_curve(run, alone)
    assert (run / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in alone.iterdir())
    assert not list((folder / "two").glob(".tmp-*"))
    assert (folder / "stdout-0").read_text().split() == [str(run)]
    assert (folder / "stdout-1").read_text() == ""
    assert group.errors(1) == "", "the first process speaks for all"
    again = ranks.run(2, forked.command, *words("two"), folder=folder)
    assert again.said() == f"{run.name}: already made\n"


@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2), (2, 2)])
def test_another_number_of_processes_goes_on(
    folder: Path, words: Any, alone: Path, tmp_path: Path, first: int, second: int
) -> None:
    runs = f"from-{first}-to-{second}"
    stopped = ranks.start(first, forked.command, *words(runs), folder=folder)
    ranks.until(lambda: at_work(folder / runs), stopped)
    stopped.stop()
    assert stopped.wait() == [75] * first, stopped.said()
    assert stopped.said().count("stopped as asked; what was done is saved") == 1
    resumed = ranks.run(second, forked.command, *words(runs), folder=folder)
    assert "going on from step" in resumed.said()
    same_curve(the_run(folder / runs), alone)
    if first == second == 2:
        assert hashes(the_run(folder / runs)) == hashes(the_run(folder / "two"))


def test_two_that_share_layers_stop_and_one_goes_on(folder: Path, words: Any) -> None:
    """Sums over heads round otherwise than one process' do, and Adam magnifies that."""
    command = partial(words, steps=12, depth=2, optimizer="muon")
    ranks.run(1, forked.command, *command("layers"), folder=folder)
    stopped = ranks.start(2, forked.command, *command("shared", "--tensor-parallel", "2"), folder=folder)
    ranks.until(lambda: at_work(folder / "shared"), stopped)
    stopped.stop()
    assert stopped.wait() == [75, 75], stopped.said()
    resumed = ranks.run(1, forked.command, *command("shared"), folder=folder)
    assert "going on from step" in resumed.said()
    run, alone = the_run(folder / "shared"), the_run(folder / "layers")
    assert run.name == alone.name
    same_curve(run, alone, loss=1e-5)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_others(folder: Path, words: Any, rank: int) -> None:
    runs = f"killed-{rank}"
    group = ranks.start(2, forked.command, *words(runs, steps=2000), folder=folder)
    ranks.until(lambda: at_work(folder / runs), group)
    group.kill(rank)
    codes = group.wait()
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == 1, group.said()
    assert f"process {1 - rank} of 2 lost another one, which was killed or failed" in group.errors(1 - rank)
    assert "Traceback" not in group.said()


def test_an_error_of_all_is_told_once(folder: Path, words: Any) -> None:
    group = ranks.start(2, forked.command, *words("wrong"), "--sources.nothing", "1", folder=folder)
    assert group.wait() == [1, 1]
    assert group.said().count("error: ") == 1
    assert "has no tokens of source 'nothing'" in group.said()
    assert not list((folder / "wrong").glob(".tmp-*"))


def test_torchrun_stops_in_order_and_the_others_wait_for_the_first(folder: Path, words: Any) -> None:
    (folder / "whole.toml").write_text(
        f'[tokenize]\ncorpus = "{folder / "corpus"}"\nvocabulary = 290\n[pretrain]\ndepth = 1\nlength = 16\n'
        'batch = 4\nrows = 4\ntrain_tokens = 100_000\nprecision = "fp32"\nevaluation_tokens = 100\n'
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "hornbook"]
    command = [*torchrun, "run", "whole.toml", "--runs", "torchrun"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as process:
        while not at_work(folder / "torchrun") and process.poll() is None:
            time.sleep(0.02)
        process.terminate()
        _, errors = process.communicate(timeout=120)
    assert "stopping after this step" in errors
    assert errors.count("error: ") == 1
    assert "stopped as asked; what was done is saved" in errors
    assert list((folder / "torchrun").glob(".tmp-pretrain-*/scratch/checkpoints/step-*/manifest.json"))
