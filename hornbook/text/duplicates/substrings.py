"""Long passages that were there before (Lee et al. 2022, arXiv 2107.06499), found without holding the corpus.

Every run of `words` words has a hash. Of each WINDOW runs that follow each other the least hash is chosen (winnowing:
Schleimer et al. 2003), which depends on those runs alone: two texts that share `words + WINDOW - 1` words in a row
choose a run in them both, while only about two in WINDOW + 1 runs have to be kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from hornbook.text.duplicates.word_hashes import Hashes, Offsets, Places, encoded, hash_runs, place_words, spacing

WINDOW = 16


def windows(text: str, *, words: int = 50) -> tuple[Hashes, Offsets, Offsets]:
    """The chosen runs of `words` words of a text: their hashes, and the bytes of UTF-8 at which they start and end.

    Words are what stands between white space, compared as they are written. A text of fewer words has no run; one of
    fewer than WINDOW runs chooses the least of them.
    """
    hashes, starts, ends = place_words(encoded(text), spacing())
    if len(hashes) < words:
        return np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.uint32)
    runs = np.empty(len(hashes), np.uint64)
    runs = runs[: hash_runs(hashes, len(hashes), words, runs)]
    chosen = _winnowed(runs, min(WINDOW, len(runs)))
    return runs[chosen], starts[chosen], ends[chosen + words - 1]


def cut(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """A text without some spans of bytes, which may overlap; what is left on both sides is set apart by an empty line.

    So nothing reads on over a cut, and no passage comes to be by it.
    """
    data, kept, at = text.encode("utf-8", "replace"), list[str](), 0
    for start, end in [*sorted(spans), (len(data), len(data))]:
        if part := data[at : max(at, start)].decode("utf-8", "replace").strip():
            kept.append(part)
        at = max(at, end)
    return "\n\n".join(kept)


@njit(cache=True, nogil=True)
def _winnowed(runs: Hashes, window: int) -> Places:
    """The places of the least of each `window` runs, the last of equal ones, each once."""
    chosen, count = np.empty(len(runs), np.int64), 0
    least = -1
    for end in range(window - 1, len(runs)):
        start = end - window + 1
        if least < start:
            least = start
            for at in range(start + 1, end + 1):
                least = at if runs[at] <= runs[least] else least
        elif runs[end] <= runs[least]:
            least = end
        if count == 0 or chosen[count - 1] != least:
            chosen[count] = least
            count += 1
    return chosen[:count]
