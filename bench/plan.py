"""What a plan says before, beside what is measured then: memory of steps of training, and their time.

memory  worst_error: of the bytes counted, against all that steps asked torch's allocator for; false_fits: cells
        whose process had more resident memory than the plan says is needed
time    worst_error: of the seconds that a probe of 20 steps predicts, against a run in another process
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from measure import Measured, Row, main

if TYPE_CHECKING:
    from hornbook.planning.memory import Cell

SHAPES = {
    "Qwen3, 4 M": {"depth": 4, "vocabulary": 4096, "keys": 4},
    "Llama, grouped, 6 M": {"depth": 5, "vocabulary": 2048, "keys": 1},
}
METHODS = ("full", "lora", "prefix", "pretrain")
MICRO = ((2, 256), (8, 128), (4, 256))
"""Rows and tokens of a row."""
TIMED = (("full", 2, 128), ("lora", 2, 128), ("pretrain", 4, 64))
STEPS = 60


def cells() -> Iterator[dict[str, Any]]:
    for name, shape in SHAPES.items():
        for method in METHODS:
            for rows, length in MICRO:
                yield {"name": name, **shape, "method": method, "rows": rows, "length": length}


def cell_of(told: dict[str, Any]) -> Cell:
    from dataclasses import replace

    from hornbook.model.dial import shape
    from hornbook.planning.memory import Cell

    made = shape(told["depth"], vocabulary=told["vocabulary"], length=256)
    if told["keys"] != told["depth"]:
        made = replace(made, num_key_value_heads=told["keys"], qk_norm=False, tie_word_embeddings=False)
    return Cell(architecture=made, method=told["method"], rows=told["rows"], length=told["length"])


# -- memory -----------------------------------------------------------------------------------------------------------


def memory(**_: Any) -> Measured:
    """Every cell in a process of its own."""
    from hornbook.planning.memory import HEAP, PROCESS, training
    from hornbook.planning.rehearsal import most

    rows = []
    for told in cells():
        counted = most(training(cell_of(told)))[1].total()
        found = child("resident", told)
        needed = PROCESS + counted * (1 + HEAP)
        error = counted / found["allocated"] - 1
        rows.append({**told, **found, "counted": counted, "error": error, "needed": needed})
        print(json.dumps(rows[-1]), file=sys.stderr)
    worst = max(abs(row["error"]) for row in rows)
    notes = {
        "worst_error": worst,
        "false_fits": sum(row["total"] > row["needed"] for row in rows),
        "cells": len(rows),
        "largest_heap": max(row["resident"] / row["counted"] - 1 for row in rows),
    }
    return Measured(worst, notes)


def resident(told: dict[str, Any]) -> dict[str, float]:
    """Bytes that two steps add to the process, all that it then has, and what the allocator was asked for."""
    from hornbook.memory import forget_peak, resident_peak
    from hornbook.memory import resident as now
    from hornbook.planning import speed

    cell, tiny = cell_of(told), cell_of({**told, "depth": 1, "keys": 1, "rows": 1, "length": 32})
    # What is loaded and set up only once is no part of a step.
    list(speed._steps(tiny, step_tokens=32, steps=1))
    gc.collect()
    forget_peak()
    before = now()
    list(_steps(cell))
    return {"resident": resident_peak() - before, "total": resident_peak(), "allocated": _allocated(cell)}


def _steps(cell: Cell) -> Iterator[float]:
    from hornbook.planning import speed

    return speed._steps(cell, step_tokens=cell.rows * cell.length, steps=2)


def _allocated(cell: Cell) -> int:
    """The most that tensors took at a time, from every request to torch's allocator."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        list(_steps(cell))
    events = [one for one in found.profiler.kineto_results.events() if one.name() == "[memory]"]
    sizes = (event.nbytes() for event in sorted(events, key=lambda one: one.start_ns()))
    return max(accumulate(sizes))


# -- time -------------------------------------------------------------------------------------------------------------


def time(**_: Any) -> Measured:
    """A probe in one process, the run in another."""
    rows = []
    for method, count, length in TIMED:
        told = {"name": "Qwen3, 4 M", **SHAPES["Qwen3, 4 M"], "method": method, "rows": count, "length": length}
        said = child("probed", told)["seconds"]
        took = child("timed", told)["seconds"]
        rows.append({**told, "said": said, "took": took, "error": said / took - 1})
        print(json.dumps(rows[-1]), file=sys.stderr)
    worst = max(abs(row["error"]) for row in rows)
    return Measured(worst, {"worst_error": worst, "cells": len(rows)})


def probed(told: dict[str, Any]) -> dict[str, float]:
    from hornbook.planning import speed

    cell = cell_of(told)
    tokens = cell.rows * cell.length
    return {"seconds": STEPS * tokens / speed.probe(cell, step_tokens=tokens).tokens_per_second}


def timed(told: dict[str, Any]) -> dict[str, float]:
    from hornbook.planning import speed

    cell = cell_of(told)
    return {"seconds": sum(speed._steps(cell, step_tokens=cell.rows * cell.length, steps=STEPS))}


SIDES = {"resident": resident, "probed": probed, "timed": timed}


def child(side: str, told: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, __file__, side, json.dumps(told)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


ROWS = (
    Row("memory", "of the measured peak", {"24 cells": {}}, memory, less_is_better=True, repeats=1),
    Row("time", "of the measured seconds", {"3 cells": {}}, time, less_is_better=True, repeats=1),
)

if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in SIDES:
        print(json.dumps(SIDES[sys.argv[1]](json.loads(sys.argv[2]))))
    else:
        main(ROWS)
