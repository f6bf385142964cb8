from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from hornbook import disk
from hornbook.config import Stage
from hornbook.errors import Busy, Damaged, InputError, Interrupted
from hornbook.execute import execute, lock, name_run, open_inputs
from hornbook.manifest import Input, code_version, list_runs, read_manifest, verify
from hornbook.run import Run
from hornbook.stages import load
from hornbook.stages.tokenize import Tokenize
from hornbook.text.document import Document, write_documents


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    texts = [f"Page {n} tells of {n * n} apples and {n} pears, and of the tree they grew on." for n in range(40)]
    write_documents(folder / "documents.parquet", (Document(f"{n:02d}", t, "orchard") for n, t in enumerate(texts)))
    return folder


@pytest.fixture
def config(corpus: Path) -> Tokenize:
    return Tokenize(corpus=corpus, vocabulary=300, held_out=0.2)


def hashes(folder: Path) -> dict[str, str]:
    """Every file of a run but those that tell of the occasion."""
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}
    return {name: value for name, value in sorted(names.items()) if not name.startswith(("log/", "report.html"))}


def test_a_run_is_named_by_its_inputs_config_and_code(config: Tokenize, corpus: Path, tmp_path: Path) -> None:
    stage = load("tokenize")

    def name(config: Tokenize) -> str:
        return name_run(stage, config, open_inputs(stage, config))[0]

    first = name(config)
    assert first == name(config)
    assert first != name(replace(config, vocabulary=301))
    moved = tmp_path / "elsewhere"
    corpus.rename(moved)
    assert first == name(replace(config, corpus=moved)), "the place of an input is no part of a name"
    write_documents(moved / "documents.parquet", [Document("1", "Another text.", "orchard")])
    assert first != name(replace(config, corpus=moved))


