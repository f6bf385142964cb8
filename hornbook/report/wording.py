"""How numbers, metrics and text from outside are written for people."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a number that measures a model is named and written, and which way it should go."""

    label: str
    better: str = ""
    percent: bool = False
    whole: bool = False
    bytes: bool = False
    unit: str = ""


METRICS = {
    "bits_per_byte": Metric(label="Bits per byte", better="lower"),
    "loss": Metric(label="Loss", better="lower", unit="nats"),
    "answer_log_likelihood": Metric(label="Answer log-likelihood", better="higher", unit="nats per token"),
    "preference_accuracy": Metric(label="Preference accuracy", better="higher", percent=True),
    "reward_accuracy": Metric(label="Accuracy of the implicit reward", better="higher", percent=True),
    "preference_loss": Metric(label="Loss on held-out pairs", better="lower"),
    "reward_auc": Metric(label="Good answers told from bad", better="higher", unit="AUC"),
    "accuracy": Metric(label="Accuracy", better="higher", percent=True),
    "minimal_pairs": Metric(label="Minimal pairs", better="higher", percent=True),
    "instructions": Metric(label="Instructions followed", better="higher", percent=True),
    "win_rate": Metric(label="Preferred to the first model", better="higher", percent=True),
    "refusals": Metric(label="Answers that refuse", percent=True),
    "abusive_answers": Metric(label="Answers that are abusive", better="lower", percent=True),
    "empty_answers": Metric(label="Empty answers", better="lower", percent=True),
    "reward": Metric(label="Reward"),
    "log_probability": Metric(label="Log-probability of a token", unit="nats"),
    "answer_tokens": Metric(label="Tokens of an answer"),
    "kl": Metric(label="KL from the reference, estimated", unit="nats"),
    "margin": Metric(label="Reward margin", better="higher"),
    "held_out_reward": Metric(label="Reward, held out", better="higher"),
    "held_out_kl": Metric(label="Divergence from the reference, held out", unit="nats per token"),
    "completion_length": Metric(label="Length of an answer", unit="tokens"),
    "held_out_length": Metric(label="Length of an answer, held out", unit="tokens"),
    "length_correlation": Metric(label="Correlation of reward with length"),
    "share_cut": Metric(label="Answers cut", percent=True),
    "zero_variance_groups": Metric(label="Questions that taught nothing", percent=True),
    "clip_fraction": Metric(label="Tokens clipped", percent=True),
    "grad_norm": Metric(label="Gradient norm"),
    "learning_rate": Metric(label="Learning rate"),
    "tokens_per_second": Metric(label="Tokens per second", whole=True),
    "mfu": Metric(label="Model FLOPs utilization", percent=True, unit="of the measured rate"),
    "memory": Metric(label="Memory", bytes=True),
    "steps_skipped": Metric(label="Steps left out"),
}
"""A metric key is one of these, alone or with what it was measured on behind a slash: `bits_per_byte/docs`."""


def metric_of(key: str) -> Metric:
    """How a metric is shown; an unknown one goes by its own name."""
    base = key.partition("/")[0]
    return METRICS.get(base) or Metric(label=base.replace("_", " ").capitalize())


def rank(key: str) -> tuple[int, str]:
    """Sorts metric keys: the known ones first and in their order."""
    base = key.partition("/")[0]
    return (list(METRICS).index(base) if base in METRICS else len(METRICS), key)


def name_of(key: str) -> str:
    """`bits_per_byte/docs` as `Bits per byte, docs`."""
    on = key.partition("/")[2]
    return metric_of(key).label + (f", {on}" if on else "")


def count(value: float) -> str:
    """1234567 as `1,234,567`."""
    return f"{value:,.0f}"


def compact(value: float) -> str:
    """1234567 as `1.23 million`; below ten thousand in full."""
    for unit, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}\u00a0{name}"
    return count(value)


def size(value: float) -> str:
    """Bytes in decimal units."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{value / unit:.3g}\u00a0{name}"
    return f"{value:.0f}\u00a0bytes"


def duration(seconds: float) -> str:
    """Seconds for people: `3.2 s`, `8 min 24 s`, `2 h 05 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min {rest:02d}\u00a0s"
    return f"{minutes // 60}\u00a0h {minutes % 60:02d}\u00a0min"


def score(value: Any, key: str) -> str:
    """A metric's value as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    known = metric_of(key)
    if known.percent:
        return f"{100 * value:.1f}%"
    if known.bytes:
        return size(value)
    if isinstance(value, int) or known.whole:
        return count(value)
    text = f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.3g}"
    return text.replace("-", "\u2212")


def visible(text: str) -> str:
    """Text without control, format and surrogate characters, which hide or reorder it; line ends and joiners stay."""
    hidden = {c for c in set(text) if unicodedata.category(c) in ("Cc", "Cf", "Cs")} - set("\n\t\u200c\u200d")
    return text.translate(dict.fromkeys(map(ord, hidden)))


def svg(body: str, *, view: str, title: str, description: str, style: str = "") -> Markup:
    head = f'<svg class="chart" viewBox="{view}" role="img"{style}>'
    return Markup(f"{head}<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>")
