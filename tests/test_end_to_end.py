"""All stages of a small system on a site served on loopback: what comes out, and that no kill changes it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.site import pages, served

RECIPE = """
[crawl]
source = "{url}"
rate = 1000.0

[curate]
main_content = false
sources = {{ domain = "*/domain/*", general = "*" }}
filters = {{ gopher_length = {{}}, gopher_stop_words = {{}} }}

[tokenize]
vocabulary = 420
held_out = 0.3

[instruct]
sources = ["general"]

[pretrain]
depth = 1
length = 64
batch = 8
rows = 8
train_tokens = 20_000
ema = 0.9
sources = {{ general = 1.0 }}
evaluation_tokens = 2000

[sft]
length = 128
batch = 8
learning_rate = 3e-3
evaluation_rows = 20

[align]
length = 128
batch = 8
learning_rate = 3e-4
evaluation_rows = 20

[adapt]
stage = "pretrain"
base = "pretrain"
lora = {{ r = 4, alpha = 8.0 }}
length = 64
batch = 8
rows = 8
train_tokens = 8_000
learning_rate = 1e-2
sources = {{ domain = 1.0 }}
evaluation_tokens = 2000
optional = true

[evaluate]
prompts = ["What is house1?"]
context = 64
length = 128
max_new_tokens = 16
most_rows = 40
documents_tokens = 4000
"""
TABLES = ("crawl", "curate", "tokenize", "instruct", "pretrain", "sft", "align", "adapt", "evaluate")
TRAINS = ("pretrain", "sft", "align")


class System:
    """A folder to run the recipe in, as a person would."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "tiny.toml").write_text(RECIPE.format(url=url))

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "hornbook", *words],
            cwd=self.folder,
            env={**os.environ, "SOURCE_DATE_EPOCH": "1767225600", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        with self.start(*words) as process:
            out, err = process.communicate(typed)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    @property
    def runs(self) -> dict[str, Path]:
        made = json.loads((self.folder / "runs" / "tiny.json").read_text())
        return {table: self.folder / "runs" / name for table, name in made.items()}

    def manifest(self, table: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.runs[table] / "manifest.json").read_text())
        return value

    def hashes(self) -> dict[str, str]:
        """Every byte of every run but what tells of the occasion."""
        found = {}
        for folder in self.runs.values():
            for path in sorted(folder.rglob("*")):
                name = str(path.relative_to(folder))
                if path.is_file() and not name.startswith(("log/", "report.html")):
                    found[f"{folder.name}/{name}"] = sha256(path.read_bytes()).hexdigest()
        return found


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(pages(72)) as address:
        yield address


