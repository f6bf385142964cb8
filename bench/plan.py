"""What a plan says before, beside what is measured then: memory of steps of training, and their time.

memory  worst_error: of the resident memory that a plan says a process will have at its most, against that of a process
        which takes three steps; false_fits: cells whose process had more than the plan says is needed. What a process
        has before a model is there is measured once, in another
time    worst_error: of the CPU-seconds that a probe of 20 steps predicts, against a run in another process
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import cycle
from typing import TYPE_CHECKING, Any

from measure import Measured, Row, main

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
    ("full", 2, 128), ("lora", 4, 64), ("pretrain", 2, 128), ("qlora", 2, 128), ("prefix", 1, 256), ("full", 1, 384),
)  # fmt: skip
STEPS = 60
SMALL = {"hidden_size": 192, "intermediate_size": 512, "num_attention_heads": 3, "num_key_value_heads": 3,
         "num_hidden_layers": 3, "vocab_size": 2048}  # fmt: skip
"""What is timed."""


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

    list(_steps(cell_of(told), steps=1))
    gc.collect()
    return {"resident": resident()}


def stepped(told: dict[str, Any]) -> dict[str, float]:
    """Bytes at the most of a process that takes three steps."""
    from hornbook.memory import resident_peak

    list(_steps(cell_of(told), steps=3))
    return {"resident": resident_peak()}


def _steps(cell: Cell, *, steps: int) -> Iterator[float]:
    from hornbook.planning import speed

    return speed._steps(cell, step_tokens=cell.rows * cell.length, steps=steps)


# -- time -------------------------------------------------------------------------------------------------------------


def time(**_: Any) -> Measured:
    """A probe in one process, the run in another."""
    rows = []
    for method, count, length in TIMED:
        told = told_of("llama", SMALL, method, count, length)
        said, took = child("probed", told), child("timed", told)
        name = {k: told[k] for k in ("method", "rows", "length")}
        rows.append({**name, "said": said["cpu"], "took": took["cpu"], "error": said["cpu"] / took["cpu"] - 1})
        rows[-1]["error_wall"] = said["wall"] / took["wall"] - 1
        print(json.dumps(rows[-1]), file=sys.stderr)
    worst = max(abs(row["error"]) for row in rows)
    wall = max(abs(row["error_wall"]) for row in rows)
    return Measured(worst, {"worst_error": worst, "worst_error_wall": wall, "cells": len(rows)})


def probed(told: dict[str, Any]) -> dict[str, float]:
    """Seconds that so many steps will take, by the median of those of a probe."""
    from statistics import median

    from hornbook.planning.speed import STEPS as OF_PROBE
    from hornbook.planning.speed import WARM

    steps = list(_clocked(told, OF_PROBE))[WARM:]
    return {kind: STEPS * median(step[kind] for step in steps) for kind in ("cpu", "wall")}


def timed(told: dict[str, Any]) -> dict[str, float]:
    steps = list(_clocked(told, STEPS))
    return {kind: sum(step[kind] for step in steps) for kind in ("cpu", "wall")}


def _clocked(told: dict[str, Any], steps: int) -> Iterator[dict[str, float]]:
    """CPU-seconds and seconds of each step after the first, in whose CPU-seconds the model is made."""
    from time import process_time

    last = None
    for wall in _steps(cell_of(told), steps=1 + steps):
        now = process_time()
        if last is not None:
            yield {"cpu": now - last, "wall": wall}
        last = now


SIDES = {"begun": begun, "stepped": stepped, "probed": probed, "timed": timed}


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
    Row("time", "of the measured seconds", {"6 cells": {}}, time, less_is_better=True, repeats=1),
)

if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in SIDES:
        print(json.dumps(SIDES[sys.argv[1]](json.loads(sys.argv[2]))))
    else:
        main(ROWS)
