"""The language of a text and of its paragraphs, and the filter that asks for it.

Found by resiliparse's `detect_fast`, which carries profiles of 101 languages and gives a rank: a text's distance from
the nearest profile. A rank above 1200 is mostly wrong; from 900 on, the script decides where one language alone has
it (Greek, Thai, Chinese, ...). Measured on sentences of 74 of these languages: 0.92 right for ten sentences together,
0.70 for three, 0.34 for one (0.45 have a rank above 1200 and count as "unknown"; of English ones 0.57 are right). Most
of what is wrong with ten is Serbian in Latin script called Croatian, Hindi called Marathi or Nepali, Spanish called
Galician, and Danish, Norwegian, Czech and Slovak called each other. A language without a profile is called by a
relative's name. So do not filter single sentences: short texts in a dialect are more often "unknown" than others.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from resiliparse.parse.lang import detect_fast

from hornbook.text.document import Document

CUTOFF = 1200
UNKNOWN = "unknown"
UNSURE = 900
"""A rank above which the script of the letters, where only one language has it, says more than the profiles."""
SHORTEST = 150
"""Characters: a shorter paragraph is judged together with what follows, as one sentence says too little."""


def language(
    document: Document,
    *,
    languages: tuple[str, ...] | Mapping[str, int] = ("en",),
    cutoff: int = CUTOFF,
    min_share: float = 0.0,
) -> str | None:
    """A filter: a text in one of `languages` (ISO 639-1), of which at least `min_share` is in these languages.

    Args:
        languages: some languages, or a table of them with the highest rank for each.
        cutoff: the highest rank, where `languages` gives none.
        min_share: share of the bytes, by paragraphs.
    """
    cutoffs = dict(languages) if isinstance(languages, Mapping) else dict.fromkeys(languages, cutoff)
    found, rank = identify(document.text)
    if rank > cutoffs.get(found, -1):
        wanted = f"not {' or '.join(cutoffs)}" if found not in cutoffs else f"above {cutoffs[found]}"
        return f"language: {found} (rank {rank}), {wanted}"
    if min_share > 0 and (share := _share(document.text, cutoffs)) < min_share:
        return f"language: {share:.2f} of the text is {' or '.join(cutoffs)}, less than {min_share:g}"
    return None


def identify(text: str) -> tuple[str, int]:
    """The language of a text and its rank; "unknown" and 0 for a text without letters.

    Profiles are of composed small letters: a title in capitals would be taken for another language.
    """
    plain = unicodedata.normalize("NFC", text.lower())
    if not any(map(str.isalpha, plain)):
        return UNKNOWN, 0
    found, rank = detect_fast(plain, cutoff=2**31)
    if rank > UNSURE and (only := _by_script(plain)):
        return only, 0
    return str(found), int(rank)


SCRIPTS = (
    ("\u0370", "\u03ff", "el"),
    ("\u0530", "\u058f", "hy"),
    ("\u0590", "\u05ff", "he"),
    ("\u0780", "\u07bf", "dv"),
    ("\u0980", "\u09ff", "bn"),
    ("\u0a00", "\u0a7f", "pa"),
    ("\u0a80", "\u0aff", "gu"),
    ("\u0b00", "\u0b7f", "or"),
    ("\u0b80", "\u0bff", "ta"),
    ("\u0c00", "\u0c7f", "te"),
    ("\u0c80", "\u0cff", "kn"),
    ("\u0d00", "\u0d7f", "ml"),
    ("\u0d80", "\u0dff", "si"),
    ("\u0e00", "\u0e7f", "th"),
    ("\u0f00", "\u0fff", "bo"),
    ("\u1000", "\u109f", "my"),
    ("\u10a0", "\u10ff", "ka"),
    ("\u1780", "\u17ff", "km"),
    ("\u3040", "\u30ff", "ja"),
    ("\u4e00", "\u9fff", "zh"),
    ("\uac00", "\ud7af", "ko"),
)
"""First and last character of scripts, and the language that is by far the most written in them."""


def _by_script(text: str) -> str:
    """The language of the script that most of the first letters have, or nothing; with a little kana it is Japanese."""
    letters = list(filter(str.isalpha, text[:1000]))
    counts = {name: sum(first <= c <= last for c in letters) for first, last, name in SCRIPTS}
    if counts["ja"] * 10 >= len(letters):
        counts["ja"] += counts["zh"]
        counts["zh"] = 0
    name = max(counts, key=lambda one: counts[one])
    return name if 2 * counts[name] > len(letters) else ""


def paragraphs(text: str, *, cutoff: int = CUTOFF) -> list[tuple[str, int]]:
    """The language of each paragraph and its bytes in UTF-8, in order; "unknown" where the rank is above `cutoff`.

    A paragraph is a line with a letter; those under 150 characters are put together with the ones after them.
    """
    return [(found if rank <= cutoff else UNKNOWN, size) for found, rank, size in _judged(text)]


def _share(text: str, cutoffs: Mapping[str, int]) -> float:
    judged = list(_judged(text))
    wanted = sum(size for found, rank, size in judged if rank <= cutoffs.get(found, -1))
    return wanted / (sum(size for *_, size in judged) or 1)


def _judged(text: str) -> list[tuple[str, int, int]]:
    return [(*identify(part), len(part.encode("utf-8", "replace"))) for part in _parts(text)]


def _parts(text: str) -> list[str]:
    """Runs of lines of at least SHORTEST characters; a shorter rest belongs to the run before it."""
    parts, run, size = list[str](), list[str](), 0
    for line in text.split("\n"):
        if any(map(str.isalpha, line)):
            run.append(line)
            size += len(line)
        if size >= SHORTEST:
            parts.append("\n".join(run))
            run, size = [], 0
    if run and parts:
        run.insert(0, parts.pop())
    return [*parts, "\n".join(run)] if run else parts
