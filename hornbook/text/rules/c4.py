"""C4's rules (Raffel et al. 2020, arXiv 1910.10683, section 2.2): for documents, and for their lines.

C4 drops lines, then judges what is left. Rules here never rewrite a text: they judge what would be left of it.
`c4_lines` is the edit that leaves it. The decisions are datatrove 0.10's, which follows TensorFlow Datasets; unlike the
paper, it asks for five sentences and drops lines about policies.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from hornbook.text.rules import rows
from hornbook.text.rules.counts import Statistics
from hornbook.text.rules.statistics import encoded, find_rows

CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")


def c4_sentences(found: Statistics, *, min_sentences: int = 5, terminal_punctuation: bool = True) -> str | None:
    """At least `min_sentences` sentences in the lines that C4 keeps.

    Without `terminal_punctuation`, here and below, C4 is taken to keep lines whatever ends them, as FineWeb has it.
    """
    count = found.sentences if terminal_punctuation else found.sentences_unended
    return f"c4_sentences: {count}, fewer than {min_sentences}" if count < min_sentences else None


def c4_lorem_ipsum(found: Statistics, *, terminal_punctuation: bool = True) -> str | None:
    """No placeholder text in the lines that C4 keeps."""
    count = found.lorem_rows if terminal_punctuation else found.lorem_rows_unended
    return "c4_lorem_ipsum: holds 'lorem ipsum'" if count else None


def c4_curly_bracket(found: Statistics, *, terminal_punctuation: bool = True) -> str | None:
    """No curly bracket in the lines that C4 keeps: prose does not have it and code does."""
    count = found.curly_rows if terminal_punctuation else found.curly_rows_unended
    return "c4_curly_bracket: holds '{'" if count else None


def c4_terminal_punctuation(found: Statistics, *, min_share: float = 0.5) -> str | None:
    """At least `min_share` of the lines end like a sentence. (C4 has no such rule: it drops the other lines.)"""
    share = found.ended_rows / (found.filled_rows or 1)
    if share < min_share:
        return f"c4_terminal_punctuation: {share:.2f} of the lines end like a sentence, less than {min_share:g}"
    return None


def c4_javascript(found: Statistics, *, max_lines: int = 0) -> str | None:
    """At most `max_lines` lines that speak of JavaScript. (C4 drops these lines.)"""
    count = found.javascript_rows
    return f"c4_javascript: {count} lines speak of JavaScript, more than {max_lines}" if count > max_lines else None


def c4_policy(found: Statistics, *, max_lines: int = 3) -> str | None:
    """At most `max_lines` lines that speak of terms of use, privacy or cookies. (C4 drops these lines.)"""
    count, what = found.policy_rows, "lines speak of terms, privacy or cookies"
    return f"c4_policy: {count} {what}, more than {max_lines}" if count > max_lines else None


def c4_lines(
    text: str,
    *,
    min_words: int = 3,
    max_word: int = 1000,
    terminal_punctuation: bool = True,
    citations: bool = True,
    javascript: bool = True,
    policy: bool = True,
) -> tuple[str, Counter[str]]:
    """A text without the lines that C4 drops, and how many lines were dropped for what, `citations` taken out included.

    Args:
        min_words: a line has so many words between white space.
        max_word: no word of it has more characters.
        terminal_punctuation: it ends with . ? ! " or ' and not with an ellipsis.
        citations: [1], [edit] and [citation needed] are taken out.
        javascript: it does not speak of JavaScript,
        policy: nor of terms of use, privacy or cookies.
    """
    encoded_text, _, ends = encoded([text])
    found = find_rows(encoded_text, int(ends[0]), citations=citations)
    cited = found[:, rows.CITED] > 0
    dropped = Counter[str]()
    left = np.ones(len(found), bool)
    for reason, wanted, drops in (
        ("long_word", True, found[:, rows.LONGEST] > max_word),
        ("no_terminal_punctuation", terminal_punctuation, found[:, rows.ENDED] == 0),
        ("few_words", True, found[:, rows.WORDS] < min_words),
        ("javascript", javascript, (found[:, rows.JAVASCRIPT_ROW] > 0) & (found[:, rows.LOREM_ROW] == 0)),
        ("policy", policy, found[:, rows.POLICY_ROW] > 0),
    ):
        if wanted and (count := int((left & drops).sum())):
            dropped[reason] = count
            left &= ~drops
    if count := int((left & cited).sum()):
        dropped["citations"] = count
    raw = encoded_text.tobytes()
    lines = (
        CITATION.sub("", line) if with_citation else line
        for (start, end), with_citation in zip(found[left][:, : rows.WORDS].tolist(), cited[left].tolist(), strict=True)
        for line in (raw[start:end].decode("utf-8", "surrogatepass"),)
    )
    return "\n".join(lines).strip(), dropped
