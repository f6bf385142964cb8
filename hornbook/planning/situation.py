"""What the rules of `advice.py` look at, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hornbook.planning.data import Kind

Way = Literal[
    "as is", "prompt", "retrieve", "prompt tuning", "LoRA", "QLoRA", "full finetuning", "continued pretraining",
    "from scratch", "another machine",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Whether a way of training fits the machine, and what it takes there."""

    fits: bool
    needed: float
    """Bytes."""
    tokens: float
    """That the hours buy; 0 where it does not fit."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """All that the rules look at."""

    kind: Kind
    tokens: int
    documents: int
    """Or conversations."""
    words: int
    """Different ones in 95 in 100 of the text."""
    fits: Mapping[str, Fit]
    """By `methods.Name`."""
    parameters: float | None = None
    """Of the base; None without one."""
    positions: int = 0
    """Of the base."""
    memory: float = 0.0
    """Bytes of the machine."""
    bits_per_byte: float | None = None
    general_bits_per_byte: float | None = None
    supported: float = 0.0
    """Parameters of a new model that data and hours support (see `supported`)."""

    @property
    def known(self) -> float | None:
        """Bits per byte of the data over those of general text."""
        if self.bits_per_byte is None or not self.general_bits_per_byte:
            return None
        return self.bits_per_byte / self.general_bits_per_byte

    def fit(self, name: str) -> Fit:
        return self.fits.get(name, Fit(fits=False, needed=0, tokens=0))


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do."""

    way: Way
    because: tuple[str, ...]
    would_change: tuple[str, ...] = ()
    source: str = ""
