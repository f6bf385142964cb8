"""Mixture weights: how much of each source a corpus holds."""

from __future__ import annotations

from collections.abc import Mapping

from hornbook.errors import UsageError
from hornbook.text.document import order_key


def fractions(sizes: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, float]:
    """What fraction of each source to keep, so that the sources' sizes are in proportion to their weights.

    The corpus is the largest that needs no source twice: at least one source is kept whole. A source without a weight
    is left out; without any weights, all are kept.

    Raises:
        UsageError: a weight is negative, or is for a source that is not there.
    """
    if not weights:
        return dict.fromkeys(sizes, 1.0)
    for source, weight in weights.items():
        if source not in sizes:
            known = ", ".join(sorted(sizes)) or "none"
            raise UsageError(f'mixture: there is no source "{source}"', hint=f"there are: {known}")
        if weight < 0:
            raise UsageError(f"mixture: the weight of {source} is {weight}", hint="a weight is 0 or more")
    whole = min((sizes[source] / weight for source, weight in weights.items() if weight > 0), default=0.0)
    return {
        source: min(1.0, whole * weights.get(source, 0.0) / size) if size else 0.0 for source, size in sizes.items()
    }


def kept(id: str, *, fraction: float, seed: int) -> bool:
    """Whether a document is in the `fraction` of its source that is kept; no other document has a say in it."""
    return order_key(id, seed=seed, purpose="mixture") < fraction * 2**63
