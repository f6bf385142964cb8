"""Whether models are better at what their stages were for, as their manifests and new scores tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hornbook.manifest import Input, Manifest

MEANT = {"sft": "answer_log_likelihood", "align": "preference_accuracy", "reinforce": "reward"}
"""What a stage is meant to raise; pretraining is meant to lower the bits per byte of what it trains on."""


def improvements(models: Mapping[str, Input], scores: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """For each model, the measures that its stage is meant to improve: of what it was made from, and of itself."""
    labels = {source.name: label for label, source in models.items()}
    found = []
    for label, source in models.items():
        if source.manifest is None:
            continue
        base = labels.get(source.manifest.inputs.get("base", {}).get("name", ""))
        before = scores[base] if base else source.manifest.results.get("before", {})
        after = scores[label] if base else source.manifest.results.get("after", {})
        for metric, better in _meant(source.manifest):
            if metric in before and metric in after:
                values = {"before": before[metric], "after": after[metric]}
                found.append({"stage": label, "metric": metric, "better": better, **values})
    return found


def newest_taught(models: Mapping[str, Input]) -> str:
    """The label of the newest model that was taught to answer, else of the newest."""
    taught = [label for label, source in models.items() if source.manifest and source.manifest.stage in MEANT]
    return (taught or list(models))[-1]


def _meant(manifest: Manifest) -> list[tuple[str, str]]:
    """(measure, "higher" or "lower") of what a model's stage is for."""
    if manifest.stage in MEANT:
        return [(MEANT[manifest.stage], "higher")]
    return [(f"bits_per_byte/{source}", "lower") for source in manifest.results.get("epochs", {})]
