"""classify: train a small model that judges texts, for `curate` to filter with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from hornbook.config import Bounds
from hornbook.errors import EmptyInput, InputError, UsageError
from hornbook.manifest import MANIFEST
from hornbook.run import Run
from hornbook.text import classifier as linear
from hornbook.text import perplexity as ngrams
from hornbook.text.document import Document, Malformed
from hornbook.text.files import find_files, hash_file
from hornbook.text.rates import at_threshold, best_threshold, roc_auc, wilson
from hornbook.text.read import read_rows

MAKES = "classifier"
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
SHOWN = 5
"""Texts told of as examples of a mistake."""

Texts = tuple[list[str], list[str]]
"""Positive and negative; or the group of each of these."""


@dataclass(frozen=True)
class Classify:
    """Train a small model that judges texts, for `curate` to filter with."""

    positives: str
    """Texts of the kind to recognize: a file, folder, glob or run of `curate`; several are divided by spaces."""
    _: KW_ONLY
    negatives: str = ""
    """Texts of the other kind, given in the same way."""
    label: str = ""
    """Which rows of `positives` are positive, such as `toxic=true`; the others are negative."""
    group: str = ""
    """A field such as `dialect` or `source` that must say nothing of the kind: rows are weighed so (linear)."""
    kind: Literal["linear", "perplexity"] = "linear"
    """linear: the probability of the positive kind. perplexity: bits per byte under a model of the positives alone."""
    name: str = "quality"
    """How the model is called where it gives its reasons."""
    words: Annotated[int, Bounds(least=1, most=linear.MOST_WORDS)] = 2
    """Words of the longest run that has a weight (linear)."""
    held_out: Annotated[float, Bounds(above=0, below=1)] = 0.1
    """Fraction of the texts that the model is measured on and not taught."""
    seed: int = 0
    """Chooses the texts that are held out."""

    def __post_init__(self) -> None:
        if self.label and not all(self.label.partition("=")):
            raise UsageError(f"label is {self.label!r}", hint="it is like toxic=true: a field and its value")
        if self.kind == "linear" and not (self.negatives or self.label):
            hint = "give negatives, or label where positives hold both kinds, or kind = perplexity, which needs none"
            raise UsageError("a linear classifier needs texts of two kinds", hint=hint)


def fingerprint(config: Classify) -> object:
    """The files that the sources stand for and their hashes: other files are another run."""
    return [[name, hash_file(path)] for source in (config.positives, config.negatives) for name, path in _files(source)]


def classify(config: Classify, run: Run) -> None:
    """Train, measure on the texts held out, and write the model's folder."""
    texts, groups = _read(config, run)
    parts = [linear.split(some, held_out=config.held_out, seed=config.seed) for some in texts]
    held = (parts[0][1], parts[1][1])
    _check(config, texts, held)
    run.say(f"learning from {sum(len(text) for part in parts for text in part[0]) / 1e6:.1f} MB of text")
    if config.kind == "linear":
        model = linear.train(
            *texts, groups=groups, name=config.name, words=config.words, held_out=config.held_out, seed=config.seed
        )
        linear.save(model, run.out)
        _tell_linear(run, model, held)
        if config.group:
            of = dict(sorted(zip(texts[1], groups[1], strict=True)))
            _tell_groups(run, model, held[1], [of[text] for text in held[1]])
    else:
        other = ngrams.train(parts[0][0], name=config.name)
        ngrams.save(other, run.out)
        _tell_perplexity(run, other, held)


# -- texts ----------------------------------------------------------------------------------------------------------


def _files(sources: str) -> list[tuple[str, Path]]:
    """The files of all sources; of a run of `curate`, its documents."""
    found = list[tuple[str, Path]]()
    for source in [sources] if sources and Path(sources).exists() else sources.split():
        is_run = (Path(source) / MANIFEST).is_file()
        found += find_files(f"{source}/documents*.parquet" if is_run else source)
    return found


def _read(config: Classify, run: Run) -> tuple[Texts, Texts]:
    """Texts and their groups."""
    texts: Texts = [], []
    groups: Texts = [], []
    for side, source in enumerate((config.positives, config.negatives) if config.negatives else (config.positives,)):
        for document, place in _documents(_files(source), run):
            kind = side
            if config.label and side == 0:
                field, _, value = config.label.partition("=")
                kind = int(_field(document, field, place) != value)
            texts[kind].append(document.text)
            groups[kind].append(_field(document, config.group, place) if config.group else "")
    run.count(positives=len(texts[0]), negatives=len(texts[1]))
    return texts, groups


