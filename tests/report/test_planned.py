"""What was planned, beside what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from hornbook.errors import UsageError
from hornbook.manifest import Manifest
from hornbook.recipe import read_recipe
from hornbook.report.folder import Run
from hornbook.report.planned import compared


def done(**occasion: float) -> Run:
    manifest = Manifest(
        name="pretrain-00000000", stage="pretrain", makes="model", identity="", contents="", inputs={}, code="",
        versions={}, counts={}, results={}, files={},
    )  # fmt: skip
    timings = [{"step": step, "tokens_per_second": 100.0} for step in range(3)]
    return Run(
        table="pretrain",
        manifest=manifest,
        config="",
        metrics=[],
        timings=timings,
        skipped=[],
        occasion=occasion,
        card={},
    )


def test_what_was_planned_is_compared_with_what_the_run_tells() -> None:
    rows = compared(
        done(seconds=110.0, peak_memory_bytes=5e8), {"seconds": 100.0, "memory": 1e9, "tokens_per_second": 80}
    )
    assert [(row.what, row.off) for row in rows] == [
        ("time", pytest.approx(0.10)),
        ("peak memory", pytest.approx(-0.50)),
        ("tokens a second", pytest.approx(0.25)),
    ]


def test_what_a_run_does_not_tell_is_left_out() -> None:
    assert compared(done(seconds=0.0), {"seconds": 100.0}) == []


def test_a_recipe_that_plans_what_is_not_known_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[crawl]\nsource = "."\nplanned = { hours = 3 }\n')
    with pytest.raises(UsageError, match='planned" has no key "hours"'):
        read_recipe(path)
