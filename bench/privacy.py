"""Personal data and blocklists: found in text, against plain regular expressions and datatrove's formatter."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from inputs import made_up, rows, texts
from measure import Measured, Peer, Row, Stopwatch, main

WORST = ("a.", "@", "1", "+1 ", "::", "<", "a@", "1.1.1.", "DE89 ", "2001:", "a@b.co +49 30 1234567 ")
"""What adversarial texts repeat."""

KILOBYTES = (5, 20, 80, 320)
SECONDS = 0.3
"""A text that takes longer is the last of its kind."""


@lru_cache(maxsize=1)
def phrases() -> tuple[str, ...]:
    """300 words and phrases: of LDNOOBW's English list where the data is, else made up."""
    real = [row["term"] for row in rows("safety/ldnoobw") if row["lang"] == "en"]
    return tuple(sorted(real or made_up(1, 600).split())[:300])


def pii(*, megabytes: float) -> Measured:
    """All default kinds masked, and the blocklist."""
    from hornbook.text.document import Document
    from hornbook.text.privacy import find, mask
    from hornbook.text.safety import blocklist

    listed = phrases()

    def work(text: str) -> tuple[str, bool]:
        return mask(text)[0], blocklist(Document("", text, ""), phrases=listed) is not None

    def spans(text: str) -> list[tuple[int, int, str]]:
        return [(span.start, span.end, span.kind) for span in find(text)]

    kinds = ("email", "phone", "credit_card", "iban", "ipv4")
    return _measured(megabytes, work, {**_quality(spans, kinds), **_slopes(lambda text: mask(text))})


PLAIN = {
    "email": r"[A-Za-z0-9._%+\-]+@[A-Za-z0-9.\-]+\.[A-Za-z]{2,}",
    "iban": r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b",
    "credit_card": r"\b(?:[0-9][ \-]*?){13,19}\b",
    "ipv4": r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b",
    "phone": r"\+?[0-9]{0,3}[ .\-]?\(?[0-9]{3}\)?[ .\-]?[0-9]{3}[ .\-]?[0-9]{4}\b",
}
"""What one writes down first for the same kinds."""


def pii_re(*, megabytes: float) -> Measured:
    """Python's re: a plain pattern a kind, and one for the blocklist."""
    patterns = {kind: re.compile(pattern) for kind, pattern in PLAIN.items()}
    listed = re.compile(rf"(?:^|\W)(?:{'|'.join(map(re.escape, phrases()))})(?:\W|$)", re.IGNORECASE)

    def masked(text: str) -> str:
        for kind, pattern in patterns.items():
            text = pattern.sub(f"<{kind}>", text)
        return text

    def spans(text: str) -> list[tuple[int, int, str]]:
        return [(*match.span(), kind) for kind, pattern in patterns.items() for match in pattern.finditer(text)]

    work = lambda text: (masked(text), listed.search(text) is not None)  # noqa: E731
    return _measured(megabytes, work, {**_quality(spans, tuple(PLAIN)), **_slopes(masked)})


