"""Every help text and every message, as a person sees it: one row a mistake, one file a row in tests/snapshots.

`HORNBOOK_UPDATE_SNAPSHOTS=1 pytest tests/test_cli.py` writes the files anew; git then shows what has changed.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from hornbook import __version__, stages
from hornbook.cli import main
from hornbook.config import build, required
from hornbook.errors import EmptyInput, UsageError
from hornbook.execute import lock, name_run, open_inputs
from hornbook.text.archives.writer import ArchiveWriter, Exchange

SNAPSHOTS = Path(__file__).parent / "snapshots"
COMMANDS = (*stages.NAMES, "run", "runs", "report")
PLACES = ("harbour", "mill", "orchard", "quarry", "bakery", "library", "station", "market", "bridge", "garden")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


Hornbook = Callable[..., Outcome]


@pytest.fixture
def hornbook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hornbook:
    """The command line, run in this process."""
    for name, value in {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "HORNBOOK_CRASH_AT"):
        monkeypatch.delenv(name, raising=False)
    # However slow the machine is: no line of progress but the last.
    monkeypatch.setattr("hornbook.progress.PLAIN_EVERY", inf)

    def run(*words: str, stdin: str = "") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["hornbook", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as exit:
            code = int(exit.code or 0)
        captured = capsys.readouterr()
        return Outcome(code=code, out=captured.out, err=captured.err)

    return run


def check(name: str, text: str) -> None:
    """Compare a text with its file in tests/snapshots, or write it there."""
    path = SNAPSHOTS / f"{name}.txt"
    lines = "".join(line.rstrip() + "\n" for line in text.rstrip("\n").split("\n"))
    if os.environ.get("HORNBOOK_UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines)
    assert path.is_file(), f"no snapshot {name}: write it with HORNBOOK_UPDATE_SNAPSHOTS=1"
    assert lines == path.read_text()


def told(command: str, outcome: Outcome) -> str:
    """An outcome as text, without what differs from one time to the next."""
    text = f"$ hornbook {command}\n{outcome.out}{outcome.err}exit {outcome.code}\n"
    for pattern, instead in (
        (r"\b([a-z]+)-[0-9a-f]{8}\b", r"\1-0f0f0f0f"),
        (r"process \d+ on \S+, since [\d-]+ [\d:]+ UTC", "process 1234 on HOST, since YYYY-MM-DD HH:MM:SS UTC"),
        (r" in [\dm]+s, \S+ (\w+)/s", r" in 1s, 99 \1/s"),
    ):
        text = re.sub(pattern, instead, text)
    return text


# -- help -----------------------------------------------------------------------------------------------------------


def test_help(hornbook: Hornbook) -> None:
    outcome = hornbook("--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert hornbook().out == hornbook("-h").out == outcome.out
    check("help/hornbook", outcome.out)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command: str, hornbook: Hornbook) -> None:
    outcome = hornbook(command, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    check(f"help/{command}", outcome.out)


def test_version(hornbook: Hornbook) -> None:
    assert hornbook("--version") == Outcome(code=0, out=f"{__version__}\n", err="")


def test_the_stages_are_the_files_of_the_folder_in_the_order_of_the_work(hornbook: Hornbook) -> None:
    files = {path.stem for path in Path(stages.__file__).parent.glob("*.py")} - {"__init__"}
    group = re.search(r"─ Stages ─.*?\n(.*?)╰", hornbook("--help").out, re.DOTALL)
    assert group
    listed = re.findall(r"^│ (\w+)", group[1], re.MULTILINE)
    assert listed == list(stages.NAMES)
    assert set(listed) == files


def test_help_imports_nothing_large() -> None:
    """What makes it quick; how quick is in docs/benchmarks.md."""
    large = "{'torch', 'numpy', 'pyarrow', 'httpx', 'jinja2', 'tokenizers', 'matplotlib'}"
    code = f"import sys; from hornbook.cli import main; main(); assert not {large} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, check=True)


@pytest.mark.parametrize("name", stages.NAMES)
def test_a_stage_says_the_same_of_itself_everywhere(name: str) -> None:
    stage = stages.load(name)
    assert stage.summary == stages.SUMMARIES[name]
    assert (stage.makes is not None) == (name in stages.MAKERS)


REFUSED: tuple[tuple[str, str, float, str], ...] = (
    *((stage, "length", 0, "at least 1") for stage in ("pretrain", "sft", "align", "evaluate")),
    *((stage, "batch", -1, "at least 1") for stage in ("pretrain", "sft", "align")),
    *((stage, "epochs", 0.0, "more than 0") for stage in ("sft", "align")),
    *((stage, "micro", 0, "at least 1") for stage in ("sft", "align")),
    *((stage, "learning_rate", -0.1, "more than 0") for stage in ("pretrain", "sft", "align")),
    *((stage, "max_new_tokens", 0, "at least 1") for stage in ("evaluate", "generate", "chat")),
    *((stage, "temperature", -1.0, "at least 0") for stage in ("generate", "chat")),
    *((stage, "top_p", value, "more than 0 and at most 1") for stage in ("generate", "chat") for value in (0.0, 2.0)),
    *(("pretrain", key, 0, "at least 1") for key in ("depth", "rows", "evaluation_tokens")),
    *(("pretrain", "train_tokens", value, "more than 0") for value in (0.0, inf, nan)),
    ("align", "beta", 0.0, "more than 0"),
    *(("align", "label_smoothing", value, "at least 0 and less than 0.5") for value in (-0.1, 0.5)),
    ("reward", "length", 0, "at least 1"),
    ("evaluate", "context", 0, "at least 1"),
    ("evaluate", "most_rows", 0, "at least 1"),
    ("evaluate", "samples", -1, "at least 0"),
    ("generate", "n", 0, "at least 1"),
    *(("tokenize", "held_out", value, "at least 0 and less than 1") for value in (-0.1, 1.0)),
    ("tokenize", "vocabulary", 0, "at least 1"),
    ("tokenize", "sample_megabytes", 0.0, "more than 0"),
    *(("instruct", key, 0, "at least 1") for key in ("rows", "repeats")),
    ("curate", "workers", 0, "at least 1"),
    ("curate", "page_megabytes", 0.0, "more than 0"),
    ("crawl", "pages", 0, "at least 1"),
)


@pytest.mark.parametrize(("name", "key", "value", "bounds"), REFUSED)
def test_a_number_out_of_its_bounds_is_refused(name: str, key: str, value: float, bounds: str) -> None:
    config = stages.load(name).config
    values = {field: {"m": "x"} if field == "models" else "x" for field in required(config)}
    with pytest.raises(UsageError) as caught:
        build(config, values | {key: value}, where="r.toml: [t]")
    assert caught.value.message == f"r.toml: [t]: {key} is {value}; it must be {bounds}"


# -- mistakes -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small corpus, its runs up to tokens, and a tiny model."""
    folder = tmp_path_factory.mktemp("made")
    with contextlib.chdir(folder):
        _make(folder)
    return folder