def test_running_again_is_a_no_op(config: Tokenize, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = execute(load("tokenize"), config, runs=tmp_path / "runs")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert execute(load("tokenize"), config, runs=tmp_path / "runs") == folder
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert f"{folder.name}: already made" in capsys.readouterr().err


def test_the_manifest_tells_what_was_made_from_what(config: Tokenize, tmp_path: Path) -> None:
    folder = execute(load("tokenize"), config, runs=tmp_path / "runs")
    manifest = verify(folder)
    assert (manifest.stage, manifest.makes, manifest.name) == ("tokenize", "tokens", folder.name)
    assert manifest.inputs["corpus"]["contents"] == Input(config.corpus).contents
    assert set(manifest.files) == {
        "config.toml",
        "documents.parquet",
        "tokenizer.json",
        "tokenizer_config.json",
        "train-00000.npy",
        "valid-00000.npy",
    }
    assert [m.name for m in list_runs(tmp_path / "runs")] == [folder.name]
    assert not list((tmp_path / "runs").glob(".tmp-*"))


def test_a_kill_between_any_two_effects_on_disk_changes_nothing(config: Tokenize, tmp_path: Path) -> None:
    expected = hashes(execute(load("tokenize"), config, runs=tmp_path / "whole"))
    crashes = 0
    for instant in range(1, 100):
        runs = tmp_path / f"runs-{instant}"
        if _in_child(config, runs, crash_at=instant) != 137:
            break
        crashes += 1
        finished = [read_manifest(path.parent) for path in runs.glob("[a-z]*/manifest.json")]
        assert all(hashes(runs / manifest.name) == expected for manifest in finished)
        assert _in_child(config, runs, crash_at=0) == 0
        (folder,) = (path.parent for path in runs.glob("*/manifest.json"))
        assert hashes(folder) == expected
        assert not list(runs.glob(".tmp-*"))
    assert crashes >= 10


def _in_child(config: Tokenize, runs: Path, *, crash_at: int) -> int:
    """Run in a forked process that ends itself at the n-th instant; its exit code."""
    child = os.fork()
    if not child:
        os.environ["HORNBOOK_CRASH_AT"] = str(crash_at)
        disk._instants = 0
        execute(load("tokenize"), config, runs=runs)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_an_error_that_names_the_file(config: Tokenize, tmp_path: Path, damage: str) -> None:
    folder = execute(load("tokenize"), config, runs=tmp_path / "runs")
    for name in read_manifest(folder).files:
        path = folder / name
        whole = path.read_bytes()
        if damage == "flip":
            path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        elif damage == "cut":
            path.write_bytes(whole[:-1])
        else:
            path.unlink()
        with pytest.raises(Damaged, match=name):
            Input(folder).file(name)
        with pytest.raises(Damaged, match=name):
            execute(load("tokenize"), config, runs=tmp_path / "runs")
        path.write_bytes(whole)


def test_a_damaged_manifest_is_an_error(config: Tokenize, tmp_path: Path) -> None:
    folder = execute(load("tokenize"), config, runs=tmp_path / "runs")
    for text in ("", "[]", "{}", '{"name": 1'):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(Damaged, match=r"manifest\.json"):
            verify(folder)


def test_only_one_process_makes_a_run(config: Tokenize, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    stage = load("tokenize")
    name, _ = name_run(stage, config, open_inputs(stage, config))
    with lock(runs, name), pytest.raises(Busy, match=f"{name} is being made by process {os.getpid()}"):
        execute(stage, config, runs=runs)
    execute(stage, config, runs=runs)


def test_an_input_of_another_kind_is_refused(config: Tokenize, tmp_path: Path) -> None:
    folder = execute(load("tokenize"), config, runs=tmp_path / "runs")
    with pytest.raises(InputError, match="holds tokens, not corpus"):
        execute(load("tokenize"), replace(config, corpus=folder), runs=tmp_path / "runs")


def test_a_failed_stage_leaves_no_run(config: Tokenize, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too small"):
        execute(load("tokenize"), replace(config, vocabulary=10), runs=tmp_path / "runs")
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {".locks"}


def _records(config: Tokenize, run: Run) -> None:
    """A stage that counts to five and, when asked to stop, has saved where it is."""
    path = run.scratch / "at"
    first = int(path.read_text()) if path.exists() else 0
    run.rewind(first)
    with run.progress("count", total=5, unit="steps") as bar:
        for step in range(first + 1, 6):
            run.record(step, loss=1 / step)
            if step == 3 and first == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            if run.stop_requested():
                path.write_text(str(step - 1))
            bar.advance()


def test_a_stopped_run_goes_on_and_forgets_what_it_will_record_again(config: Tokenize, tmp_path: Path) -> None:
    stage = Stage(name="records", config=Tokenize, function=_records, makes="tokens")
    with pytest.raises(Interrupted) as caught:
        execute(stage, config, runs=tmp_path / "stopped")
    assert caught.value.exit_code == 75
    resumed = execute(stage, config, runs=tmp_path / "stopped")
    whole = hashes(_unstopped(config, tmp_path / "whole"))
    assert hashes(resumed) == whole
    assert json.loads((resumed / "log" / "occasion.json").read_text())["resumed"] == 1
    assert list((resumed / "log").glob("events.out.tfevents*"))


def test_a_signal_after_the_last_step_stops_what_comes_next(config: Tokenize, tmp_path: Path) -> None:
    def stage(config: Tokenize, run: Run) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    stage.__module__ = _records.__module__
    late = Stage(name="late", config=Tokenize, function=stage, makes="tokens")
    with pytest.raises(Interrupted):
        execute(late, config, runs=tmp_path)
    assert [manifest.stage for manifest in list_runs(tmp_path)] == ["late"]
    execute(late, config, runs=tmp_path)


def test_another_run_whose_hash_begins_alike_is_not_taken(config: Tokenize, tmp_path: Path) -> None:
    folder = execute(load("tokenize"), config, runs=tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"identity": "0" * 64}))
    with pytest.raises(InputError, match="is another run, whose hash begins alike"):
        execute(load("tokenize"), config, runs=tmp_path)


def _unstopped(config: Tokenize, runs: Path) -> Path:
    def stage(config: Tokenize, run: Run) -> None:
        for step in range(1, 6):
            run.record(step, loss=1 / step)

    stage.__module__ = _records.__module__
    return execute(Stage(name="records", config=Tokenize, function=stage, makes="tokens"), config, runs=runs)


def test_events_are_what_tensorboard_reads(config: Tokenize, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = _unstopped(config, tmp_path)
    events = EventAccumulator(str(folder / "log"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(n, pytest.approx(1 / n)) for n in range(1, 6)]


def test_the_code_version_covers_what_a_stage_can_reach() -> None:
    assert code_version("hornbook.stages.tokenize") != code_version("hornbook.text.bpe")
    assert code_version("hornbook.text.bpe") == code_version("hornbook.text.bpe")


def test_sigterm_ends_a_command_with_75(corpus: Path, tmp_path: Path) -> None:
    rows = (json.dumps({"text": f"Row {n} has words of its own, and some that all rows have."}) for n in range(100_000))
    (tmp_path / "many.jsonl").write_text("\n".join(rows))
    words = [sys.executable, "-m", "hornbook", "crawl", "many.jsonl"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob("runs/.tmp-crawl-*/scratch/progress.json")) and process.poll() is None:
            time.sleep(0.005)
        process.terminate()
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 75, errors
    assert "run the same command again" in errors
