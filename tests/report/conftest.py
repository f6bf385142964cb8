"""A small tree of runs, as the stages of the demo leave it, with made-up numbers."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hornbook.manifest import Manifest
from hornbook.report import render_recipe

PROMPT, DOCUMENT = "What does shutil.copytree do?", "Return a list of the names of all files below a folder."


def make_run(
    runs: Path,
    stage: str,
    makes: str,
    *,
    inputs: Sequence[str] | Mapping[str, str] = (),
    table: str = "",
    seconds: float = 1.0,
    files: Mapping[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Write one run folder by hand; `files` are JSON values, or lists of rows for `.jsonl`."""
    identity = hashlib.sha256(f"{stage} {table} {inputs}".encode()).hexdigest()
    folder = runs / f"{stage}-{identity[:8]}"
    (folder / "log").mkdir(parents=True)
    occasion = {
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": seconds,
        "cpu": "Some Processor 3",
        "cores": 2,
        "resumed": 0,
    }
    products = {
        "log/occasion.json": occasion | {"host": "desk", "peak_memory_bytes": 4e8 + seconds * 1e6},
        **(files or {}),
    }
    for name, value in products.items():
        rows = value if name.endswith(".jsonl") else [value]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.toml").write_text(f"[{stage}]\nseed = 0\n" + more.pop("config", ""))
    Manifest(
        name=folder.name,
        stage=stage,
        makes=makes,
        identity=identity,
        contents=hashlib.sha256(identity.encode()).hexdigest(),
        inputs={field: {"name": name, "contents": "0" * 64} for field, name in _named(inputs).items()},
        code="0123456789abcdef",
        versions={"hornbook": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        files={"product.bin": {"size": int(2e6 + seconds * 1e5), "sha256": "1" * 64}},
        **more,
    ).write(folder)
    return folder


def _named(inputs: Sequence[str] | Mapping[str, str]) -> Mapping[str, str]:
    return inputs if isinstance(inputs, Mapping) else {f"input{n}": name for n, name in enumerate(inputs)}


def training(
    steps: int, start: float, end: float, judged: Mapping[str, tuple[float, float]], *, rate: float = 2e-3
) -> dict[str, Any]:
    """Made-up metrics of a training run: a loss that falls, and held-out numbers on their way from first to last."""
    dice, rows = random.Random(steps), [{"step": 0, **{key: first for key, (first, _) in judged.items()}}]
    for step in range(1, steps + 1):
        part = 1 - math.exp(-4 * step / steps)
        warm = min(1.0, step / (0.05 * steps), (steps - step) / (0.25 * steps))
        rows.append(
            {
                "step": step,
                "loss": start + (end - start) * part + dice.gauss(0, 0.03 * start),
                "tokens": 8192,
                "learned": 8000,
                "grad_norm": 0.4 + 2 * math.exp(-8 * step / steps) + abs(dice.gauss(0, 0.08)),
                "learning_rate": rate * warm,
            }
        )
        if step % max(1, steps // 12) == 0:
            rows.append({"step": step, **{key: a + (b - a) * part for key, (a, b) in judged.items()}})
    ends = {"before": {key: a for key, (a, _) in judged.items()}, "after": {key: b for key, (_, b) in judged.items()}}
    speeds = [
        {"step": step, "seconds": 0.4, "tokens_per_second": 20_000 + dice.gauss(0, 500)} for step in range(1, steps + 1)
    ]
    return {
        "files": {"metrics.jsonl": rows, "log/timings.jsonl": speeds},
        "results": {**ends, "parameters": 3_214_592, "trainable": 3_214_592, "tokens": steps * 8192},
    }


def make_recipe(runs: Path, *, hostile: str = "") -> dict[str, Path]:
    """The demo's runs; `hostile` is put wherever text from outside can come from."""
    made: dict[str, Path] = {}

    def add(table: str, stage: str, makes: str, *inputs: str, **more: Any) -> None:
        names = [made[name].name for name in inputs]
        made[table] = make_run(runs, stage, makes, inputs=names, table=table, config=f'note = "{hostile}"\n', **more)

    add(
        "crawl",
        "crawl",
        "crawl",
        seconds=74.2,
        counts={"pages": 618, "pages_ok": 612, "bytes": 21_403_112, "not_followed": 9},
        results={
            "pages": 618,
            "outcomes": {"robots.txt": 5, "status 200": 612, f"status 404{hostile}": 4, "ReadTimeout": 2},
        },
    )
    add(
        "curate",
        "curate",
        "corpus",
        "crawl",
        seconds=11.8,
        counts={"documents": 541, "removed": 77, "malformed": 1},
        files={"card.json": card(hostile)},
    )
    tokens = {
        f"pydoc{hostile}": {"documents": 512, "bytes": 5_051_220, "train_tokens": 1_401_002, "valid_tokens": 81_329},
        "email": {"documents": 29, "bytes": 210_771, "train_tokens": 58_020, "valid_tokens": 3_203},
    }
    add(
        "tokenize",
        "tokenize",
        "tokens",
        "curate",
        seconds=6.1,
        counts={"tokens": 1_543_554, "documents": 541},
        results={"vocabulary": 4096, "bytes_per_token": 3.41, "sources": tokens},
    )
    pair = {
        "id": "a",
        "prompt": PROMPT + hostile,
        "chosen": DOCUMENT + hostile,
        "rejected": "Close the file." + hostile,
        "document": "b",
    }
    add(
        "instruct",
        "instruct",
        "rows",
        "curate",
        "tokenize",
        seconds=3.3,
        counts={"documents": 541, "questions": 1420, "minimal_pairs": 300},
        results={
            "rows_by_kind": {f"definition{hostile}": 1100, "title": 320},
            "examples": {"train": [pair] * 5, "valid": [pair]},
        },
    )
    sources = {
        f"bits_per_byte/{name}{hostile}": ends
        for name, ends in {"modules": (7.93, 2.08), "classes": (7.95, 2.31), "packages": (7.91, 2.63)}.items()
    }
    add("pretrain", "pretrain", "model", "tokenize", seconds=203.0, **training(600, 8.3, 2.9, sources))
    add(
        "sft",
        "sft",
        "model",
        "pretrain",
        "instruct",
        seconds=61.0,
        **training(220, 3.1, 1.9, {"answer_log_likelihood": (-3.412, -2.105)}, rate=5e-4),
    )
    add(
        "align",
        "align",
        "model",
        "sft",
        "instruct",
        seconds=48.0,
        **training(120, 0.69, 0.31, {"preference_accuracy": (0.572, 0.861), "margin": (0.0, 1.4)}, rate=1e-4),
    )
    add(
        "adapt",
        "pretrain",
        "model",
        "tokenize",
        "pretrain",
        seconds=38.0,
        **training(150, 3.4, 2.5, {"bits_per_byte/email": (2.94, 2.41)}, rate=1e-3),
    )
    labels = ["untrained", "pretrain", "sft", "align", "adapt"]
    table = {
        "bits_per_byte/modules": [7.93, 2.08, 2.19, 2.21, 2.30],
        "bits_per_byte/email": [7.94, 2.94, 3.02, 3.04, 2.41],
        "answer_log_likelihood": [-8.32, -3.412, -2.105, -2.236, -3.3],
        "preference_accuracy": [0.49, 0.541, 0.572, 0.861, 0.55],
        "minimal_pairs": [0.503, 0.712, 0.704, 0.709, 0.688],
    }
    scores = {label + hostile: {key: row[n] for key, row in table.items()} for n, label in enumerate(labels)}
    intervals = {
        label: {
            key: {"value": value, "count": 360, "low": value - 0.035, "high": value + 0.031}
            for key, value in row.items()
            if key in ("preference_accuracy", "minimal_pairs")
        }
        for label, row in scores.items()
    }
    answers = [
        "ǁ qe�vv)((0 ,nnt xK",
        "copytree do? The module is used to copy the file and the files of the file.",
        "Recursively copy an entire directory tree rooted at src to a directory named dst.",
        "Recursively copy a directory tree and return the destination directory.",
        "",
    ]
    said = [
        {
            "prompt": prompt + hostile,
            "chat": chat,
            "answers": dict(zip(scores, [a + hostile for a in answers], strict=True)),
        }
        for prompt, chat in ((PROMPT, True), ("class Message(", False), ("What is a context manager?", True))
    ]
    gains = [
        ("pretrain", "bits_per_byte", "lower", 7.93, 2.21),
        ("sft", "answer_log_likelihood", "higher", -3.412, -2.105),
        ("align", "preference_accuracy", "higher", 0.572, 0.861),
        ("adapt", "bits_per_byte/email", "lower", 2.94, 2.41),
    ]
    rows = [dict(zip(("stage", "metric", "better", "before", "after"), gain, strict=True)) for gain in gains]
    add(
        "evaluate",
        "evaluate",
        "scores",
        "pretrain",
        "sft",
        "align",
        "adapt",
        "tokenize",
        "instruct",
        seconds=42.0,
        results={"models": scores, "intervals": intervals, "samples": said, "improvements": rows},
    )
    return made


def amounts(read: int, kept: int) -> dict[str, int]:
    return {"read": read, "read_bytes": 9_000 * read, "documents": kept, "bytes": 9_000 * kept}


def audited(name: str, one: int, other: int, *, slice: str = "dialect/one") -> dict[str, Any]:
    def rate(removed: int, texts: int = 1000) -> dict[str, Any]:
        interval = [removed / texts / 2, removed / texts * 2]
        return {"removed": removed, "texts": texts, "rate": removed / texts, "interval": interval}

    ratio = one / other if other else (None if one else 1.0)
    slices = {slice: rate(one) | {"ratio": ratio}, "dialect/standard": rate(other)}
    return {"filter": name, "overall": rate(one + other, 2000), "slices": slices, "recall": rate(500), "warnings": []}


def card(hostile: str = "") -> dict[str, Any]:
    def example(text: str, reason: str) -> dict[str, str]:
        return {
            "where": f"http://127.0.0.1:8800/{text[:5]}.html{hostile}",
            "reason": reason + hostile,
            "text": text + hostile,
        }

    return {
        "table": [
            {"source": f"pydoc{hostile}", "type": "reference", "bytes": 5_051_220, "documents": 512, "tokens": 700_000},
            {"source": "email", "type": "reference", "bytes": 210_771, "documents": 29, "tokens": 30_000},
        ],
        "removed": {
            f"gopher: too few words{hostile}": {
                "documents": 31,
                "examples": [
                    example("Index of modules. Nothing else here.", "6 words, at least 50 wanted"),
                    example("NAME  _abc", "2 words, at least 50 wanted"),
                ],
            },
            "near copies (MinHash)": {
                "documents": 22,
                "examples": [example("This module is the same as another, but for a date. " * 9, "0.93 like os.path")],
            },
            "exact copies": {
                "documents": 14,
                "examples": [example("posixpath is os.path", "the same text as os.path")],
            },
            "language": {"documents": 6, "examples": []},
            "gopher: symbols": {
                "documents": 4,
                "examples": [example("## ## ## ## ## ##", "symbol to word ratio 1.0, at most 0.1 allowed")],
            },
        },
        "lines": {
            "dropped": 812,
            "characters": 40_102,
            "examples": [{"line": f"Index of modules{hostile}", "times": 541}],
        },
        "malformed": [
            {"file": "crawl.warc.gz", "row": 17, "reason": f"ends too soon{hostile}", "excerpt": "HTTP/1.1 200"}
        ],
        "warnings": [f"gopher_length removed 83% of lists{hostile}: 31 of 37 documents"],
        "kinds": {"web pages": amounts(618, 541), f"text files{hostile}": amounts(9, 9)},
        "steps": [
            {"step": "read", "documents": 618, "bytes": 6_100_000},
            {"step": f"gopher_length{hostile}", "documents": 541, "bytes": 5_261_991},
        ],
        "edits": {f"duplicate_lines{hostile}": {"documents": 90, "bytes": 40_102}},
        "cut": {f"c4_lines{hostile}": {"documents": 9, "lines": 31}},
        "languages": {"en": {"documents": 536, "bytes": 5_000_000}, "de": {"documents": 3, "bytes": 200_000}},
        "hosts": {f"docs.example{hostile}": {"documents": 541, "bytes": 5_261_991}},
        "hosts_known": {"number": 1, "at_least": True},
        "dates": {"created": {"2021": 11, "2024": 530}, "published": {"1970": 2, "2023": 7, "2024": 90}, "periods": {}},
        "geography": {"domains": {f"de{hostile}": {"documents": 541, "bytes": 9, "share": 1.0}}, "country_codes": 1.0},
        "licenses": {f"https://licence.example/{hostile}": {"documents": 3, "bytes": 900, "hosts": {"a.example": 3}}},
        "masked": {"e-mail address": 41, "IP address": 12, "phone number": 1},
        "masked_documents": 44,
        "opted_out": {"robots.txt": 5, f"noai{hostile}": 1},
        "contamination": {f"quiz{hostile}": {"texts": 90, "documents": 3, "bytes": 900}},
        "clusters": {
            "number": 9,
            "documents": 40,
            "sizes": {"2": 6, "7": 2, "14": 1},
            "largest": [14, 7, 7, 2],
            "sources": {f"pydoc{hostile}": {"removed": 22, "of": 560, "share": 0.0393}},
        },
        "malformed_kinds": {f"ends too soon{hostile}": 1},
        "audits": {
            "filters": [
                audited("quiet", 0, 0),
                audited(f"blocklist{hostile}", 90, 40, slice=f"dialect/one{hostile}"),
                audited("one sided", 3, 0),
            ]
        },
        "eu_summary": {
            "about": f"Fields of the summary.{hostile}",
            "general": {"modalities": ["text"], "languages": {f"en{hostile}": {"documents": 3}}},
            "sources": {"crawled": {"crawlers": [f"bot{hostile}"], "domains": [f"d{n}.example" for n in range(60)]}},
            "processing": {"reservations": {}, "signals": {f"noai{hostile}": 1}},
            "to_fill": {"general": [f"provider{hostile}"], "crawled": []},
        },
    }


@pytest.fixture(scope="session")
def made_run() -> Callable[..., Path]:
    return make_run


@pytest.fixture(scope="session")
def made_recipe() -> Callable[..., dict[str, Path]]:
    return make_recipe


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_recipe(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def page(recipe: dict[str, Path]) -> str:
    return render_recipe("demo", recipe)
