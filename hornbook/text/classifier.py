"""A trainable classifier of texts that is a filter: logistic regression on hashed runs of words.

It is the kind of classifier that chose the training data of GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix A)
and of DCLM (Li et al. 2024, arXiv 2406.11794, section 4.4): positives from a reference, negatives from the crawl. With
labelled comments in their place it tells toxic text. A score is the probability of the positive class if both were
equally frequent, calibrated on texts that were not learned from (Platt 1999; Lin et al. 2007).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hornbook.errors import EmptyInput, InputError
from hornbook.text import stored
from hornbook.text.document import Document, order_key
from hornbook.text.ngrams import Bytes, Places, extend, next_word, packed

KIND = "linear"
MOST_BUCKETS, MOST_WORDS = 2**24, 5
PASSAGE = 3000
"""Characters: longer texts are learned from in parts, so that few long texts are many examples."""

Floats = NDArray[np.float32]
Example = tuple[str, int, str]
"""A text, 1 for the positive kind or 0, and the group."""


@dataclass(frozen=True)
class Classifier:
    """Weights of hashed runs of words, and what makes a probability of their mean."""

    name: str
    weights: Floats
    """One for each bucket; their number is a power of two."""
    words: int = 2
    """Words of the longest run."""
    slope: float = 1.0
    offset: float = 0.0

    def score(self, texts: Sequence[str]) -> Floats:
        """The probability of the positive class for each text; without a word, that of no evidence."""
        return _probability(self.slope * self.margins(texts) + self.offset).astype(np.float32)

    def margins(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The mean of the weights of each text's runs of words, as in fastText: the length of a text says nothing."""
        return _margins(*packed(texts), self.weights, self.words)

    def judge(
        self,
        document: Document,
        *,
        min_score: float = 0.0,
        max_score: float = 1.0,
        pareto: float = 0.0,
        seed: int = 0,
    ) -> str | None:
        """A filter: a score between `min_score` and `max_score`, or, with `pareto`, one that GPT-3's draw accepts.

        GPT-3 kept a document where a number drawn from a Pareto distribution (of shape 9) was above 1 - score, so that
        some of what is unlike the reference is kept too. Here the number is a keyed hash of the document's id.
        """
        score = float(self.score([document.text])[0])
        if score < min_score:
            return f"classifier {self.name}: score {score:.2f}, below {min_score:g}"
        if score > max_score:
            return f"classifier {self.name}: score {score:.2f}, above {max_score:g}"
        if pareto and drawn(document.id, shape=pareto, seed=seed) <= 1 - score:
            return f"classifier {self.name}: score {score:.2f}, not drawn"
        return None


def drawn(id: str, *, shape: float, seed: int) -> float:
    """A number from 0 up, Pareto distributed (Lomax, as numpy's `pareto`), that depends on the id and the seed."""
    uniform = (order_key(id, seed=seed, purpose="pareto") + 1) / 2**63
    return float(uniform ** (-1 / shape)) - 1


# -- learning -------------------------------------------------------------------------------------------------------


def split(texts: Sequence[str], *, held_out: float, seed: int = 0) -> tuple[list[str], list[str]]:
    """The texts to learn from and those that are held out, each in the order of a keyed hash, without copies."""
    keyed = sorted({order_key(_digest(text), seed=seed, purpose="classifier"): text for text in texts}.items())
    kept = [(key >= held_out * 2**63, text) for key, text in keyed]
    return [text for learn, text in kept if learn], [text for learn, text in kept if not learn]


