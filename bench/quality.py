"""Filters that judge: how well quality scores agree with people, and whom filters of toxic text remove.

No race: the numbers are of ours alone, computed from HORNBOOK_DATA. No label of quality/ is learned from. Texts that
toxicity is measured on (two fifths, by a keyed hash) are not learned from either; HateCheck is not learned from at all.
"""

from __future__ import annotations

import gzip
import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from inputs import pages, rows
from measure import DATA, Measured, Row, main

Removes = Callable[[Sequence[str]], Any]
"""Of each text, whether it is removed."""

NO_DATA = Measured(0.0, {"left_out": "HORNBOOK_DATA has no texts that people have labelled"})

# -- quality ----------------------------------------------------------------------------------------------------------


def quality_auc(*, megabytes: float) -> Measured:
    """ROC-AUC against people's judgement of 303 pages, none of whose labels was learned from."""
    from hornbook.text import classifier, perplexity

    judged = rows("quality/dclm_human_quality")
    if not judged:
        return NO_DATA
    texts = [row["text"] for row in judged]
    reference = [row["text"] for name in ("wikipedia_en_30", "books_valid") for row in rows(f"text/{name}")]
    whole, kept, left = _parts_of_pages(megabytes)
    usual = perplexity.train(reference[:30]).score(texts)
    scores = {
        "classifier_reference_or_crawl": classifier.train(reference, whole).margins(texts),
        "classifier_reference_or_boilerplate": classifier.train(reference, left).margins(texts),
        "classifier": classifier.train([*reference, *kept], left).margins(texts),
        "perplexity": -usual,
        "rules": _rules_passed(texts),
        "length": [len(text.split()) for text in texts],
    }
    scores["classifier_and_perplexity"] = _standard(scores["classifier"]) - _standard(usual)
    notes = {name: _auc(judged, found) for name, found in scores.items()}
    sure = [row["unanimous"] for row in judged]
    clear = ("classifier", "perplexity", "rules")
    unanimous = {f"{name}_unanimous": _auc(judged, scores[name], sure) for name in clear}
    return Measured(notes["classifier"], {"documents": len(judged), **notes, **unanimous})


def _parts_of_pages(megabytes: float) -> tuple[list[str], list[str], list[str]]:
    """English pages as a whole, their main text, and what is neither title nor main text."""
    from hornbook.text.language import identify
    from hornbook.text.pages.extract import extract_html

    whole, kept, left = [], [], []
    for page in pages(megabytes):
        text, rest = (extract_html(page["html"].encode(), main_content=only).text for only in (True, False))
        if identify(rest)[0] == "en" and text:
            lines = set(map(str.strip, text.split("\n")))
            whole.append(rest)
            kept.append(text)
            left.append("\n".join(line for line in rest.split("\n") if line.strip() not in lines))
    return whole, kept, left


def _rules_passed(texts: Sequence[str]) -> list[int]:
    from hornbook.text.document import Document
    from hornbook.text.rules.quality import FILTERS, chosen

    names = [one.__name__ for one in FILTERS if one.__name__.startswith(("gopher", "c4"))]
    rules = list(chosen({name: {} for name in names}))
    return [sum(rule(Document("", text, "")) is None for rule in rules) for text in texts]


def _auc(judged: Sequence[dict[str, Any]], scores: Any, only: Sequence[bool] | None = None) -> float:
    from hornbook.text.rates import roc_auc

    sides: tuple[list[float], list[float]] = ([], [])
    for row, score, taken in zip(judged, scores, only or [True] * len(judged), strict=True):
        if taken:
            sides[1 - row["label"]].append(float(score))
    return round(roc_auc(*sides), 3)


def _standard(values: Any) -> Any:
    return (np.asarray(values) - np.mean(values)) / np.std(values)


# -- toxicity ---------------------------------------------------------------------------------------------------------

THRESHOLD = 0.55
OFFENSIVE = 0.2
"""Share of the tweets labelled offensive, but not hateful, that are learned from, as not toxic."""


def toxicity_audit() -> Measured:
    """Removal of African American English against White-aligned English, and recall, of three filters."""
    from hornbook.text.abuse import abuse
    from hornbook.text.safety import blocklist

    if not rows("safety/davidson_tweets"):
        return NO_DATA
    data = Labelled()
    model = data.train()
    phrases = tuple(sorted({row["term"] for row in rows("safety/ldnoobw") if row["lang"] == "en"}))
    sides: dict[str, Removes] = {
        "abuse": _removes(abuse),
        "model": lambda texts: model.score(texts) >= THRESHOLD,
        "blocklist": _removes(partial(blocklist, phrases=phrases)),
    }
    notes = {f"{name}_{key}": value for name, side in sides.items() for key, value in data.measure(side).items()}
    own = {"ratio_dialect": notes["abuse_ratio_neither"], "recall": notes["abuse_recall"]}
    return Measured(own["ratio_dialect"], {**own, "recall_blocklist": notes["blocklist_recall"], **notes})


def _removes(function: Callable[..., str | None]) -> Removes:
    from hornbook.text.document import Document

    return lambda texts: np.array([function(Document("", text, "")) is not None for text in texts])


def _key(text: str, purpose: str) -> float:
    """A number from 0 to 1 that depends on the text alone."""
    from hornbook.text.document import order_key

    return order_key(text, seed=0, purpose=purpose) / 2**63


