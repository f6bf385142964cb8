"""The learning-rate schedule: a pure function of (step, total) that returns the multiplier of the peak rate.

Steps count from 0. Fractions are of `total`.
"""

from __future__ import annotations


def warmup_stable_decay(
    step: int, total: int, *, warmup: float = 0.05, decay: float = 0.4, floor: float = 0.0
) -> float:
    """Linear up, flat, linear down to `floor` (Hägele et al., arXiv 2405.18392)."""
    left = (total - step) / max(1.0, decay * total)
    return _warm(step, total, warmup) * (floor + (1 - floor) * min(1.0, left))


def _warm(step: int, total: int, warmup: float) -> float:
    return min(1.0, (step + 1) / max(1.0, warmup * total))