@pytest.fixture(scope="module")
def system(url: str, tmp_path_factory: pytest.TempPathFactory) -> System:
    made = System(tmp_path_factory.mktemp("whole") / "system", url)
    done = made.run("run", "tiny.toml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "runs/tiny.html"
    return made


def test_every_stage_made_its_run(system: System) -> None:
    assert tuple(system.runs) == TABLES
    for table, folder in system.runs.items():
        assert (folder / "report.html").read_text().startswith("<!doctype html>"), table
        assert (folder / "log" / "occasion.json").exists()
    assert system.manifest("crawl")["counts"]["pages"] >= 48
    page = (system.folder / "runs" / "tiny.html").read_text()
    assert all(folder.name in page for folder in system.runs.values())


def test_each_stage_improves_what_it_is_meant_to(system: System) -> None:
    improvements = {i["stage"]: i for i in system.manifest("evaluate")["results"]["improvements"]}
    assert set(improvements) == {"pretrain", "sft", "align", "adapt"}
    for stage, row in improvements.items():
        better = row["after"] < row["before"] if row["better"] == "lower" else row["after"] >= row["before"]
        assert better, (stage, row)
    assert improvements["pretrain"]["metric"] == "bits_per_byte/general"
    assert improvements["adapt"]["metric"] == "bits_per_byte/domain"


def test_running_it_again_makes_nothing(system: System) -> None:
    before = system.hashes()
    again = system.run("run", "tiny.toml")
    assert again.returncode == 0
    assert again.stderr.count("already made") == len(TABLES)
    assert system.hashes() == before


def test_only_what_is_stale_is_made(system: System) -> None:
    changed = system.run("run", "tiny.toml", "--set", "align.beta=0.2")
    assert changed.returncode == 0, changed.stderr
    assert changed.stderr.count("already made") == len(TABLES) - 2, "all but align and evaluate"
    assert system.run("run", "tiny.toml").returncode == 0


def test_the_model_talks(system: System) -> None:
    chat = system.run("chat", "tiny/align", "--max-new-tokens", "8", typed="What is house1?\nAnd then?\n")
    assert chat.returncode == 0, chat.stderr
    assert len(chat.stdout.splitlines()) >= 2
    words = ("generate", "tiny/adapt", "--prompt", "Open the", "--n", "2", "--max-new-tokens", "8")
    first, second = system.run(*words), system.run(*words)
    assert first.stdout.startswith("Open the")
    assert first.stdout == second.stdout, "the same seed says the same"


def test_runs_are_listed_and_verified(system: System) -> None:
    listed = system.run("runs", "--verify")
    assert listed.returncode == 0
    assert all(folder.name in listed.stdout for folder in system.runs.values())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_folders_are_what_transformers_and_peft_read(system: System) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hornbook.manifest import Input
    from hornbook.training.opening import open_model

    tokens = torch.tensor([[0, 300, 301, 302, 17]])
    cpu = torch.device("cpu")
    for table in ("pretrain", "sft", "align"):
        theirs = AutoModelForCausalLM.from_pretrained(system.runs[table])
        ours = open_model(Input(system.runs[table]), device=cpu).model
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-4, rtol=1e-4)
    base = AutoModelForCausalLM.from_pretrained(system.runs["pretrain"])
    adapted = PeftModel.from_pretrained(base, system.runs["adapt"])
    ours = open_model(Input(system.runs["adapt"]), device=cpu).model
    torch.testing.assert_close(ours(tokens), adapted(tokens).logits, atol=1e-4, rtol=1e-4)

    tokenizer = AutoTokenizer.from_pretrained(system.runs["align"])
    assert tokenizer.decode(tokenizer("Open the basket.")["input_ids"]) == "Open the basket."
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
    assert chat == "<|endoftext|><|im_start|>user\nHello<|im_end|>\n"


def test_a_kill_in_any_stage_changes_no_byte(system: System, url: str, tmp_path: Path) -> None:
    killed = System(tmp_path / "killed", url)
    dice, kills = random.Random(0), 0
    for table in TABLES:
        stage = "pretrain" if table == "adapt" else table
        with killed.start("run", "tiny.toml") as process:
            _wait_for(killed.folder / "runs", f".tmp-{stage}-*", process)
            time.sleep(dice.uniform(0.0, 0.15))
            process.kill()
            process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= len(TABLES) // 2
    finished = killed.run("run", "tiny.toml")
    assert finished.returncode == 0, finished.stderr
    assert killed.hashes() == system.hashes()


def test_asked_to_stop_training_saves_and_goes_on(system: System, url: str, tmp_path: Path) -> None:
    stopped = System(tmp_path / "stopped", url)
    stops = 0
    for table in TRAINS:
        with stopped.start("run", "tiny.toml") as process:
            _wait_for(stopped.folder / "runs", f".tmp-{table}-*/scratch/metrics.jsonl", process)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate()
        assert process.returncode in (0, 75), errors
        stops += process.returncode == 75 and "run the same command again to go on" in errors
    assert stops >= 2
    finished = stopped.run("run", "tiny.toml")
    assert finished.returncode == 0, finished.stderr
    assert "going on from step" in finished.stderr
    assert stopped.hashes() == system.hashes()


def _wait_for(runs: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Until a file is there that only the stage in question writes (or, on a busy machine, was there and is gone)."""
    while not list(runs.glob(pattern)) and process.poll() is None:
        time.sleep(0.005)
