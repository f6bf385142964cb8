from __future__ import annotations

import numpy as np

from hornbook.memory import forget_peak, resident, resident_peak


def test_memory_that_is_taken_is_seen() -> None:
    forget_peak()
    before = resident()
    taken = np.ones(40_000_000, dtype=np.uint8)
    assert resident() > before + 30_000_000
    peak = resident_peak()
    assert peak >= resident() > before
    del taken
    assert resident() < before + 20_000_000
    assert resident_peak() >= peak - 1_000_000
