from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from hornbook.memory import TIDY, forget_peak, resident, resident_peak, tunables


def test_memory_that_is_taken_is_seen() -> None:
    forget_peak()
    before = resident()
    taken = np.ones(200_000_000, dtype=np.uint8)
    assert resident() > before + 150_000_000
    peak = resident_peak()
    assert peak >= resident() > before
    del taken
    assert resident() < before + 100_000_000
    assert resident_peak() >= peak - 1_000_000


@pytest.mark.parametrize(("version", "kept"), [("glibc 2.36", 2**30), ("glibc 2.35", 2**30), ("glibc 2.31", 2**25),
                                               ("", 2**25)])  # fmt: skip
def test_an_old_glibc_is_told_no_threshold_that_it_would_ignore(version: str, kept: int) -> None:
    assert f"mmap_threshold={kept}:" in tunables(version)
    assert tunables(version).endswith(f"trim_threshold={kept}")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has glibc")
def test_what_a_tidy_heap_keeps_is_given_back_before_a_new_peak() -> None:
    code = """
from hornbook.memory import forget_peak, resident, resident_peak
import torch

before = resident()
held = [torch.ones(5_000_000) for _ in range(10)]
last = torch.ones(1)
del held
kept = resident() - before
forget_peak()
print(kept, resident_peak() - before)
"""
    environment = os.environ | {"GLIBC_TUNABLES": TIDY}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    kept, after = map(int, ran.stdout.split())
    assert kept > 190_000_000
    assert after < 20_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has glibc")
@pytest.mark.parametrize(("given", "found"), [({}, TIDY), ({"GLIBC_TUNABLES": ""}, "")])
def test_a_program_begins_again_with_a_tidy_heap_unless_another_is_wished(given: dict[str, str], found: str) -> None:
    code = "import os, sys; from hornbook.memory import keep_tidy; keep_tidy(); "
    code += "print(os.environ['GLIBC_TUNABLES'], sys.argv)"
    kept = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    ran = subprocess.run(
        [sys.executable, "-c", code, "a word"], capture_output=True, text=True, check=True, env=kept | given
    )
    assert ran.stdout.strip() == f"{found} ['-c', 'a word']".strip()
