"""The benchmarks run, and say what they promise to say; at sizes that measure nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "bench"
KEYS = {"row", "size", "unit", "ours", "peer", "ratio", "peak_mb", "machine"}


def bench(subject: str, row: str, size: dict[str, Any], *, data: Path) -> dict[str, Any]:
    options = ["--only", row, "--size", json.dumps(size), "--repeats", "1", "--json"]
    ran = subprocess.run(
        [sys.executable, BENCH / f"{subject}.py", *options],
        env={"HORNBOOK_DATA": str(data), "BENCH_VENVS": "", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def test_a_row_with_its_peer(tmp_path: Path) -> None:
    result = bench("tokens", "tokenize", {"megabytes": 0.1}, data=tmp_path)
    assert result.keys() >= KEYS | {"peer_peak_mb", "peer_config", "memory_ratio"}
    assert min(result["ours"], result["peer"], result["peak_mb"], result["peer_peak_mb"]) > 0
    assert result["ratio"] == pytest.approx(result["ours"] / result["peer"], rel=0.01)


@pytest.mark.skipif(bool(find_spec("trafilatura")), reason="trafilatura is installed here")
def test_a_peer_that_is_not_there_is_named_and_the_others_are_measured(tmp_path: Path) -> None:
    result = bench("curate", "extract", {"megabytes": 0.05}, data=tmp_path)
    assert result.keys() >= KEYS
    assert result["missing"] == "trafilatura: `make bench-setup`"
    assert result["peer"] is None
    assert result["ratio"] is None
    assert min(result["ours"], result["ratio_resiliparse"]) > 0


def test_what_is_learned_in_so_many_seconds(tmp_path: Path) -> None:
    result = bench("learning", "time-to-loss", {"depth": 1, "seconds": 0.3, "theirs": 0.3}, data=tmp_path)
    assert result["missing"].startswith("nanoGPT/")
    assert 0 < result["ours"] < 8
    assert result["tokens"] == pytest.approx(result["tokens_per_cpu_second"] * result["budget"], rel=0.01)
