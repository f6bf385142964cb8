from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.text.duplicates.substrings import WINDOW, cut, windows

TEXTS = st.lists(st.sampled_from(["a", "b", "c", "dé", "日本", "e😀", "f"]), max_size=90).map(" ".join)
SPACED = st.lists(st.sampled_from(["a", "b ", "c\n", "é\u3000", " \t日 ", "\ud800\n\n"]), max_size=60).map(" ".join)


def plain_windows(text: str, words: int) -> list[str]:
    """The chosen runs of words, by comparing the hashes of each WINDOW runs."""
    found = text.encode("utf-8", "replace").decode().split()
    runs = [" ".join(found[at : at + words]) for at in range(len(found) - words + 1)]
    hashes = [int(windows(run, words=words)[0][0]) for run in runs]
    size = min(WINDOW, len(runs))
    first = range(len(runs) - size + 1 if runs else 0)
    chosen = {max(range(at, at + size), key=lambda at: (-hashes[at], at)) for at in first}
    return [runs[at] for at in sorted(chosen)]


def deduplicated(texts: list[str], *, words: int) -> list[str]:
    """What the pass over a corpus does: cut the windows that were there before."""
    seen, left = set[int](), []
    for text in texts:
        spans = []
        for value, start, end in zip(*(array.tolist() for array in windows(text, words=words)), strict=True):
            if value in seen:
                spans.append((start, end))
            seen.add(value)
        left.append(cut(text, spans))
    return left


@given(SPACED, st.integers(1, 4))
def test_windows_are_those_of_the_rule_in_plain_python(text: str, words: int) -> None:
    data = text.encode("utf-8", "replace")
    _, starts, ends = windows(text, words=words)
    found = [" ".join(data[start:end].decode().split()) for start, end in zip(starts, ends, strict=True)]
    assert found == plain_windows(text, words)


@given(st.lists(TEXTS, max_size=4), st.integers(2, 9))
def test_no_run_of_words_and_window_less_one_is_left_twice(texts: list[str], words: int) -> None:
    runs = Counter[tuple[str, ...]]()
    for text in deduplicated(texts, words=words):
        for part in text.split("\n\n"):
            found, length = part.split(), words + WINDOW - 1
            runs.update(tuple(found[at : at + length]) for at in range(len(found) - length + 1))
    assert max(runs.values(), default=1) == 1


@given(st.lists(TEXTS, max_size=4), st.integers(2, 9))
def test_only_what_was_there_before_is_cut(texts: list[str], words: int) -> None:
    left = deduplicated(texts, words=words)
    for at, text in enumerate(texts):
        earlier = [" ".join(before.split()) for before in texts[:at]]
        found = text.split()
        runs = [" ".join(found[start : start + words]) for start in range(len(found) - words + 1)]
        if not any(run in before for run in runs for before in earlier) and len(set(runs)) == len(runs):
            assert left[at] == text


def test_a_passage_is_cut_out_of_the_later_text() -> None:
    words = [f"w{number}" for number in range(400)]
    passage = words[100:200]
    other = [f"o{number}" for number in range(50)]
    one, later = " ".join(words), " ".join([*other, *passage, *other[::-1]])
    left = deduplicated([one, later], words=50)
    assert left[0] == one
    assert left[1].split()[:50] == other
    assert left[1].split()[-50:] == other[::-1]
    assert 100 <= len(left[1].split()) <= 100 + 2 * (WINDOW - 1)


@pytest.mark.parametrize(
    ("spans", "left"),
    [
        ([], "one  two é three"),
        ([(0, 3)], "two é three"),
        ([(5, 8)], "one\n\né three"),
        ([(5, 11), (9, 17)], "one"),
        ([(9, 11), (5, 8)], "one\n\nthree"),
        ([(0, 17), (2, 4)], ""),
    ],
)
def test_cut(spans: list[tuple[int, int]], left: str) -> None:
    assert cut("one  two é three", spans) == left


def test_few_windows_are_chosen() -> None:
    text = " ".join(map(str, np.random.default_rng(0).integers(0, 1000, 20_000)))
    assert len(windows(text)[0]) / 20_000 == pytest.approx(2 / (WINDOW + 1), rel=0.05)
    assert len(windows("too short")[0]) == 0
    assert len(deduplicated(["same " * 100_000], words=50)[0].split()) <= WINDOW
