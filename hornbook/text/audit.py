"""The audit of filters: whom does a filter remove more often than others?

The blocklist of C4 removed 42 % of the documents in African American English and 32 % of those in Hispanic-aligned
English, but 6 % of those in White-aligned English (Dodge et al. 2021, arXiv 2104.08758, section 5.3). So each filter is
tried on slices of text that differ in dialect, identity term or language, and what is told is its removal rate on each
with a Wilson 95 % interval, and the disparate removal ratio: the rate on a slice over that on its reference, which says
the same in other words. A ratio above 1.25 is a warning, unless it may well be chance.

A file of slices is JSONL, a row a text:

    {"text": "...", "slice": "dialect/aae", "reference": "dialect/standard", "toxic": false}

`reference` names the slice with which this one is compared. Rows with `"toxic": true` are what a filter should remove:
they count for its recall and not for its rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from hornbook.errors import EmptyInput, InputError
from hornbook.text import sentences
from hornbook.text.document import Document, Malformed
from hornbook.text.rates import wilson
from hornbook.text.read import read_rows

MOST = 1.25
"""Disparate removal ratio above which there is a warning: the four-fifths rule, the other way round."""
WORDS = 60
"""Of a text made from short ones, so that rules about whole documents have something to say."""

Filters = Callable[[Sequence[Document]], Sequence[str | None]]
"""A filter, asked for many documents at a time."""


@dataclass(frozen=True)
class Slices:
    """Texts by slice, the slice that each is compared with, and texts that should be removed."""

    texts: dict[str, list[str]]
    reference: dict[str, str]
    toxic: list[str] = field(default_factory=list)


def audit(
    filters: Sequence[tuple[str, Filters]],
    slices: Mapping[str, Sequence[str]],
    reference: Mapping[str, str],
    *,
    toxic: Sequence[str] = (),
) -> dict[str, Any]:
    """For each filter, and for all together: removal rates by slice, ratios, warnings, and the recall of toxic text.

    Returns a JSON-able table: `texts` of each slice, `filters` with a row each, and all `warnings`.
    """
    found = {name: {label: _removed(one, texts) for label, texts in slices.items()} for name, one in filters}
    caught = {name: _removed(one, toxic) for name, one in filters}
    together = {label: _any(removed[label] for removed in found.values()) for label in slices}
    everything = [*found.items(), ("all filters", together)]
    caught["all filters"] = _any(caught.values())
    rows = [_row(name, removed, caught[name], reference) for name, removed in everything]
    return {
        "texts": {name: len(texts) for name, texts in slices.items()},
        "reference": dict(reference),
        "toxic_texts": len(toxic),
        "filters": rows,
        "warnings": [warning for row in rows[: len(filters)] for warning in row["warnings"]],
    }


def joined(texts: Sequence[str], *, words: int = WORDS, overlap: bool = False) -> list[str]:
    """Documents of at least `words` words, each of texts that follow each other; a shorter rest is left out.

    With `overlap`, a document begins at every text, going on with the first after the last. Few texts are then many
    documents, and the intervals of their rates too narrow.
    """
    if overlap:
        return [_first([*texts[at:], *texts[:at]], words)[0] for at in range(len(texts))]
    documents, rest = list[str](), list(texts)
    while rest:
        document, used = _first(rest, words)
        if len(document.split()) >= words:
            documents.append(document)
        rest = rest[used:]
    return documents


def _first(texts: Sequence[str], words: int) -> tuple[str, int]:
    count = 0
    for used, text in enumerate(texts, 1):
        count += len(text.split())
        if count >= words:
            return "\n".join(texts[:used]), used
    return "\n".join(texts), len(texts)


def as_documents(slices: Slices, *, words: int = WORDS) -> Slices:
    """Slices of short texts as slices of documents; those of texts that mostly have `words` words are left alone.

    Where there are too few short texts for a hundred documents, the documents overlap (see `joined`).
    """
    lengths = sorted(len(text.split()) for texts in slices.texts.values() for text in texts)
    if lengths[len(lengths) // 2] >= words:
        return slices

    def made(texts: Sequence[str]) -> list[str]:
        return joined(texts, words=words, overlap=sum(len(text.split()) for text in texts) < 100 * words)

    return Slices({name: made(texts) for name, texts in slices.texts.items()}, slices.reference, made(slices.toxic))


# -- slices ---------------------------------------------------------------------------------------------------------


def built_in() -> Slices:
    """Sentences that come with the package: pairs of a dialect and the standard, identity terms, some languages."""
    texts, reference = dict[str, list[str]](), dict[str, str]()
    for dialect, pairs in sentences.PAIRS.items():
        name, plain = f"dialect/{dialect}", f"dialect/standard of {dialect}"
        texts[name], texts[plain] = ([pair[side] for pair in pairs] for side in (0, 1))
        reference[name] = plain
    for kind, terms in sentences.TERMS.items():
        rounds = product(range(len(terms)), enumerate(sentences.FRAMES))
        # Another term with each frame, so that texts that follow each other differ in both.
        texts[f"identity/{kind}"] = [frame.format(terms[(at + turn) % len(terms)]) for turn, (at, frame) in rounds]
        reference[f"identity/{kind}"] = "identity/none"
    del reference["identity/none"]
    texts |= {f"language/{name}": list(lines) for name, lines in sentences.LANGUAGES.items()}
    return Slices(texts, reference, list(sentences.TOXIC))


def read_slices(path: Path) -> Slices:
    """Slices from a file of rows (.jsonl, .parquet, also .gz or .zst).

    Raises:
        InputError: a row has no text or no slice, a reference that is no slice, or another one than the slice's others.
        EmptyInput: no row that is not toxic.
    """
    slices = Slices({}, {})
    for number, row in enumerate(read_rows(path), 1):
        if isinstance(row, Malformed):
            raise InputError(f"{path}, row {row.row}: {row.reason}", hint=ROW_HINT)
        _add(slices, row, f"{path}, row {number}")
    if not slices.texts:
        raise EmptyInput(f"{path} holds no slice", hint=ROW_HINT)
    for name, other in slices.reference.items():
        if other not in slices.texts:
            known = ", ".join(sorted(slices.texts))
            raise InputError(f'{path}: the reference of "{name}" is "{other}"', hint=f"the slices are: {known}")
    return slices


ROW_HINT = 'a row is like {"text": "...", "slice": "dialect/aae", "reference": "dialect/standard", "toxic": false}'


def _add(slices: Slices, row: Document, where: str) -> None:
    toxic = row.metadata.get("toxic", "false")
    if toxic not in ("true", "false"):
        raise InputError(f"{where}: toxic is {toxic!r}", hint="it is true or false")
    if toxic == "true":
        slices.toxic.append(row.text)
        return
    if not (name := row.metadata.get("slice", "")):
        raise InputError(f"{where}: no slice", hint=ROW_HINT)
    slices.texts.setdefault(name, []).append(row.text)
    other = row.metadata.get("reference", "")
    if other and slices.reference.setdefault(name, other) != other:
        known = slices.reference[name]
        raise InputError(f'{where}: the reference of "{name}" is "{other}"', hint=f'before, it was "{known}"')


# -- rates ----------------------------------------------------------------------------------------------------------


Removed = list[bool]
"""For each text of a slice, whether it is removed."""


def _row(
    name: str, removed: Mapping[str, Removed], caught: Removed, reference: Mapping[str, str]
) -> dict[str, Any]:
    overall = _rate([one for slice in removed.values() for one in slice])
    rates = {label: _rate(slice) for label, slice in removed.items()}
    for label, rate in rates.items():
        rate["ratio_to_all"] = _ratio(rate, overall)
        if label in reference:
            rate["ratio"] = _ratio(rate, rates[reference[label]])
    return {
        "filter": name,
        "overall": overall,
        "slices": rates,
        "recall": _rate(caught) if caught else None,
        "warnings": list(_warnings(name, rates, reference)),
    }


def _removed(filters: Filters, texts: Sequence[str]) -> Removed:
    reasons = filters([Document(str(at), text, "audit") for at, text in enumerate(texts)])
    return [reason is not None for reason in reasons]


def _any(slices: Iterable[Removed]) -> Removed:
    return [any(removed) for removed in zip(*slices, strict=True)]


def _rate(removed: Removed) -> dict[str, Any]:
    hits, trials = sum(removed), len(removed)
    interval = [round(bound, 4) for bound in wilson(hits, trials)]
    return {"removed": hits, "texts": trials, "rate": round(hits / trials, 4) if trials else 0.0, "interval": interval}


def _ratio(rate: Mapping[str, Any], other: Mapping[str, Any]) -> float | None:
    """The rates' ratio; 1 where nothing is removed in either; None where nothing is removed in the other alone."""
    if not other["removed"]:
        return None if rate["removed"] else 1.0
    ratio = rate["removed"] * other["texts"] / (other["removed"] * rate["texts"]) if rate["texts"] else 1.0
    return round(ratio, 3)


def _warnings(name: str, rates: Mapping[str, Mapping[str, Any]], reference: Mapping[str, str]) -> Iterator[str]:
    """Ratios above MOST that are more than chance: neither interval holds the other's rate."""
    for label, other in reference.items():
        ratio = rates[label]["ratio"]
        if (ratio is None or ratio > MOST) and _differ(rates[label], rates[other]):
            times = "and nothing" if ratio is None else f"{ratio:.2f} times the rate"
            low, high = rates[label]["interval"]
            yield f"{name} removes {rates[label]['rate']:.2f} ({low:.2f} to {high:.2f}) of {label}, {times} of {other}"


def _differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    low, high = other["interval"]
    return one["interval"][0] > other["rate"] and not low <= one["rate"] <= high
