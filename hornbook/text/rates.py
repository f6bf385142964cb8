"""How well a score or a filter tells two kinds of texts apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def wilson(hits: float, trials: int, *, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a rate (Wilson 1927, JASA 22:209); 0 to 1 without trials."""
    if not trials:
        return 0.0, 1.0
    rate, spread = hits / trials, z * z / trials
    middle = (rate + spread / 2) / (1 + spread)
    half = z * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def roc_auc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """The probability that a positive's score is above a negative's; a tie counts half (Hanley and McNeil 1982)."""
    above, below = np.sort(np.asarray(positives, np.float64)), np.sort(np.asarray(negatives, np.float64))
    less = np.searchsorted(below, above, side="left") + np.searchsorted(below, above, side="right")
    return float(less.sum() / (2 * len(above) * len(below)))


def at_threshold(positives: ArrayLike, negatives: ArrayLike, threshold: float) -> dict[str, Any]:
    """Precision, recall and false positive rate where scores from `threshold` on count as positive.

    Precision is that of a mixture with as many positives as negatives, whatever numbers there are here.
    """
    recall = float(np.mean(np.asarray(positives) >= threshold))
    false = float(np.mean(np.asarray(negatives) >= threshold))
    precision = recall / (recall + false) if recall + false else 0.0
    values = {"threshold": threshold, "precision": precision, "recall": recall, "false_positives": false}
    return {name: round(value, 4) for name, value in values.items()}


def best_threshold(positives: Sequence[float] | NDArray[Any], negatives: Sequence[float] | NDArray[Any]) -> float:
    """The score where recall minus false positive rate is greatest (Youden 1950), halfway to the score below it."""
    above, below = np.sort(np.asarray(positives, np.float64)), np.sort(np.asarray(negatives, np.float64))
    scores = np.unique(np.concatenate([above, below]))
    recall = 1 - np.searchsorted(above, scores) / len(above)
    false = 1 - np.searchsorted(below, scores) / len(below)
    best = int(np.argmax(recall - false))
    return round(float((scores[best] + scores[max(0, best - 1)]) / 2), 4)
