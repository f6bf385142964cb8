"""Where time and memory go: a small recipe from local text to an aligned model, each stage in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inputs import conversations, preferences, texts, write_jsonl
from measure import machine, table

RECIPE = """
[crawl]
source = "{folder}/texts.jsonl"
[curate]
sources = {{ books = "*" }}
workers = 1
[tokenize]
vocabulary = 4096
held_out = 0.05
[pretrain]
depth = {depth}
train_tokens = {tokens}
[sft]
rows = "{folder}/conversations.jsonl"
bad_rows = "skip"
[align]
rows = "{folder}/preferences.jsonl"
bad_rows = "skip"
[adapt]
stage = "pretrain"
base = "pretrain"
lora = {{ r = 8 }}
train_tokens = {tokens}
[evaluate]
"""
SIZES = {"2 MB, depth 2": (2, 2, 100_000), "8 MB, depth 4": (8, 4, 400_000)}
"""Text, layers, and tokens to train on."""


def stages(size: str) -> Iterator[dict[str, Any]]:
    """One result a stage, as it ends."""
    megabytes, depth, tokens = SIZES[size]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        _inputs(folder, megabytes)
        lines = RECIPE.format(folder=folder, depth=depth, tokens=tokens).strip().split("\n[")
        tables = [line if line.startswith("[") else f"[{line}" for line in lines]
        for count in range(1, len(tables) + 1):
            # The tables before the last are made already: what this process does is the last one.
            (folder / "spine.toml").write_text("\n".join(tables[:count]))
            yield _stage(folder, next(iter(tomllib.loads(tables[count - 1]))), size)


def _inputs(folder: Path, megabytes: float) -> None:
    rows = [{"id": str(at), "text": text} for at, text in enumerate(texts(megabytes))]
    write_jsonl(folder / "texts.jsonl", rows)
    write_jsonl(folder / "conversations.jsonl", [{"messages": row} for row in conversations(200)])
    write_jsonl(folder / "preferences.jsonl", preferences(100))


def _stage(folder: Path, name: str, size: str) -> dict[str, Any]:
    """Run the recipe so far: the time of its last stage from the run's record, CPU and memory from the kernel."""
    print(f"spine {size}: {name}", file=sys.stderr)
    runs = folder / "runs"
    command = [sys.executable, "-m", "hornbook", "run", str(folder / "spine.toml"), "--runs", str(runs)]
    with (folder / "errors").open("w+") as errors:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if child.returncode:
            raise SystemExit(f"{name} failed:\n{errors.read()}")
    run = runs / json.loads((runs / "spine.json").read_text())[name]
    occasion = json.loads((run / "log" / "occasion.json").read_text())
    return {
        "row": name,
        "size": size,
        "unit": "s",
        "ours": round(occasion["seconds"], 2),
        "peer": None,
        "ratio": None,
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss * 1024 / 1e6),
        "megabytes": round(sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) / 1e6, 1),
        "machine": machine(),
        "load": round(os.getloadavg()[0], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="ROW", help="one stage (those before it are run too)")
    parser.add_argument("--size", choices=SIZES, help="one size")
    parser.add_argument("--json", action="store_true", help="one JSON object a stage and size")
    given = parser.parse_args()
    results = []
    for size in [given.size] if given.size else SIZES:
        for result in stages(size):
            if given.only in (None, result["row"]):
                results.append(result)
                if given.json:
                    print(json.dumps(result), flush=True)
            if given.only == result["row"]:
                break
    if not given.json:
        print(table(results))


if __name__ == "__main__":
    main()
