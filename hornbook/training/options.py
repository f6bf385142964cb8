"""Options that all stages which train have in common.

Annotations here are types, not strings: a class that inherits them lives where their names mean nothing.
"""

from dataclasses import dataclass
from typing import Annotated

from hornbook.config import Count, Positive, Unhashed
from hornbook.device import Device, Precision
from hornbook.trackers import TrackerName


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters: W = W0 + (alpha / r) B A, with W0 frozen (arXiv 2106.09685)."""

    r: Count = 8
    """Rank."""
    alpha: Positive = 16.0
    """Scale, divided by the rank."""
    targets: tuple[str, ...] = ("all-linear",)
    """Projections to adapt: names such as `q_proj`, `attention` for those of attention, `all-linear` for all."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What of a model learns, and where it is computed: for every stage that trains one."""

    lora: Lora | None = None
    """Train only a low-rank adapter."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "auto"
    """Of matrix products; weights and optimizer are kept in fp32."""
    deterministic: bool = False
    """On a GPU use only kernels that give the same bytes each time, which may be slower; a CPU's always do."""
    recompute: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third more work."""
    track: Annotated[tuple[TrackerName, ...], Unhashed] = ()
    """Trackers to tell of it, besides TensorBoard."""

    @property
    def adapts(self) -> bool:
        """Whether the model itself is frozen, and only what is put on it learns."""
        return self.lora is not None
