"""Mixture weights: how much of each source a corpus holds, and how often training should see it.

GPT-3's mixture (Brown et al. 2020, arXiv 2005.14165, table 2.2) is such a table: Common Crawl has weight 0.60 and is
seen 0.44 times, Wikipedia has weight 0.03 and is seen 3.4 times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hornbook.errors import UsageError
from hornbook.text.document import order_key


@dataclass(frozen=True, slots=True)
class Share:
    """What becomes of a source: the `fraction` of it that is kept, and the `epochs` in which training sees that."""

    fraction: float
    epochs: float


def shares(
    sizes: Mapping[str, int],
    weights: Mapping[str, float],
    *,
    epochs: Mapping[str, float] | None = None,
    caps: Mapping[str, float] | None = None,
) -> dict[str, Share]:
    """What to keep of each source, so that what training sees of the sources is in proportion to their weights.

    The corpus is the largest for which no source is seen more often than its `epochs` (1, unless given): so one source
    at least is used up. Without weights, sources are kept whole but for their `caps`, and seen `epochs` times.

    Args:
        sizes: of each source, in bytes.
        weights: of each source; one without a weight is left out.
        epochs: how often a source may be seen, at most.
        caps: bytes of a source, at most.

    Raises:
        UsageError: a number is negative, or is for a source that is not there.
    """
    epochs, caps = epochs or {}, caps or {}
    for name, table in (("mixture", weights), ("epochs", epochs), ("caps", caps)):
        _check(name, table, sizes)
    there = {source: min(size, caps.get(source, size)) for source, size in sizes.items()}
    most = {source: size * epochs.get(source, 1.0) for source, size in there.items()}
    whole = min((most[source] / weight for source, weight in weights.items() if weight > 0), default=0.0)
    wanted = {source: whole * weights.get(source, 0.0) for source in sizes} if weights else most
    return {source: _share(wanted[source], there[source], size) for source, size in sizes.items()}


def _share(wanted: float, there: float, size: int) -> Share:
    kept = min(wanted, there)
    return Share(kept / size if size else 0.0, wanted / kept if kept else 0.0)


def _check(name: str, table: Mapping[str, float], sizes: Mapping[str, int]) -> None:
    for source, value in table.items():
        if source not in sizes:
            known = ", ".join(sorted(sizes)) or "none"
            raise UsageError(f'{name}: there is no source "{source}"', hint=f"there are: {known}")
        if value < 0:
            raise UsageError(f"{name}: {source} is {value}", hint="0 or more is possible")


def kept(id: str, *, fraction: float, seed: int) -> bool:
    """Whether a document is in the `fraction` of its source that is kept; no other document has a say in it."""
    return order_key(id, seed=seed, purpose="mixture") < fraction * 2**63