def _tested(text: str) -> bool:
    return _key(text, "x") >= 0.6


class Labelled:
    """The labelled texts of safety/, tweets with the dialect that their words are typical of."""

    def __init__(self) -> None:
        self.comments = [
            (row["text"], bool(row["toxic"]), name)
            for name in ("wiki_talk_toxicity", "surge_toxicity", "identity_templates")
            for row in rows(f"safety/{name}")
        ]
        self.tests = [(row["test_case"], row["label_gold"] == "hateful") for row in rows("safety/hatecheck")]
        dialects = Dialects()
        self.tweets = [(row["text"], row["label"], dialects.of(row["text"])) for row in rows("safety/davidson_tweets")]
        self.pairs = [(row["dialect"], row["sae"]) for row in rows("safety/dialect_pairs")]

    def train(self) -> Any:
        """A model of toxic text that no dialect and no source says anything of (see `classifier.train`)."""
        from hornbook.text.classifier import train

        found = [one for one in self.comments if not _tested(one[0])]
        for text, label, dialect in self.tweets:
            if not _tested(text) and (label != "offensive" or _key(text, "f") < OFFENSIVE):
                found.append((text, label == "hate", f"tweets/{dialect}"))
        found += [(text, False, "pairs") for pair in self.pairs if not _tested(pair[1]) for text in pair]
        sides = [[one for one in found if one[1] == toxic] for toxic in (True, False)]
        texts, groups = ([[one[place] for one in side] for side in sides] for place in (0, 2))
        return train(*texts, groups=(groups[0], groups[1]), name="toxicity")

    def measure(self, removes: Removes) -> dict[str, Any]:
        """Rates on the texts that are not learned from."""
        notes: dict[str, Any] = {}
        toxic: dict[str, list[str]] = defaultdict(list, hatecheck=[text for text, hateful in self.tests if hateful])
        calm: dict[str, list[str]] = defaultdict(list, hatecheck=[text for text, hateful in self.tests if not hateful])
        for text, is_toxic, name in self.comments:
            if _tested(text):
                (toxic if is_toxic else calm)[name].append(text)
        toxic["tweets"] = [text for text, label, _ in self.tweets if label == "hate" and _tested(text)]
        for name, texts in toxic.items():
            notes[f"recall_{name}"] = round(float(removes(texts).mean()), 3)
        for name, texts in calm.items():
            notes[f"false_{name}"] = round(float(removes(texts).mean()), 3)
        notes["recall"] = round(sum(notes[f"recall_{name}"] for name in toxic) / len(toxic), 3)
        for name, labels in (("neither", ("neither",)), ("not_hate", ("neither", "offensive"))):
            notes |= self._ratio(removes, name, labels)
        sides = [removes([pair[side] for pair in self.pairs if _tested(pair[1])]) for side in (0, 1)]
        return notes | _shares("pairs", *sides)

    def _ratio(self, removes: Removes, name: str, labels: Sequence[str]) -> dict[str, Any]:
        tweets = [one for one in self.tweets if one[1] in labels and _tested(one[0])]
        sides = (removes([text for text, _, dialect in tweets if dialect == wanted]) for wanted in ("aae", "white"))
        return _shares(name, *sides)


def _shares(name: str, one: Any, other: Any) -> dict[str, Any]:
    from hornbook.text.rates import wilson

    rates = [float(np.mean(side)) for side in (one, other)]
    ratio = rates[0] / rates[1] if rates[1] else (1.0 if not rates[0] else math.inf)
    bounds = [[round(bound, 3) for bound in wilson(int(np.sum(side)), len(side))] for side in (one, other)]
    told = f"{rates[0]:.3f} {bounds[0]} / {rates[1]:.3f} {bounds[1]}"
    return {f"ratio_{name}": round(ratio, 3), f"rates_{name}": told}


class Dialects:
    """The model of Blodgett et al. (2016) of the words of four groups of Twitter users in the United States."""

    def __init__(self) -> None:
        counts: dict[str, list[float]] = {}
        with gzip.open(DATA / "safety/twitteraae_model.tsv.gz", "rt", encoding="utf-8") as stream:
            for line in stream:
                _, word, *values = line.rstrip("\n").split("\t")
                counts[word] = list(map(float, values))
        table = np.array(list(counts.values()))
        self.places = {word: at for at, word in enumerate(counts)}
        self.chances = table / table.sum(axis=0)

    def of(self, text: str) -> str:
        """Whose words make up more than half of a text, by expectation maximization with a flat prior."""
        plain = re.sub(r"@\w+|https?\S+|&\w+;|\brt\b", "", text.lower())
        words = [self.places[word] for word in re.findall(r"[a-z']+|[0-9]+|[^\sa-z0-9]", plain) if word in self.places]
        shares = np.full(4, 0.25)
        for _ in range(30 if words else 0):
            weights = self.chances[words] * shares
            shares = ((weights / weights.sum(axis=1, keepdims=True)).sum(axis=0) + 0.25) / (len(words) + 1)
        return "aae" if shares[0] > 0.5 else "white" if shares[3] > 0.5 else "other"


ROWS = (
    Row("quality-auc", "ROC-AUC", {"20 MB": {"megabytes": 20}}, quality_auc, repeats=1),
    Row("toxicity-audit", "ratio", {"safety": {}}, toxicity_audit, less_is_better=True, repeats=1),
)

if __name__ == "__main__":
    main(ROWS)