def pii_datatrove(*, megabytes: float) -> Measured:
    """datatrove's formatter (e-mail and public IPv4 only) and its blocklist of C4, with the same words."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4BadWordsFilter
    from datatrove.pipeline.formatters import PIIFormatter

    formatter, filtering = PIIFormatter(), C4BadWordsFilter()
    # What the filter itself builds of the list that it downloads.
    listed = "|".join(re.escape(phrase) for phrase in phrases())
    filtering._badwords_regex["en"] = re.compile(rf"(?:\W|^)({listed})(?:\W|$)")

    def work(text: str) -> tuple[str, bool]:
        return formatter.format(text), filtering.filter(Document(text=text, id="")) is not True

    def spans(text: str) -> list[tuple[int, int, str]]:
        replacers = (("email", formatter.emails_replacer), ("ipv4", formatter.ip_replacer))
        return [(*match.span(), kind) for kind, replacer in replacers for match in replacer.regex.finditer(text)]

    return _measured(megabytes, work, {**_quality(spans, ("email", "ipv4")), **_slopes(formatter.format)})


def _measured(megabytes: float, work: Callable[[str], tuple[str, bool]], notes: dict[str, Any]) -> Measured:
    documents = texts(megabytes)
    size = sum(len(text.encode()) for text in documents) / 1e6
    for text in documents[:200]:  # kernels compiled, automata built
        work(text)
    with Stopwatch() as watch:
        done = [work(text) for text in documents]
    changed = sum(before != after for before, (after, _) in zip(documents, done, strict=True))
    return Measured(size / watch.cpu, {"changed": changed, "listed": sum(bad for _, bad in done), **notes})


# -- how much of it is found ------------------------------------------------------------------------------------------

TYPES = {"EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "CREDIT_CARD": "credit_card", "IBAN_CODE": "iban"}
TYPES |= {"IP_ADDRESS": "ipv4"}


def _quality(find: Callable[[str], Iterable[tuple[int, int, str]]], kinds: tuple[str, ...]) -> dict[str, float]:
    """Precision and recall by kind on Presidio's sentences: a span is found if one of its kind overlaps it."""
    right, wrong, missed = Counter[str](), Counter[str](), Counter[str]()
    for row in rows("safety/pii_presidio"):
        gold = [(span["start"], span["end"], TYPES[span["type"]]) for span in row["spans"] if span["type"] in TYPES]
        found = list(find(row["text"]))
        right.update(span[2] for span in found if _overlaps(span, gold))
        wrong.update(span[2] for span in found if not _overlaps(span, gold))
        missed.update(span[2] for span in gold if not _overlaps(span, found))
    measured = {}
    for kind in kinds:
        measured[f"precision_{kind}"] = round(right[kind] / max(1, right[kind] + wrong[kind]), 3)
        measured[f"recall_{kind}"] = round(right[kind] / max(1, right[kind] + missed[kind]), 3)
    return measured


def _overlaps(span: tuple[int, int, str], others: Iterable[tuple[int, int, str]]) -> bool:
    return any(span[2] == kind and span[0] < end and start < span[1] for start, end, kind in others)


# -- adversarial texts ------------------------------------------------------------------------------------------------


def _slopes(work: Callable[[str], Any]) -> dict[str, Any]:
    """How time grows with the length of adversarial texts: the steepest slope in log-log, and the longest time."""
    slopes = {worst: _slope(work, worst) for worst in WORST}
    steepest = max(slopes, key=lambda worst: slopes[worst][0])
    slowest = max(slopes, key=lambda worst: slopes[worst][1])
    return {
        "slope": round(slopes[steepest][0], 2),
        "slope_of": steepest,
        "slowest_mb_per_s": float(f"{1e-6 / slopes[slowest][1]:.3g}"),
        "slowest": slowest,
    }


def _slope(work: Callable[[str], Any], worst: str) -> tuple[float, float]:
    """Slope between the first and the last size, and seconds a byte at the last."""
    points = list[tuple[float, float]]()
    for kilobytes in KILOBYTES:
        text = worst * (kilobytes * 1000 // len(worst))
        points.append((len(text), min(_seconds(work, text) for _ in range(2 if kilobytes < 100 else 1))))
        if points[-1][1] > SECONDS:
            break
    (few, start), (many, end) = points[0], points[-1]
    return math.log(end / start) / math.log(many / few) if many > few else math.inf, end / many


def _seconds(work: Callable[[str], Any], text: str) -> float:
    start = time.process_time()
    work(text)
    return max(time.process_time() - start, 1e-5)


SIZES = {"10 MB": {"megabytes": 10}, "100 MB": {"megabytes": 100}}
ROWS = (
    Row(
        "pii",
        "MB of text/CPU-s",
        SIZES,
        pii,
        (
            Peer(pii_re, "numpy", label="re", config="of which nothing is used: Python's re, a pattern a kind"),
            Peer(pii_datatrove, "datatrove", config="PIIFormatter, C4BadWordsFilter"),
        ),
    ),
)

if __name__ == "__main__":
    main(ROWS)