def _field(document: Document, name: str, place: str) -> str:
    if name == "source":
        return document.source
    if name not in document.metadata:
        raise InputError(f"{place}: no field {name}", hint=f"it has: {', '.join(sorted(document.metadata)) or 'text'}")
    return document.metadata[name]


def _documents(files: Sequence[tuple[str, Path]], run: Run) -> Iterator[tuple[Document, str]]:
    with run.progress("classify", total=len(files), unit="files") as bar:
        for name, path in files:
            for number, row in enumerate(read_rows(path, name=name), 1):
                if isinstance(row, Malformed):
                    run.say(f"{row.file}, row {row.row}: {row.reason}; left out")
                    run.count(malformed=1)
                elif row.text.strip():
                    yield row, f"{name}, row {number}"
            bar.advance()


def _check(config: Classify, texts: Texts, held: Texts) -> None:
    for kind, some, others in zip(("positive", "negative"), texts, held, strict=True):
        if kind == "negative" and config.kind == "perplexity":
            continue
        if not some:
            hint = f"no row has {config.label}" if config.label else f"{config.positives} holds no text"
            raise EmptyInput(f"there is no {kind} text", hint=hint if kind == "positive" else "see negatives and label")
        if not others or len(others) == len(set(some)):
            hint = f"{len(some):,} texts and held_out = {config.held_out:g}; give more, or another fraction"
            raise EmptyInput(f"no {kind} text is left to learn from, or none is held out", hint=hint)


# -- what is told ---------------------------------------------------------------------------------------------------


def _tell_linear(run: Run, model: linear.Classifier, held: Texts) -> None:
    scores = [model.score(texts) for texts in held]
    suggested = best_threshold(scores[0], scores[1])
    run.result(
        kind="linear",
        name=model.name,
        held_out={"positive": len(held[0]), "negative": len(held[1])},
        roc_auc=round(roc_auc(scores[0], scores[1]), 4),
        thresholds=[at_threshold(scores[0], scores[1], threshold) for threshold in THRESHOLDS],
        suggested=at_threshold(scores[0], scores[1], suggested),
        missed=_examples(held[0], scores[0], highest=False),
        mistaken=_examples(held[1], scores[1], highest=True),
    )
    run.say(f"ROC-AUC {run.results['roc_auc']:.3f} on texts held out; suggested threshold {suggested:g}")


def _tell_groups(run: Run, model: linear.Classifier, negatives: Sequence[str], groups: Sequence[str]) -> None:
    """How often negatives of each group are taken for positive: for toxic text, whose harmless text is removed."""
    threshold = run.results["suggested"]["threshold"]
    taken = model.score(negatives) >= threshold
    table = {}
    for group in sorted(set(groups)):
        mine = [bool(one) for one, other in zip(taken, groups, strict=True) if other == group]
        low, high = wilson(sum(mine), len(mine))
        rate = round(sum(mine) / len(mine), 4)
        table[group] = {"negatives": len(mine), "mistaken": rate, "interval": [round(low, 4), round(high, 4)]}
    run.result(groups=table)


def _examples(texts: Sequence[str], scores: Any, *, highest: bool) -> list[dict[str, Any]]:
    """The texts with the most misleading scores."""
    order = sorted(range(len(texts)), key=lambda at: (-scores[at] if highest else scores[at], at))[:SHOWN]
    return [{"score": round(float(scores[at]), 4), "text": texts[at][:200]} for at in order]


def _tell_perplexity(run: Run, model: ngrams.Perplexity, held: Texts) -> None:
    """Bits per byte of the texts held out: a third is head, a third middle, a third tail (CCNet, section 3.2)."""
    positive, negative = (sorted(float(bits) for bits in model.score(texts)) for texts in held)
    run.result(
        kind="perplexity",
        name=model.name,
        runs=len(model.hashes),
        held_out={"positive": len(positive), "negative": len(negative)},
        bits_per_byte={"positive": _quantiles(positive), "negative": _quantiles(negative)},
    )
    if negative:
        auc = roc_auc([-bits for bits in positive], [-bits for bits in negative])
        run.result(roc_auc=round(auc, 4))
    run.say(f"{_quantiles(positive)['median']:.2f} bits per byte of texts held out")


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    """Where the head ends, the middle's middle, and where the tail begins."""
    named = {"head": 1 / 3, "median": 1 / 2, "tail": 2 / 3, "most": 0.95}
    return {name: round(values[int(share * (len(values) - 1))], 4) for name, share in named.items()} if values else {}
