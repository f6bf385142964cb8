"""Quality rules: Gopher's, C4's and FineWeb's against datatrove's four filters, and against dolma's taggers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from inputs import texts
from measure import Measured, Peer, Row, Stopwatch, main

GOPHER = (
    *("gopher_repeated_lines", "gopher_repeated_paragraphs", "gopher_top_ngrams", "gopher_repeated_ngrams"),
    *("gopher_length", "gopher_word_length", "gopher_symbols", "gopher_bullets", "gopher_ellipses"),
    *("gopher_alphabetic", "gopher_stop_words"),
)
C4 = ("c4_sentences", "c4_lorem_ipsum", "c4_curly_bracket")
FINEWEB = ("fineweb_line_punctuation", "fineweb_short_lines", "fineweb_duplicate_lines", "fineweb_new_lines")
"""The rules of datatrove's GopherRepetitionFilter and GopherQualityFilter, C4QualityFilter, FineWebQualityFilter."""
SLICE = 1.5
"""Megabytes of the texts that a peer gets, about: it is slow, and speed does not depend on how many there are."""
CONFIG = f"GopherRepetition, GopherQuality, C4Quality, FineWebQuality; every n-th text, {SLICE} MB"


def rules(*, megabytes: float) -> Measured:
    """All rules, on statistics counted once."""
    from hornbook.text.document import Document
    from hornbook.text.rules.quality import chosen

    table = {name: {"after_c4": True} if name in FINEWEB else {} for name in (*GOPHER, *C4, *FINEWEB)}
    chosen_rules, batch = chosen(table), 256
    documents = [Document(str(at), text, "") for at, text in enumerate(texts(megabytes))]
    chosen_rules([Document("", "Compile the kernels, then begin. " * 20, "")])
    with Stopwatch() as watch:
        reasons = [
            reason for at in range(0, len(documents), batch) for reason in chosen_rules(documents[at : at + batch])
        ]
    return _measured([document.text for document in documents], [reason is None for reason in reasons], watch.cpu)


def rules_datatrove(*, megabytes: float) -> Measured:
    """datatrove's four filters in a row, as they are by default. FineWeb's reads what C4's has rewritten."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    filters = (GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter())
    given, step = _some(megabytes)

    def verdict(text: str) -> bool:
        document = Document(text=text, id="")
        return all(check.filter(document) is True for check in filters)

    verdict("Load the tokenizer, now. " * 20)
    return _timed(given, verdict, step)


def rules_dolma(*, megabytes: float) -> Measured:
    """dolma's taggers gopher_v2 and c4_v2, which compute attributes and decide nothing."""
    from dolma.core.data_types import Document
    from dolma.core.registry import TaggerRegistry

    taggers = [TaggerRegistry.get(name)() for name in ("gopher_v2", "c4_v2")]
    given, step = _some(megabytes)

    def tag(text: str) -> None:
        for tagger in taggers:
            tagger.predict(Document(source="", id="", text=text))

    tag("Warm up, now. " * 20)
    return _timed(given, tag, step)


def _some(megabytes: float) -> tuple[list[str], int]:
    """Every n-th of the texts, so that all sources are there in their proportions, and n."""
    step = max(1, math.ceil(megabytes / SLICE))
    return texts(megabytes)[::step], step


def _timed(given: list[str], verdict: Callable[[str], bool | None], step: int) -> Measured:
    with Stopwatch() as watch:
        kept = [verdict(text) for text in given]
    return _measured(given, kept, watch.cpu, step)


def _measured(given: list[str], kept: list[Any], seconds: float, step: int = 1) -> Measured:
    size = sum(len(text.encode()) for text in given) / 1e6
    notes = {"documents": len(kept), "megabytes": round(size, 1), "_kept": kept, "_step": step}
    return Measured(size / seconds, {**notes, "kept": sum(map(bool, kept))})


def agreement(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """The share of the documents that both have seen on which both decide the same."""
    same = [a == b for a, b in zip(ours["_kept"][:: theirs["_step"]], theirs["_kept"], strict=True)]
    return {"agreement": round(sum(same) / len(same), 4), "agreement_documents": len(same)}


TAGGERS = f"taggers gopher_v2, c4_v2; every n-th text, {SLICE} MB"
TEXT, SIZES = "MB of text/CPU-s", {"10 MB": {"megabytes": 10}, "100 MB": {"megabytes": 100}}
ROWS = (
    Row("rules-datatrove", TEXT, SIZES, rules, (Peer(rules_datatrove, "datatrove", config=CONFIG),), compare=agreement),
    Row("rules-dolma", TEXT, SIZES, rules, (Peer(rules_dolma, "dolma", config=TAGGERS),)),
)

if __name__ == "__main__":
    main(ROWS)
