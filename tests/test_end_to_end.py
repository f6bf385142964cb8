"""All stages of a small system on a site served on loopback: what comes out, and that no kill changes it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from tests.forked import Forked, command, fork
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
epochs = 6
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
most_rows = 100
documents_tokens = 4000
"""
PORT = 8792
"""Of the site, where nobody else has it."""
TABLES = ("crawl", "curate", "tokenize", "instruct", "pretrain", "sft", "align", "adapt", "evaluate")
TRAINS = ("pretrain", "sft", "align")


class System:
    """A folder to run the recipe in, as a person would."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "tiny.toml").write_text(RECIPE.format(url=url))
        self._started = 0

    def start(self, *words: str) -> Forked:
        self._started += 1
        env = {"SOURCE_DATE_EPOCH": "1767225600"}
        return fork(command, *words, folder=self.folder, name=str(self._started), env=env)

    def run(self, *words: str) -> Forked:
        process = self.start(*words)
        assert process.wait() == 0, process.errors
        return process

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
    # Which pairs are held out follows from the address, and of some eighty the accuracy moves by chance.
    with socket() as visitor:
        taken = visitor.connect_ex(("127.0.0.1", PORT)) == 0
    with served(pages(72), 0 if taken else PORT) as address:
        yield address


@pytest.fixture(scope="module")
def system(url: str, tmp_path_factory: pytest.TempPathFactory) -> System:
    made = System(tmp_path_factory.mktemp("whole") / "system", url)
    assert made.run("run", "tiny.toml").out.strip() == "runs/tiny.html"
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
    steps = map(json.loads, (system.runs["align"] / "metrics.jsonl").read_text().splitlines())
    losses = [step["preference_loss"] for step in steps if "preference_loss" in step]
    assert losses[-1] < losses[0]
    assert improvements["pretrain"]["metric"] == "bits_per_byte/general"
    assert improvements["adapt"]["metric"] == "bits_per_byte/domain"


def test_running_it_again_makes_nothing(system: System) -> None:
    before = system.hashes()
    again = system.run("run", "tiny.toml")
    assert again.errors.count("already made") == len(TABLES)
    assert system.hashes() == before


def test_only_what_is_stale_is_made(system: System) -> None:
    changed = system.run("run", "tiny.toml", "--set", "align.beta=0.2")
    assert changed.errors.count("already made") == len(TABLES) - 2, "all but align and evaluate"
    system.run("run", "tiny.toml")


def test_the_model_talks(system: System) -> None:
    words = [sys.executable, "-m", "hornbook", "chat", "tiny/align", "--max-new-tokens", "8"]
    typed = "What is house1?\nAnd then?\n"
    chat = subprocess.run(words, cwd=system.folder, input=typed, capture_output=True, text=True, check=True)
    assert len(chat.stdout.splitlines()) >= 2
    asked = ("generate", "tiny/adapt", "--prompt", "Open the", "--n", "2", "--max-new-tokens", "8")
    first, second = system.run(*asked), system.run(*asked)
    assert first.out.startswith("Open the")
    assert first.out == second.out, "the same seed says the same"


def test_runs_are_listed_and_verified(system: System) -> None:
    listed = system.run("runs", "--verify")
    assert all(folder.name in listed.out for folder in system.runs.values())


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
        process = killed.start("run", "tiny.toml")
        _wait_for(killed.folder / "runs", f".tmp-{stage}-*", process)
        time.sleep(dice.uniform(0.0, 0.15))
        process.send(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= len(TABLES) // 2
    killed.run("run", "tiny.toml")
    assert killed.hashes() == system.hashes()


def test_asked_to_stop_training_saves_and_goes_on(system: System, url: str, tmp_path: Path) -> None:
    stopped = System(tmp_path / "stopped", url)
    stops = 0
    for table in TRAINS:
        process = stopped.start("run", "tiny.toml")
        _wait_for(stopped.folder / "runs", f".tmp-{table}-*/scratch/metrics.jsonl", process)
        process.send(signal.SIGTERM)
        code = process.wait()
        assert code in (0, 75), process.errors
        stops += code == 75 and "run the same command again to go on" in process.errors
    assert stops >= 2
    assert "going on from step" in stopped.run("run", "tiny.toml").errors
    assert stopped.hashes() == system.hashes()


def _wait_for(runs: Path, pattern: str, process: Forked) -> None:
    """Until a file is there that only the stage in question writes (or, on a busy machine, was there and is gone)."""
    while not list(runs.glob(pattern)) and process.running:
        time.sleep(0.005)
