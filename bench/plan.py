"""What a plan says before, beside what is measured then: memory of steps of training, and the time of a run.

memory  worst_error: of the resident memory that a plan says a process will have at its most, against that of a process
        which takes three steps; false_fits: cells whose process had more than the plan says is needed. What a process
        has before a model is there is measured once, in another
time    worst_error: of the seconds that a plan with its probe says a run will take, against those of that run, from
        its start to its end
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inputs import conversations, texts, write_jsonl
from measure import Failed, Measured, Row, fresh, main
from posttrain import model_folder

if TYPE_CHECKING:
    from hornbook.planning.memory import Cell

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8, "num_key_value_heads": 2,
              "num_hidden_layers": 10, "vocab_size": 8000, "tie_word_embeddings": False},
    "qwen2": {"hidden_size": 640, "intermediate_size": 1728, "num_attention_heads": 10, "num_key_value_heads": 10,
              "num_hidden_layers": 7, "vocab_size": 12000, "tie_word_embeddings": True},
    "gpt_neox": {"hidden_size": 576, "intermediate_size": 2304, "num_attention_heads": 9, "num_hidden_layers": 8,
                 "vocab_size": 10000, "rotary_pct": 0.25},
    "gemma2": {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "num_key_value_heads": 4,
               "head_dim": 64, "num_hidden_layers": 6, "vocab_size": 24000},
}  # fmt: skip
"""30 to 45 million parameters each: what a model takes is more than what libraries do."""
METHODS = ("full", "lora", "qlora", "prefix", "prompt", "pretrain")
MICRO = ((2, 256), (1, 640), (5, 96), (3, 192), (1, 384))
"""Rows and tokens of a row; five over six methods, so that each method meets several."""
TIMED = (
    ("chats.jsonl", "full"), ("chats.jsonl", "lora"), ("chats.jsonl", "qlora"), ("texts.jsonl", "full"),
    ("texts.jsonl", "lora"), ("corpus.jsonl", "pretrain"),
)  # fmt: skip
CONVERSATIONS, MEGABYTES, CORPUS_MEGABYTES = 240, 0.35, 1.0
"""About a minute of training for each."""
SMALL = {"hidden_size": 192, "intermediate_size": 512, "num_attention_heads": 3, "num_key_value_heads": 3,
         "num_hidden_layers": 3, "vocab_size": 2048}  # fmt: skip
"""Next to no model."""


def cells() -> Iterator[dict[str, Any]]:
    micro = cycle(MICRO)
    for family, shape in FAMILIES.items():
        for method in METHODS:
            rows, length = next(micro)
            yield told_of(family, shape, method, rows, length)


def told_of(family: str, shape: dict[str, Any], method: str, rows: int, length: int) -> dict[str, Any]:
    config = {"model_type": family, "max_position_embeddings": 1024, **shape}
    return {"config": config, "method": method, "rows": rows, "length": length}


def cell_of(told: dict[str, Any]) -> Cell:
    from hornbook.model.configuration import from_config
    from hornbook.planning.memory import Cell

    made = from_config(told["config"], where=told["config"]["model_type"])
    return Cell(architecture=made, method=told["method"], rows=told["rows"], length=told["length"])


# -- memory -----------------------------------------------------------------------------------------------------------


def memory(**_: Any) -> Measured:
    """Every cell in a process of its own."""
    from hornbook.planning.memory import CPU_MARGIN, resident, training

    process = {method: child("begun", told_of("llama", SMALL, method, 1, 32))["resident"] for method in METHODS}
    rows = []
    for told in cells():
        before = process[told["method"]]
        said = before + resident(training(cell_of(told)))
        found = child("stepped", told)["resident"]
        name = {"family": told["config"]["model_type"], **{k: told[k] for k in ("method", "rows", "length")}}
        rows.append({**name, "said": said, "found": found, "error": said / found - 1})
        rows[-1]["false"] = found > before + (said - before) * (1 + CPU_MARGIN)
        print(json.dumps(rows[-1]), file=sys.stderr)
    worst = max(abs(row["error"]) for row in rows)
    notes = {
        "worst_error": worst,
        "of_the_cells": [f"{r['family']} {r['method']} {r['rows']} x {r['length']}: {r['error']:+.3f}" for r in rows],
        "false_fits": sum(row["false"] for row in rows),
        "cells": len(rows),
        "process": process,
    }
    return Measured(worst, notes)


def begun(told: dict[str, Any]) -> dict[str, float]:
    """Bytes of a process that has loaded and set up all that it will, and holds next to no model."""
    from hornbook.memory import resident
    take_steps(cell_of(told), 1)
    gc.collect()
    return {"resident": resident()}


def stepped(told: dict[str, Any]) -> dict[str, float]:
    """Bytes at the most of a process that takes three steps."""
    from hornbook.memory import resident_peak
    take_steps(cell_of(told), 3)
    return {"resident": resident_peak()}


def take_steps(cell: Cell, count: int) -> None:
    from hornbook.planning.speed import ready, step_seconds
    from hornbook.planning.work import windows

    list(step_seconds(ready(cell), cell, [(windows(cell),)] * count))


# -- time -------------------------------------------------------------------------------------------------------------


def time(*, folder: Path, **_: Any) -> Measured:
    """As a user plans and trains: `hornbook plan --write`, with its probe, then `hornbook run`."""
    rows = [_planned_and_run(folder, data, method) for data, method in TIMED]
    for row in rows:
        print(json.dumps(row), file=sys.stderr)
    worst = max(abs(row["seconds"]) for row in rows)
    notes = {
        "worst_error": worst,
        "of_the_runs": [f"{row['data']} {row['method']}: {row['seconds']:+.3f} of {row['took']:.0f} s" for row in rows],
        "above_most_memory": [round(row["memory_at_most"], 3) for row in rows],
    }
    return Measured(worst, notes)


def _planned_and_run(folder: Path, data: str, method: str) -> dict[str, Any]:
    """How far above what was planned things came, each as a share of it."""
    from hornbook.recipe import read_recipe
    from hornbook.report.folder import load
    from hornbook.report.planned import compared

    place = fresh(folder / f"{Path(data).stem}-{method}")
    base = [] if method == "pretrain" else ["--base", str(folder / "model")]
    _hornbook(place, "plan", str(folder / data), *base, "--method", method, "--write", "planned.toml")
    _hornbook(place, "run", "planned.toml")
    made = json.loads((place / "runs" / "planned.json").read_text())
    table = next(table for table in read_recipe(place / "planned.toml").tables if table.planned)
    run = load(place / "runs" / made[table.name])
    found = {one.what: one.off for one in compared(run, table.planned)}
    return {
        "data": data,
        "method": method,
        "took": run.seconds,
        "seconds": found["time"],
        "memory_at_most": found["peak memory, at most"],
    }


def _hornbook(place: Path, *words: str) -> None:
    ran = subprocess.run([sys.executable, "-m", "hornbook", *words], cwd=place, capture_output=True, text=True)
    if ran.returncode:
        raise Failed(f"hornbook {' '.join(words)} failed:\n{ran.stderr[-4000:]}")


def prepare_time(*, folder: Path, **_: Any) -> None:
    """A small model, conversations and texts."""
    model_folder(folder=folder, depth=4, vocabulary=4096, rows=8)
    rows = [{"messages": row} for row in conversations(CONVERSATIONS)]
    write_jsonl(folder / "chats.jsonl", rows)
    for name, size in (("texts.jsonl", MEGABYTES), ("corpus.jsonl", CORPUS_MEGABYTES)):
        write_jsonl(folder / name, [{"text": text} for text in texts(size)])


SIDES = {"begun": begun, "stepped": stepped}


def child(side: str, told: dict[str, Any]) -> dict[str, float]:
    """What a side says, in a process whose heap is kept tidy, as those of `hornbook` are."""
    from hornbook.memory import TIDY

    command = [sys.executable, __file__, side, json.dumps(told)]
    kept = {**os.environ, "GLIBC_TUNABLES": TIDY}
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=kept)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


ROWS = (
    Row("memory", "of the measured peak", {"24 cells": {}}, memory, less_is_better=True, repeats=1),
    Row("time", "of the planned seconds", {"6 runs": {}}, time, prepare=prepare_time, less_is_better=True, repeats=1),
)

if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in SIDES:
        print(json.dumps(SIDES[sys.argv[1]](json.loads(sys.argv[2]))))
    else:
        main(ROWS)
