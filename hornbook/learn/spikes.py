"""Steps to leave out: a loss or gradient that is not finite, or far above those of the healthy steps before it.

Robust on purpose: median and median absolute deviation of a window that only healthy steps enter, so that no bad value
can widen the bounds for itself, poison them for those behind it, or make the healthy steps after it look bad. PaLM
(arXiv 2204.02311, section 5.1) leaves out such data by hand; OLMo 2 (arXiv 2501.00656) by mean and standard deviation.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from hornbook.errors import InputError

WINDOW = 128
"""Healthy steps that a step is compared with."""
LEAST = 32
"""Healthy steps before anything finite is left out."""
DEVIATIONS = 10.0
"""Standard deviations above the median (1.4826 MAD each, as for a normal distribution) that make a spike."""
LEAST_DEVIATION = 0.02
"""Of the loss relative to its median, of the norm in its logarithm: a very calm window does not make noise a spike."""
IN_A_ROW = 8
"""Spikes left out one after another; the next is no spike any more but a new level, and the window begins anew."""


class Spikes:
    """Judges each step before it changes anything; what it knows of the steps before is in the checkpoint."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self.in_a_row = 0
        """Steps left out since the last that was learned from."""

    def verdict(self, loss: float, norm: float) -> str | None:
        """Why a step of this loss (nats) and gradient norm is to be left out, or None where it is to be learned from.

        A loss or norm that is not finite is always left out: how many in a row are too many is for the caller to say.
        """
        bad = not_finite(loss, norm)
        reason = f"the {bad} is not finite" if bad else self._spike(loss, norm)
        if reason is None:
            self._losses.append(loss)
            self._norms.append(math.log(max(norm, math.ulp(0.0))))
        self.in_a_row = 0 if reason is None else self.in_a_row + 1
        return reason

    def _spike(self, loss: float, norm: float) -> str | None:
        if len(self._losses) < LEAST:
            return None
        most = ceiling(self._losses, least=LEAST_DEVIATION * abs(median(self._losses)))
        most_norm = math.exp(ceiling(self._norms, least=LEAST_DEVIATION))
        if loss <= most and norm <= most_norm:
            return None
        if self.in_a_row >= IN_A_ROW:
            self._losses.clear()
            self._norms.clear()
            return None
        what, value, bound = ("loss", loss, most) if loss > most else ("gradient norm", norm, most_norm)
        return f"the {what} {value:.4g} is over {bound:.4g}"

    def state(self) -> dict[str, Any]:
        """Everything it knows, JSON-able and exact."""
        return {"losses": list(self._losses), "log_norms": list(self._norms), "in_a_row": self.in_a_row}

    def load_state(self, state: Mapping[str, Any], *, where: str) -> None:
        """Restore what `state` gave.

        Raises:
            InputError: a part is missing.
        """
        if missing := sorted({"losses", "log_norms", "in_a_row"} - state.keys()):
            raise InputError(f"{where}: {missing[0]!r} of the window of healthy steps is missing")
        self._losses = deque(state["losses"], maxlen=WINDOW)
        self._norms = deque(state["log_norms"], maxlen=WINDOW)
        self.in_a_row = int(state["in_a_row"])


def not_finite(loss: float, norm: float) -> str | None:
    """Which is NaN or infinite, `loss` or `gradient`; where both are, the loss, which makes the gradient so."""
    if math.isfinite(loss) and math.isfinite(norm):
        return None
    return "gradient" if math.isfinite(loss) else "loss"


def ceiling(values: Sequence[float], *, least: float) -> float:
    """The largest value that is no spike: median + DEVIATIONS max(1.4826 MAD, least)."""
    middle = median(values)
    spread = 1.4826 * median(abs(value - middle) for value in values)
    return middle + DEVIATIONS * max(spread, least)