def train(
    positives: Sequence[str],
    negatives: Sequence[str],
    *,
    groups: tuple[Sequence[str], Sequence[str]] | None = None,
    name: str = "quality",
    buckets: int = 2**18,
    words: int = 2,
    epochs: int = 5,
    rate: float = 1.0,
    held_out: float = 0.1,
    seed: int = 0,
) -> Classifier:
    """Learn to tell two kinds of texts apart, by AdaGrad (Duchi et al. 2011); both kinds weigh the same.

    The same texts give the same weights, in whatever order they come.

    Args:
        groups: the group of each positive and of each negative: a source, a dialect. Texts are weighed so that no group
            says anything of the kind (reweighing, Kamiran and Calders 2012): else a model of toxic text learns that
            those are toxic among whom more texts were labelled so.
        held_out: fraction of the texts on which the scores are calibrated.

    Raises:
        EmptyInput: one of the kinds has no text, or too few to hold one out.
    """
    learned, held = list[Example](), list[Example]()
    for kind, texts in ((1, positives), (0, negatives)):
        of = dict(sorted(zip(texts, groups[1 - kind], strict=True))) if groups else {}
        some, others = split(texts, held_out=held_out, seed=seed)
        learned += [(passage, kind, of.get(text, "")) for text in some for passage in passages(text)]
        held += [(passage, kind, of.get(text, "")) for text in others for passage in passages(text)]
    _check_both(learned, name, "to learn from")
    _check_both(held, name, "held out")
    weights = _learn(learned, buckets, words, epochs, rate, seed)
    slope, offset = _calibrate(Classifier(name, weights, words), held)
    return Classifier(name, weights, words, slope, offset)


def passages(text: str, *, characters: int = PASSAGE) -> list[str]:
    """A text cut at white space into parts of `characters` or little more; texts without words give none."""
    found, start = [], 0
    while len(text) - start > 2 * characters:
        ends = [place for place in (text.find(mark, start + characters) for mark in "\n ") if place >= 0]
        end = min([*ends, start + 2 * characters])
        found.append(text[start:end])
        start = end
    return [part for part in [*found, text[start:]] if part.strip()]


def _check_both(examples: Sequence[Example], name: str, what: str) -> None:
    for label, kind in ((1, "positive"), (0, "negative")):
        if not any(found == label for _, found, _ in examples):
            hint = "each class needs texts with words, some of which are held out to calibrate on"
            raise EmptyInput(f"classifier {name}: there is no {kind} text {what}", hint=hint)


def _learn(
    examples: Sequence[Example], buckets: int, words: int, epochs: int, rate: float, seed: int
) -> Floats:
    order = sorted(examples, key=lambda one: order_key(_digest(one[0]), seed=seed, purpose="example"))
    labels = np.array([label for _, label, _ in order], np.float64)
    features, starts = _features(*packed([text for text, _, _ in order]), buckets, words)
    weights = _descend(features, starts, labels, _shares(order), buckets, epochs, rate, LOGISTIC)
    return weights.astype(np.float16).astype(np.float32)


def _shares(examples: Sequence[Example]) -> NDArray[np.float64]:
    """The weight of each example, 1 on average, so that in each group both kinds weigh the same."""
    cells = Counter((group, kind) for _, kind, group in examples)
    sizes = Counter(group for _, _, group in examples)
    return np.array([sizes[group] / (2 * cells[group, kind]) for _, kind, group in examples])


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _calibrate(raw: Classifier, held: Sequence[Example]) -> tuple[float, float]:
    """Slope and offset of the logistic curve from margins to labels, by Newton's method, with Platt's soft labels."""
    labels = np.array([label for _, label, _ in held])
    margins = raw.margins([text for text, _, _ in held])
    counts = np.array([(labels == 0).sum(), (labels == 1).sum()])
    target = np.where(labels == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
    share = _shares(held) / len(held)
    x = np.stack([margins, np.ones_like(margins)])
    found = np.array([1.0, 0.0])
    for _ in range(50):
        p = _probability(found @ x)
        slope = x @ (share * (p - target)) + 1e-6 * found
        curve = (x * (share * p * (1 - p))) @ x.T + 1e-6 * np.eye(2)
        found = found - np.clip(np.linalg.solve(curve, slope), -5, 5)
    return round(float(found[0]), 6), round(float(found[1]), 6)


def _probability(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))


LOGISTIC = np.array([round(1 / (1 + math.exp(-at / 64)), 9) for at in range(-512, 513)])
"""The logistic function from -8 to 8, rounded so that it is the same with every mathematics library."""


# -- on disk --------------------------------------------------------------------------------------------------------


