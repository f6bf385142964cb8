"""Main text: which blocks of a page are what it is about, and which are navigation, comments and other boilerplate.

Each block is described by numbers (`NAMES`). Boosted trees, trained on pages whose main text people have marked, add
up how likely it is main text.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hornbook.text.pages.block_numbers import NAMES, Rows, describe
from hornbook.text.pages.content_trees import TREES
from hornbook.text.pages.vocabulary import (
    ABOVE,
    HIDDEN,
    TAB,
    Bytes,
    Flags,
    Places,
    Records,
)
from hornbook.text.pages.walk import Walked

Votes = NDArray[np.float64]
LIKELY, LEAST, LEAST_SHARE = -1.75, 250, 0.02
"""Log-odds below which no block is kept; the letters, and their share of the page, below which more is kept."""

_BESIDE = sum(1 << ABOVE.index(name) for name in ["nav", "aside", "footer", "select", "button"])


def planted(trees: str) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]:
    """Trees as arrays: a node's number (-1: a leaf), its threshold or vote, where its right branch is; the roots.

    A tree is one line in prefix order: `name threshold left right` for a split, `=value` for a leaf.
    """
    features, numbers, rights, roots = list[int](), list[float](), list[int](), list[int]()

    def plant(words: Iterator[str]) -> None:
        at, word = len(features), next(words)
        features.append(-1 if word.startswith("=") else NAMES.index(word))
        numbers.append(float(word[1:] if word.startswith("=") else next(words)))
        rights.append(0)
        if features[at] >= 0:
            plant(words)
            rights[at] = len(features)
            plant(words)

    for line in trees.split("\n"):
        if line:
            roots.append(len(features))
            plant(iter(line.split()))
    return np.array(features, np.int32), np.array(numbers), np.array(rights, np.int32), np.array(roots, np.int32)


@njit(cache=True, nogil=True)
def add_votes(
    described: Rows, features: Places, numbers: Votes, rights: Places, roots: Places, rest: Votes, votes: Votes
) -> None:
    """Sum what each tree says of each block: log-odds of being main text.

    `rest` is the most that the trees after one can add: where that is too little, they are not asked.
    """
    for i in range(len(described)):
        x, vote = described[i], 0.0
        for k in range(len(roots)):
            at = roots[k]
            while features[at] >= 0:
                at = at + 1 if x[features[at]] <= numbers[at] else rights[at]
            vote += numbers[at]
            if vote + rest[k] < LIKELY:
                vote = min(vote, vote + rest[k])
                break
        votes[i] = vote


@njit(cache=True, nogil=True)
def write(text: Bytes, blocks: Records, kept: Flags, out: Bytes) -> int:
    """Copy the kept blocks, apart as far as the page sets them apart; how many bytes that is."""
    w, gap = 0, 0
    for i in range(len(blocks)):
        gap = max(gap, blocks[i].gap)
        if not kept[i]:
            continue
        if w > 0:
            if gap == TAB:
                out[w] = 9
                w += 1
            for _ in range(gap - TAB):
                out[w] = 10
                w += 1
        size = blocks[i].end - blocks[i].start
        out[w : w + size] = text[blocks[i].start : blocks[i].end]
        w, gap = w + size, 0
    return w


def most_to_come(features: Places, numbers: Votes, rights: Places, roots: Places) -> Votes:
    """For each tree, the sum of the highest votes of those after it."""
    highest = np.maximum.reduceat(np.where(features < 0, numbers, -np.inf), roots)
    return np.append(np.cumsum(highest[::-1])[::-1][1:], 0.0)


_PLANTED = planted(TREES)
_TREES = (*_PLANTED, most_to_come(*_PLANTED))


def main_text(page: Walked) -> str:
    """The main text of a page, or what text it has beside navigation where none is surely main text."""
    if not len(page.blocks):
        return ""
    odds, lengths, around = votes(page.elements, page.blocks), page.blocks["length"], _around_it(page)
    kept = odds > _threshold(odds, lengths)
    if lengths[kept].sum() < LEAST:
        kept = odds > LIKELY
    if lengths[kept].sum() < max(LEAST, LEAST_SHARE * lengths[~around].sum()):
        kept = kept | ~around
    return written(page, kept)


def _threshold(odds: NDArray[np.float64], lengths: NDArray[np.int32]) -> float:
    """Even odds on a page whose surest text is sure; lower, down to LIKELY, the less sure that is.

    The surest text is the 300 letters, or 30 % of a short page, of the highest odds.
    """
    order = np.argsort(-odds, kind="stable")
    running = np.cumsum(lengths[order])
    surest = odds[order[np.searchsorted(running, min(300, 0.3 * running[-1]))]]
    return float(np.clip(0.46 * (surest - 2.2), LIKELY, 0))


def _around_it(page: Walked) -> NDArray[np.bool_]:
    """Whether each block is hidden, navigation, an aside, in a footer or a control."""
    inside, blocks = page.elements, page.blocks
    found: NDArray[np.bool_] = (inside["hints_above"][blocks["element"]] & np.uint64(HIDDEN)) != 0
    found |= (inside["tags_above"][blocks["element"]] & np.uint64(_BESIDE)) != 0
    return found


def whole_text(page: Walked) -> str:
    """All text that a page shows."""
    above = page.elements["hints_above"][page.blocks["element"]]
    return written(page, (above & np.uint64(HIDDEN)) == 0)


def written(page: Walked, kept: NDArray[np.bool_]) -> str:
    """The text of the kept blocks."""
    out = np.empty(len(page.text) + 2 * len(page.blocks), np.uint8)
    return out[: write(page.text, page.blocks, kept, out)].tobytes().decode("utf-8", "replace")


def votes(elements: Records, blocks: Records) -> NDArray[np.float64]:
    """How likely each block is main text, as log-odds."""
    described, found = np.empty((len(blocks), len(NAMES)), np.float32), np.empty(len(blocks))
    describe(elements, blocks, described)
    add_votes(described, *_TREES, found)
    return found
