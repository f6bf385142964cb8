"""HTML to main text: speed, and how near the text is to what people have marked.

The trees of `hornbook.text.pages.content` were trained on the pages that HORNBOOK_DATA has by default: there the F1 is
too good. It tells something on other pages, and in cross-validation, which `train_content.py` does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

from inputs import pages
from measure import Measured, Peer, Row, Stopwatch, main


def extract(*, megabytes: float) -> Measured:
    """Our main text, title, language, licence, date, canonical address and meta."""
    from hornbook.text.pages.extract import extract_html

    return _extracted(megabytes, lambda html: extract_html(html.encode(), main_content=True).text)


def extract_trafilatura(*, megabytes: float) -> Measured:
    """trafilatura in its fast mode."""
    from trafilatura import extract

    return _extracted(megabytes, lambda html: extract(html, fast=True, include_comments=False) or "")


def extract_resiliparse(*, megabytes: float) -> Measured:
    """resiliparse's main content, nothing else."""
    from resiliparse.extract.html2text import extract_plain_text

    return _extracted(megabytes, lambda html: extract_plain_text(html, main_content=True, alt_texts=False))


def _extracted(megabytes: float, work: Callable[[str], str]) -> Measured:
    found = pages(megabytes)
    size = sum(len(page["html"].encode()) for page in found) / 1e6
    work(found[0]["html"])
    with Stopwatch() as watch:
        said = [work(page["html"]) for page in found]
    # Pages come round again where many megabytes are asked for; each counts once.
    golds = {page["html"]: (page["gold"], text) for page, text in zip(found, said, strict=True) if "gold" in page}
    return Measured(size / watch.cpu, {"pages": len(found), **(scores(golds.values()) if golds else {})})


def scores(pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Precision, recall and F1 of runs of four words, every page with equal weight (Article Extraction Benchmark)."""
    right = wrong = missed = 0.0
    for gold, text in pairs:
        wanted, found = _runs(gold), _runs(text)
        total = (wanted | found).total() or 1
        right += (wanted & found).total() / total
        wrong += (found - wanted).total() / total
        missed += (wanted - found).total() / total
    precision, recall = right / ((right + wrong) or 1), right / ((right + missed) or 1)
    f1 = 2 * right / ((2 * right + wrong + missed) or 1)
    return {"f1": round(f1, 4), "precision": round(precision, 4), "recall": round(recall, 4)}


def _runs(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    size = max(1, min(4, len(words)))
    return Counter(zip(*(words[at:] for at in range(size)), strict=False))


ROWS = (
    Row(
        "extract",
        "MB of HTML/CPU-s",
        {"10 MB": {"megabytes": 10}, "100 MB": {"megabytes": 100}},
        extract,
        (
            Peer(extract_trafilatura, "trafilatura", config="fast"),
            Peer(extract_resiliparse, "resiliparse", label="resiliparse", config="main content"),
        ),
    ),
)

if __name__ == "__main__":
    main(ROWS)