def save(model: Classifier, folder: Path) -> None:
    """Write the model as `config.json` and `model.safetensors`: the buckets whose weight is not 0, and the weights."""
    buckets = np.flatnonzero(model.weights).astype(np.uint32)
    config = {"buckets": len(model.weights), "words": model.words, "slope": model.slope, "offset": model.offset}
    arrays: stored.Arrays = {"buckets": buckets, "weights": model.weights[buckets].astype(np.float16)}
    stored.save(folder, {"kind": KIND, "name": model.name, **config}, arrays)


def load(folder: Path) -> Classifier:
    """Read what `save` wrote.

    Raises:
        InputError: a file is missing, damaged, or of another kind of model.
    """
    keys = {"buckets": int, "words": int, "slope": float, "offset": float}
    config, arrays = stored.load(folder, KIND, keys, {"buckets": "uint32", "weights": "float16"})
    size, buckets, some = config["buckets"], arrays["buckets"], arrays["weights"]
    if not (0 < size <= MOST_BUCKETS and size & (size - 1) == 0 and 1 <= config["words"] <= MOST_WORDS):
        limits = f"a power of two up to {MOST_BUCKETS:,} and 1 to {MOST_WORDS}"
        raise InputError(f"{folder / stored.CONFIG}: buckets {size:,} and words {config['words']} are not {limits}")
    if buckets.ndim != 1 or buckets.shape != some.shape or (len(buckets) and buckets.max() >= size):
        raise InputError(f"{folder / stored.WEIGHTS}: buckets {buckets.shape} and weights {some.shape} do not fit")
    weights = np.zeros(size, np.float32)
    weights[buckets] = some
    return Classifier(config["name"], weights, config["words"], config["slope"], config["offset"])


# -- kernels --------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _margins(text: Bytes, starts: Places, weights: Floats, words: int) -> NDArray[np.float64]:
    mask = np.uint64(len(weights) - 1)
    found = np.zeros(len(starts) - 1)
    runs = np.zeros(words, np.uint64)
    for document in range(len(starts) - 1):
        at, end, total, count, known = starts[document], starts[document + 1], 0.0, 0, 0
        while True:
            word, at = next_word(text, at, end)
            if word == 0:
                break
            known = extend(runs, known, word)
            for length in range(known):
                total += weights[(runs[length] >> np.uint64(20)) & mask]
            count += known
        if count:
            found[document] = total / count
    return found


@njit(cache=True, nogil=True)
def _features(text: Bytes, starts: Places, buckets: int, words: int) -> tuple[NDArray[np.uint32], Places]:
    """The bucket of every run of words, text by text, and where those of each text start."""
    mask = np.uint64(buckets - 1)
    found = np.empty(len(text) * words, np.uint32)
    places = np.zeros(len(starts), np.int64)
    runs = np.zeros(words, np.uint64)
    count = 0
    for document in range(len(starts) - 1):
        at, end, known = starts[document], starts[document + 1], 0
        while True:
            word, at = next_word(text, at, end)
            if word == 0:
                break
            known = extend(runs, known, word)
            for length in range(known):
                found[count] = (runs[length] >> np.uint64(20)) & mask
                count += 1
        places[document + 1] = count
    return found[:count].copy(), places


@njit(cache=True, nogil=True)
def _descend(
    features: NDArray[np.uint32],
    starts: Places,
    labels: NDArray[np.float64],
    shares: NDArray[np.float64],
    buckets: int,
    epochs: int,
    rate: float,
    logistic: NDArray[np.float64],
) -> NDArray[np.float64]:
    weights, squares = np.zeros(buckets), np.full(buckets, 1e-8)
    bias, bias_squares = 0.0, 1e-8
    for _ in range(epochs):
        for example in range(len(labels)):
            mine = features[starts[example] : starts[example + 1]]
            if len(mine) == 0:
                continue
            scale = 1 / len(mine)
            margin = bias
            for bucket in mine:
                margin += weights[bucket] * scale
            place = min(max((margin + 8) * 64, 0.0), 1024.0)
            error = (logistic[int(place + 0.5)] - labels[example]) * shares[example]
            bias_squares += error * error
            bias -= rate * error / np.sqrt(bias_squares)
            step = error * scale
            for bucket in mine:
                squares[bucket] += step * step
                weights[bucket] -= rate * step / np.sqrt(squares[bucket])
    return weights
