"""The table of GPUs, one's own over it, and this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hornbook.errors import UsageError
from hornbook.planning.machines import find, table, this


@pytest.mark.parametrize(("wanted", "name"), [
    ("T4", "T4"), ("t4", "T4"), ("NVIDIA H100", "H100"), ("rtx 4090", "RTX4090"), ("GeForce RTX 3090", "RTX3090"),
    ("A100", "A100-40GB"), ("a100-80gb", "A100-80GB"), ("24GB", "A10G"), ("24", "A10G"), ("80 GB", "A100-80GB"),
    ("16GB", "T4"),
])  # fmt: skip
def test_a_gpu_is_found(wanted: str, name: str) -> None:
    found = find(wanted, table())
    assert name in (found.name, found.note.removeprefix("as slow as ").partition(",")[0])


def test_a_size_never_has_more_memory_than_was_said() -> None:
    assert find("24GB", table()).memory == 24_000_000_000


def test_a_gpu_of_another_architecture_computes_in_what_it_has() -> None:
    """Turing, free Colab's T4 among it, has no bf16."""
    assert find("T4", table()).autocast == torch.float16
    assert find("H100", table()).autocast == torch.bfloat16


def test_a_table_of_ones_own_goes_over_the_one_that_comes_with_the_package(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[T4]\nmemory = 15000\nbandwidth = 300\nwatts = 70\nfp16 = 60\nprice = 0.1\n")
    known = table(own)
    assert known["T4"].price == 0.1
    assert known["H100"] == table()["H100"]


def test_a_machine_without_a_rate_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[X]\nmemory = 15000\nbandwidth = 300\nwatts = 70\n")
    with pytest.raises(UsageError, match="needs a rate"):
        table(own)


def test_this_machine_is_measured() -> None:
    found = this()
    assert found.measured
    assert found.rate > 1e8
    assert 1e8 < found.bandwidth < 1e13
    assert found.memory > 1e8
