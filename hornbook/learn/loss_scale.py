"""Dynamic loss scaling: gradients multiplied into the range of fp16 (arXiv 1710.03740, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hornbook.errors import InputError

FIRST = 2.0**8
"""For sums over a micro-batch, which are thousands of times as large as the means that others begin with 2^16 for."""
SMALLEST, LARGEST = 2.0**-24, 2.0**24
GROWS_AFTER = 500
"""Steps without an overflow until the scale is doubled."""


class LossScale:
    """A power of two, so that it rounds nothing; halved at an overflow, doubled after a while without one."""

    def __init__(self) -> None:
        self.value = FIRST
        self._calm = 0

    def halve(self) -> bool:
        """After an overflow; False where it is as small as it may be, and the gradient itself is to blame."""
        if self.value <= SMALLEST:
            return False
        self.value, self._calm = self.value / 2, 0
        return True

    def keep(self) -> None:
        """After a step that did not overflow."""
        self._calm += 1
        if self._calm >= GROWS_AFTER:
            self.value, self._calm = min(LARGEST, self.value * 2), 0

    def state(self) -> dict[str, Any]:
        """JSON-able and exact."""
        return {"value": self.value, "calm": self._calm}

    def load_state(self, state: Mapping[str, Any], *, where: str) -> None:
        """Restore what `state` gave.

        Raises:
            InputError: a part is missing.
        """
        if missing := sorted({"value", "calm"} - state.keys()):
            raise InputError(f"{where}: {missing[0]!r} of the loss scale is missing")
        self.value, self._calm = float(state["value"]), int(state["calm"])