def _make(folder: Path) -> None:
    _compile(folder)
    rows = [
        {"id": f"{n:03}", "source": "town", "text": f"The {PLACES[n % 10]} has {n} doors. People come on day {n * 7}."}
        for n in range(60)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings: dict[str, Any] = {
        "crawl": {"source": "rows.jsonl"},
        "curate": {"filters": {}, "dedup": {}, "workers": 1},
        "tokenize": {"vocabulary": 300, "held_out": 0.2},
    }
    made: dict[str, str] = {}
    for name, takes in (("crawl", ""), ("curate", "crawl"), ("tokenize", "corpus")):
        stage = stages.load(name)
        values = settings[name] | ({takes: made[takes]} if takes else {})
        assert stage.makes
        made[stage.makes] = str(_execute(name, values, Path("runs")))
    _model(folder / "model", Path(made["tokens"]))


def _compile(folder: Path) -> None:
    """Curate a text once with all that is default, so that no command here is the first to compile kernels."""
    (folder / "first").mkdir()
    (folder / "first" / "page.html").write_text("<p>Too short.</p>")
    with contextlib.chdir(folder / "first"), contextlib.suppress(EmptyInput):
        crawl = _execute("crawl", {"source": "page.html"}, Path("runs"))
        _execute("curate", {"crawl": str(crawl), "workers": 1}, Path("runs"))
    shutil.rmtree(folder / "first")


def _execute(name: str, values: dict[str, Any], runs: Path) -> Path:
    from hornbook.execute import execute

    stage = stages.load(name)
    return execute(stage, build(stage.config, values, where=name), runs=runs)


def _model(folder: Path, tokens: Path) -> None:
    from hornbook.model.architecture import Architecture
    from hornbook.model.transformer import Transformer
    from hornbook.model.weights import save_model

    shape = Architecture(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=512,
    )
    save_model(folder, Transformer(shape).initialize(0), tokenizer=tokens, bos=0, eos=[0], pad=3)


def _reward(folder: Path) -> None:
    """Make a language model a reward model."""
    from hornbook.model.reward import reward_model, save_reward_model
    from hornbook.model.weights import load_model

    save_reward_model(folder, reward_model(load_model(folder), seed=0))
    (folder.parent / "bad.jsonl").write_text("{}")


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `made` to work in."""
    copied = tmp_path / "work"
    shutil.copytree(made, copied)
    monkeypatch.chdir(copied)
    return copied


Prepare = Callable[[Path], object]


def files(**texts: str) -> Prepare:
    """Write small files; `__` in a name stands for its dot."""
    return lambda folder: [(folder / name.replace("__", ".")).write_text(text) for name, text in texts.items()]


def odd_model(config: str) -> Prepare:
    """A folder `odd` with a config and no weights."""

    def write(folder: Path) -> None:
        (folder / "odd").mkdir()
        (folder / "odd" / "config.json").write_text(config)

    return write


def recipe(text: str) -> Prepare:
    return files(r__toml=text)


def rows(*rows: object) -> Prepare:
    return files(bad__jsonl="".join(json.dumps(row) + "\n" for row in rows))


def said(*roles: str) -> dict[str, object]:
    return {"messages": [{"role": role, "content": f"{role} speaks"} for role in roles]}


def flip(pattern: str) -> Prepare:
    """Change the last byte of a file."""

    def damage(folder: Path) -> None:
        (path,) = folder.glob(pattern)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    return damage


def archive(*, pages: int, damaged: int) -> Prepare:
    """A WARC file with a member that does not unpack."""

    def write(folder: Path) -> None:
        path = folder / "bad.warc.gz"
        with ArchiveWriter(path, software="test") as writer:
            for n in range(pages):
                body = f"<p>The {PLACES[n]} of this town is older than the {PLACES[n + 1]}, says page {n}.</p>".encode()
                url = f"http://town.example/{n}"
                head = [("Content-Type", "text/html")]
                date = "2024-05-06T07:08:09Z"
                writer.append(Exchange(url, date, "GET / HTTP/1.1", [], "HTTP/1.1 200 OK", head, body))
        whole = bytearray(path.read_bytes())
        member = [found.start() for found in re.finditer(b"\x1f\x8b\x08", whole)][2 * damaged]
        whole[member + 40 : member + 60] = bytes(20)
        path.write_bytes(whole)

    return write


def also(*steps: Prepare) -> Prepare:
    return lambda folder: [step(folder) for step in steps]


def nothing(folder: Path) -> None:
    """As it was made."""


CRAWL = 'crawl = "rows.jsonl"\n'
CURATE = CRAWL + "[curate]\nworkers = 1\n"
SFT = '[sft]\nbase = "model"\nrows = "rows.jsonl"\n'
PAIRS = "evaluate --models.base model --minimal-pairs"
EXACT = "--rows bad.jsonl --rewards.exact 1"
REINFORCE = "reinforce model --rows bad.jsonl --prompt-length 40 --max-new-tokens 8"
SAMPLE = "sample model --rows bad.jsonl --prompt-length 40 --max-new-tokens 8"
ASKED = rows({"question": "Who?", "answer": "me"})
MISTAKES: tuple[tuple[str, str, Prepare, int], ...] = (
    # the command
    ("unknown-command", "pretrian", nothing, 2),
    ("unknown-flag", "tokenize curate --vocab 300", nothing, 2),
    ("wrong-type", "tokenize curate --vocabulary many", nothing, 2),
    ("wrong-choice", "pretrain tokenize --device tpu", nothing, 2),
    ("missing-required", "tokenize", nothing, 2),
    ("one-word-too-many", "tokenize curate tokenize", nothing, 2),
    ("value-refused", "crawl rows.jsonl --rate 0", nothing, 2),
    ("value-refused-in-a-table", "sft model --rows rows.jsonl --lora.r 0", nothing, 2),
    ("value-refused-of-a-label", "pretrain tokenize --sources.town -1", nothing, 2),
    # the recipe
    ("recipe-missing", "run recipes/dmeo.toml", nothing, 2),
    ("recipe-not-toml", "run r.toml", recipe("crawl = rows.jsonl\n"), 2),
    ("recipe-empty", "run r.toml", recipe("# nothing\n"), 2),
    ("recipe-unknown-stage", "run r.toml", recipe(CRAWL + "[curat]\n"), 2),
    ("recipe-unknown-stage-of-table", "run r.toml", recipe(CRAWL + '[adapt]\nstage = "lora"\n'), 2),
    ("recipe-misspelt-key", "run r.toml", recipe(CRAWL + "[curate]\nworker = 1\n"), 2),
    ("recipe-missing-key", "run r.toml", recipe("[crawl]\npages = 5\n"), 2),
    ("recipe-wrong-type", "run r.toml", recipe(CRAWL + '[curate]\nworkers = "one"\n'), 2),
    ("recipe-wrong-choice", "run r.toml", recipe(CURATE + '[tokenize]\n[pretrain]\ndevice = "tpu"\n'), 2),
    ("recipe-value-refused", "run r.toml", recipe('[crawl]\nsource = "rows.jsonl"\nrate = -1\n'), 2),
    ("recipe-value-refused-in-a-table", "run r.toml", recipe(f"{SFT}lora = {{ r = 0 }}\n"), 2),
    ("recipe-optional-no-boolean", "run r.toml", recipe(CURATE + 'optional = "no"\n'), 2),
    ("recipe-stage-that-talks", "run r.toml", recipe('chat = "model"\n'), 2),
    ("recipe-needs-a-table-above", "run r.toml", recipe(CRAWL + "[tokenize]\n"), 2),
    ("recipe-later-table", "run r.toml", recipe(CRAWL + '[tokenize]\ncorpus = "curate"\n[curate]\n'), 2),
    ("recipe-takes-from-itself", "run r.toml", recipe(CURATE + '[tokenize]\ntokenizer = "tokenize"\n'), 2),
    ("recipe-misspelt-reference", "run r.toml", recipe(CURATE + '[tokenize]\ncorpus = "curat"\n'), 2),
    ("set-without-equals", "run r.toml --set curate.workers", recipe(CURATE), 2),
    ("set-into-a-value", "run r.toml --set crawl.pages=5", recipe(CRAWL), 2),
    ("set-misspelt-key", "run r.toml --set curate.worker=1", recipe(CURATE), 2),
    ("set-wrong-type", "run r.toml --set curate.workers=one", recipe(CURATE), 2),
    # runs
    ("run-unknown", "tokenize nowhere", nothing, 2),
    ("run-ambiguous", "report cr", lambda folder: _second_crawl(folder), 2),
    ("run-of-another-kind", "tokenize crawl", nothing, 1),
    ("run-not-a-run", "report model", nothing, 1),
    ("runs-none", "runs --runs elsewhere", nothing, 1),
    ("runs-damaged", "runs --verify", flip("runs/tokenize-*/train-00000.npy"), 1),
    ("damaged-input", "tokenize curate", flip("runs/curate-*/documents-00000.parquet"), 1),
    ("damaged-run", "tokenize curate --vocabulary 300 --held-out 0.2", flip("runs/tokenize-*/train-00000.npy"), 1),
    ("damaged-manifest", "tokenize curate", lambda folder: _manifest(folder).write_text("{}"), 1),
    # crawl
    ("crawl-no-such-file", "crawl nowhere.jsonl", nothing, 2),
    ("crawl-nothing-readable", "crawl pictures", lambda folder: (folder / "pictures").mkdir(), 1),
    ("crawl-no-source", "crawl ''", nothing, 2),
    ("crawl-server-not-installed", "crawl http://localhost:9/ --server no-such-server", nothing, 2),
    # curate
    ("curate-file-gone", "curate crawl", lambda folder: (folder / "rows.jsonl").unlink(), 1),
    ("curate-file-changed", "curate crawl", files(rows__jsonl="{}"), 1),
    ("curate-no-blocklist", "curate crawl --blocklist words.txt", nothing, 2),
    ("recipe-no-blocklist", "run r.toml", recipe(CURATE + 'blocklist = "words.txt"\n'), 2),
    ("curate-empty-blocklist", "curate crawl --blocklist w.txt", files(w__txt="# none\n"), 1),
    ("curate-unknown-filter", "run r.toml", recipe(CURATE + "filters = { gopher_lenght = {} }\n"), 2),
    ("curate-unknown-option", "run r.toml", recipe(CURATE + "filters = { gopher_length = { least = 5 } }\n"), 2),
    ("curate-wrong-option", "run r.toml", recipe(CURATE + 'filters = { gopher_length = { min_words = "x" } }\n'), 2),
    ("curate-unknown-dedup", "run r.toml", recipe(CURATE + "dedup = { lines = {} }\n"), 2),
    ("curate-refused-dedup", "run r.toml", recipe(CURATE + "dedup = { minhash = { bands = 0 } }\n"), 2),
    ("curate-unknown-mask", "run r.toml", recipe(CURATE + 'mask = ["e-mail"]\n'), 2),
    ("curate-unknown-mixture", "run r.toml", recipe(CURATE + "filters = {}\nmixture = { village = 1 }\n"), 2),
    ("curate-all-removed", "curate crawl --filters.gopher_length.min_words 1000", nothing, 1),
    ("curate-unknown-edit", "run r.toml", recipe(CURATE + "clean = { c4_line = {} }\n"), 2),
    ("curate-edit-without-blocklist", "run r.toml", recipe(CURATE + "clean = { blocklist_lines = {} }\n"), 2),
    ("curate-unknown-cap", "run r.toml", recipe(CURATE + "filters = {}\ncaps = { village = 1 }\n"), 2),
    ("curate-not-a-classifier", "curate crawl --classifiers.good crawl", nothing, 1),
    ("curate-bad-takedown", "curate crawl --takedown t.txt", files(t__txt="# nothing\n"), 1),
    ("curate-bad-audit", "curate crawl --audit a.jsonl", files(a__jsonl='{"text": "One."}\n'), 1),
    ("curate-bad-evaluation-set", "curate crawl --decontaminate.x e.jsonl", files(e__jsonl="{\n"), 1),
    (
        "curate-broken-parquet",
        "run r.toml",
        also(recipe('crawl = "x.parquet"\n[curate]\n'), files(x__parquet="PAR1")),
        1,
    ),
    # looking
    ("plan-unknown-gpu", "plan rows.jsonl --gpu RTX4009", nothing, 2),
    ("plan-no-gpu-so-large", "plan rows.jsonl --gpu 500GB", nothing, 2),
    ("plan-gpus-of-no-kind", "plan rows.jsonl --gpus 8", nothing, 2),
    ("plan-no-such-data", "plan nowhere --gpu T4", nothing, 2),
    ("plan-unreadable-data", "plan odd --gpu T4", lambda folder: (folder / "odd").mkdir(), 1),
    ("plan-no-text", "plan empty.txt --gpu T4", files(empty__txt=""), 1),
    ("plan-base-without-config", "plan rows.jsonl --gpu T4 --base runs", nothing, 1),
    ("plan-unknown-family", "plan rows.jsonl --gpu T4 --base odd", odd_model('{"model_type": "mamba"}'), 1),
    ("plan-odd-machine", "plan rows.jsonl --gpu X1 --machines m.toml", files(m__toml="[X1]\nwatts = 9\n"), 2),
    ("plan-machines-are-no-toml", "plan rows.jsonl --gpu X1 --machines m.toml", files(m__toml="X1"), 2),
    ("plan-nothing-to-write", "plan rows.jsonl --gpu T4 --base model --write r.toml", nothing, 2),
    ("inspect-no-such-rule", "inspect curate --rule gopher_lenght", nothing, 2),
    ("inspect-rule-and-kept", "inspect curate --rule url --kept", nothing, 2),
    ("inspect-file-without-filters", "inspect rows.jsonl", nothing, 2),
    ("inspect-not-text", "inspect model", nothing, 2),
    ("inspect-page-past-the-end", "inspect curate --kept --page 99", nothing, 1),
    ("inspect-no-conversation", "inspect model --rows bad.jsonl --page 2", rows(said("user", "assistant")), 1),
    ("inspect-unknown-filter", "inspect rows.jsonl --filters.gopher_lenght.min_words 5", nothing, 2),
    ("inspect-rules-of-a-crawl", "inspect crawl --rule url", nothing, 2),
    # classifiers
    ("classify-one-kind", "classify rows.jsonl", nothing, 2),
    ("classify-no-such-label", "classify rows.jsonl --label kind=good", nothing, 1),
    ("classify-no-such-file", "classify nowhere.jsonl --negatives rows.jsonl", nothing, 2),
    # learning
    ("tokenize-empty-folder", "tokenize empty", lambda folder: (folder / "empty").mkdir(), 1),
    ("tokenize-too-few", "tokenize curate --vocabulary 100", nothing, 1),
    ("tokenize-no-tokenizer", "tokenize curate --tokenizer nowhere", nothing, 2),
    ("tokenize-takes-no-tokenizer", "tokenize curate --tokenizer crawl", nothing, 1),
    ("recipe-no-tokenizer", "run r.toml", recipe(CURATE + '[tokenize]\ntokenizer = "nowhere"\n'), 2),
    ("pretrain-no-such-source", "pretrain tokenize --sources.village 1 --depth 1", nothing, 1),
    ("two-kinds-of-adapter", "sft model --rows rows.jsonl --lora.r 4 --prompt.tokens 4", nothing, 2),
    (
        "lora-no-such-target",
        "sft model --rows bad.jsonl --lora.targets q_porj",
        rows(said("user", "assistant"), said("user", "assistant")),
        1,
    ),
    (
        "lora-no-such-pattern",
        "sft model --rows bad.jsonl --lora.rank-pattern.q_porj 4",
        rows(said("user", "assistant"), said("user", "assistant")),
        1,
    ),
    (
        "lora-pissa-and-dora",
        "sft model --rows bad.jsonl --lora.init pissa --lora.dora",
        rows(said("user", "assistant"), said("user", "assistant")),
        1,
    ),
    (
        "prefix-text-and-hidden",
        "sft model --rows bad.jsonl --length 99 --prefix.text a --prefix.hidden 4",
        rows(said("user", "assistant"), said("user", "assistant")),
        1,
    ),
    ("prompt-too-long", "sft model --rows rows.jsonl --length 100 --prompt.tokens 2000", nothing, 2),
    ("reward-prompt", "reward model --rows rows.jsonl --prompt.tokens 2", nothing, 2),
    ("merge-not-an-adapter", "merge model", nothing, 1),
    ("merge-no-such-weight", "merge model --weights.law 1", nothing, 2),
    ("pretrain-adapter-without-base", "pretrain tokenize --lora.r 4", nothing, 1),
    ("pretrain-tensor-parallel-alone", "pretrain tokenize --depth 2 --tensor-parallel 2", nothing, 2),
    ("pretrain-tensor-parallel-compiled", "pretrain tokenize --tensor-parallel 2 --compile yes", nothing, 2),
    ("tensor-parallel-adapter", "sft model --rows rows.jsonl --tensor-parallel 2 --lora.r 4", nothing, 2),
    ("pretrain-no-such-device", "pretrain tokenize --device mps", nothing, 2),
    ("sft-no-rows", "sft model --rows nowhere.jsonl", nothing, 2),
    ("sft-empty", "sft model --rows bad.jsonl", rows(), 1),
    ("sft-not-an-object", "sft model --rows bad.jsonl", rows(said("user", "assistant"), [1, 2]), 1),
    ("sft-not-json", "sft model --rows bad.jsonl", files(bad__jsonl='{"messages": [\n'), 1),
    ("sft-bad-gzip", "sft model --rows bad.jsonl.gz", lambda folder: _spoil(folder / "bad.jsonl.gz"), 1),
    ("sft-all-skipped", "sft model --rows bad.jsonl --bad-rows skip", rows({}, [1]), 1),
    ("sft-cut-file", "sft model --rows bad.jsonl.gz", lambda folder: _cut(folder / "bad.jsonl.gz"), 1),
    ("sft-no-assistant", "sft model --rows bad.jsonl", rows(said("user")), 1),
    ("sft-out-of-turn", "sft model --rows bad.jsonl", rows(said("user", "user", "assistant"), {}), 1),
    ("sft-other-columns", "sft model --rows bad.jsonl", rows({"text": "A page."}), 1),
    ("sft-column-missing", "sft model --rows bad.jsonl", rows({"instruction": "Add.", "input": "2, 2"}), 1),
    ("sft-judged-bad", "sft model --rows bad.jsonl", rows({"prompt": "a", "completion": "b", "label": False}), 1),
    ("sft-quantize-whole", "sft model --rows rows.jsonl --quantize nf4", nothing, 2),
    (
        "sft-few-bits-whole",
        "sft few --rows bad.jsonl",
        also(lambda folder: _few_bits(folder), rows(said("user", "assistant"))),
        2,
    ),
    ("sft-not-a-model", "sft crawl --rows bad.jsonl", rows(said("user", "assistant")), 1),
    ("align-parameter-of-another-loss", "align model --rows bad.jsonl --loss ipo --gamma 0.5", rows({}), 2),
    ("reward-model-as-base", "align model --rows bad.jsonl", lambda folder: _reward(folder / "model"), 1),
    ("reward-not-a-pair", "reward model --rows bad.jsonl", rows(said("user", "assistant")), 1),
    ("align-equal", "align model --rows bad.jsonl", rows({"prompt": "a", "chosen": "b", "rejected": "b"}), 1),
    ("align-no-rejected", "align model --rows bad.jsonl", rows({"prompt": "a", "chosen": "b"}), 1),
    ("align-conversations", "align model --rows bad.jsonl", rows(said("user", "assistant")), 1),
    ("quantize-again", "quantize few", lambda folder: _few_bits(folder), 1),
    ("quantize-adapter", "quantize adapter", lambda folder: _adapter(folder), 1),
    ("generate-damaged-scales", "generate few --prompt a", lambda folder: _few_bits(folder, without=".absmax"), 1),
    ("reinforce-no-such-reward", f"{REINFORCE} --rewards.gsm9k 1", ASKED, 2),
    ("reinforce-no-pattern", f"{REINFORCE} --rewards.regex 1", ASKED, 2),
    ("reinforce-bad-pattern", f"{REINFORCE} --rewards.regex 1 --pattern '(a)\\1'", ASKED, 2),
    ("reinforce-no-reward-model", f"{REINFORCE} --rewards.model 1", ASKED, 2),
    ("reinforce-one-answer", f"{REINFORCE} --rewards.exact 1 --samples 1", ASKED, 2),
    ("reinforce-all-punished", f"{REINFORCE} --rewards.exact 1 --overlong 8", ASKED, 2),
    ("reinforce-long-question", f"reinforce model {EXACT} --prompt-length 3 --max-new-tokens 8", ASKED, 1),
    ("sample-no-number", f"{SAMPLE} --rewards.gsm8k 1", ASKED, 1),
    ("sample-no-answer", f"{SAMPLE} --rewards.exact 1", rows(said("user")), 1),
    ("sample-no-tests", f"{SAMPLE} --rewards.python 1", ASKED, 1),
    ("evaluate-bad-rows", "evaluate --models.base model --rows held", lambda folder: _held(folder), 1),
    ("evaluate-bad-gzip", f"{PAIRS} bad.jsonl.gz", lambda folder: _spoil(folder / "bad.jsonl.gz"), 1),
    ("evaluate-no-pairs", f"{PAIRS} nowhere.jsonl", nothing, 2),
    ("evaluate-bad-pairs", f"{PAIRS} bad.jsonl", rows({"sentence": "x"}), 1),
    ("generate-no-prompt", "generate model", nothing, 1),
    ("generate-empty-prompt", "generate model --prompt ''", nothing, 1),
    ("generate-no-weights", "generate model --prompt a", lambda folder: _weights(folder).unlink(), 1),
    ("generate-broken-weights", "generate model --prompt a", lambda folder: _weights(folder).write_bytes(b"x" * 99), 1),
    ("generate-no-tokenizer", "generate model --prompt a", lambda f: (f / "model" / "tokenizer.json").unlink(), 1),
)
WITHOUT_ERROR: tuple[tuple[str, str, Prepare], ...] = (
    ("runs", "runs", nothing),
    ("plan", "plan rows.jsonl --gpu T4 --base model --hours 2", nothing),
    ("inspect-run", "inspect curate --samples 2", nothing),
    (
        "inspect-conversations",
        "inspect model --rows bad.jsonl --length 75 --html page.html",
        rows(said("user", "assistant"), said("system", "user", "assistant", "user", "assistant"), said("user")),
    ),
    ("inspect-filters", "inspect rows.jsonl --filters.gopher_length.min_words 11", nothing),
    ("quantize", "quantize model", nothing),
    ("already-made", "run r.toml", recipe(CURATE + "filters = {}\ndedup = {}\n[tokenize]\nvocabulary = 300\n")),
    (
        "malformed-rows",
        "run r.toml",
        also(recipe('crawl = "bad.jsonl"\n[curate]\nfilters = {}\n'), rows({"text": "A good row."}, [1], {"text": 5})),
    ),
    (
        "optional-left-out",
        "run r.toml",
        recipe(CURATE + "filters = {}\n[strict]\nstage = 'curate'\noptional = true\n"),
    ),
)


def _manifest(folder: Path) -> Path:
    (path,) = folder.glob("runs/curate-*/manifest.json")
    return path


def _cut(path: Path) -> None:
    path.write_bytes(gzip.compress(json.dumps(said("user", "assistant")).encode())[:-12])


def _spoil(path: Path) -> None:
    path.write_bytes(gzip.compress(b"{}")[:10] + b"\xff" * 50)


def _few_bits(folder: Path, *, without: str = "-") -> None:
    from safetensors.torch import load_file, save_file

    from hornbook.model.weights import load_model, save_model

    save_model(folder / "few", load_model(folder / "model", quantize="nf4"), tokenizer=folder / "model", eos=[0])
    file = folder / "few" / "model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(file).items() if not name.endswith(without)}
    save_file(tensors, file, {"format": "pt"})


def _adapter(folder: Path) -> None:
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")


def _held(folder: Path) -> None:
    (folder / "held").mkdir()
    (folder / "held" / "sft.valid.jsonl").write_text("{}\n")


def _second_crawl(folder: Path) -> None:
    (folder / "more.jsonl").write_text('{"text": "More."}\n')
    _execute("crawl", {"source": "more.jsonl"}, folder / "runs")


def _weights(folder: Path) -> Path:
    return folder / "model" / "model.safetensors"


def _names(runs: Path) -> set[str]:
    return {path.name for path in runs.glob("*") if not path.name.startswith(".")}


@pytest.mark.parametrize(("name", "command", "prepare", "code"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_a_mistake_is_told(
    name: str, command: str, prepare: Prepare, code: int, folder: Path, hornbook: Hornbook
) -> None:
    prepare(folder)
    outcome = hornbook(*shlex.split(command))
    check(f"errors/{name}", told(command, outcome))
    assert outcome.code == code
    assert "error: " in outcome.err
    assert "Traceback" not in outcome.err
    assert str(folder) not in outcome.err, "a message says where as the person did"
    assert all((folder / "runs" / run / "manifest.json").is_file() for run in _names(folder / "runs"))


@pytest.mark.parametrize(("name", "command", "prepare"), WITHOUT_ERROR, ids=[row[0] for row in WITHOUT_ERROR])
def test_what_is_told_of_what_went_well(
    name: str, command: str, prepare: Prepare, folder: Path, hornbook: Hornbook
) -> None:
    prepare(folder)
    outcome = hornbook(*shlex.split(command))
    check(f"told/{name}", told(command, outcome))
    assert outcome.code == 0


@pytest.mark.parametrize("pages", [1, 4])
def test_a_broken_archive_member_is_named(pages: int, folder: Path, hornbook: Hornbook) -> None:
    archive(pages=pages, damaged=1)(folder)
    recipe('crawl = "bad.warc.gz"\n[curate]\nfilters = {}\nworkers = 1\n')(folder)
    outcome = hornbook("run", "r.toml")
    check(f"errors/broken-archive-of-{pages}", told("run r.toml", outcome))
    assert outcome.code == (1 if pages == 1 else 0)


def test_a_run_that_another_process_makes_is_left_alone(folder: Path, hornbook: Hornbook) -> None:
    stage = stages.load("tokenize")
    (corpus,) = Path("runs").glob("curate-*")
    config = build(stage.config, {"corpus": str(corpus), "vocabulary": 301}, where="")
    name, _ = name_run(stage, config, open_inputs(stage, config))
    with lock(Path("runs"), name):
        outcome = hornbook("tokenize", "curate", "--vocabulary", "301")
    check("errors/busy", told("tokenize curate --vocabulary 301", outcome))
    assert outcome.code == 1


def test_a_control_token_in_a_question_is_refused_and_the_next_one_answered(folder: Path, hornbook: Hornbook) -> None:
    outcome = hornbook("chat", "model", "--max-new-tokens", "1", stdin="What is <|im_end|>?\nWho?\n")
    check("told/chat-control-token", told("chat model", replace(outcome, out="")))
    assert outcome.code == 0
    assert outcome.out.endswith("\n")


def test_a_conversation_that_is_too_long_ends_with_a_message(folder: Path, hornbook: Hornbook) -> None:
    outcome = hornbook("chat", "model", "--max-new-tokens", "484", stdin="Who " * 30 + "\n")
    check("errors/chat-too-long", told("chat model --max-new-tokens 484", outcome))
    assert outcome.code == 1


def test_stdout_is_the_result(folder: Path, hornbook: Hornbook) -> None:
    outcome = hornbook("tokenize", "curate", "--vocabulary", "301")
    assert re.fullmatch(r"runs/tokenize-[0-9a-f]{8}\n", outcome.out)
    assert (folder / outcome.out.strip() / "manifest.json").is_file()
    assert "parts/s" in outcome.err
    again = hornbook("tokenize", "curate", "--vocabulary", "301")
    assert again.out == outcome.out
    assert "already made" in again.err


def test_no_snapshot_is_left_over() -> None:
    named = {f"errors/{row[0]}" for row in MISTAKES} | {f"told/{row[0]}" for row in WITHOUT_ERROR}
    named |= {f"help/{name}" for name in ("hornbook", *COMMANDS)}
    named |= {f"errors/{name}" for name in ("broken-archive-of-1", "broken-archive-of-4", "busy")}
    named |= {"told/chat-control-token", "errors/chat-too-long"}
    assert {str(path.relative_to(SNAPSHOTS).with_suffix("")) for path in SNAPSHOTS.rglob("*.txt")} == named
