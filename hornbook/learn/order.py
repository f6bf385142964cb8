"""Orders that look random and are a function of keys: nothing is drawn, so nothing has to be remembered."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hornbook.text.document import order_key

Keys = npt.NDArray[np.uint64]


def mix(keys: Keys) -> Keys:
    """splitmix64's finalizer (Steele et al., 2014): a bijection of 64-bit numbers that looks random."""
    mixed = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def salted(keys: Keys, *, seed: int, purpose: str) -> Keys:
    """Keys hashed anew for a purpose, such as an epoch: what one of them becomes depends on it alone."""
    return mix(keys ^ np.uint64(order_key(purpose, seed=seed, purpose="salt")))


def shuffled(count: int, *, seed: int, purpose: str) -> npt.NDArray[np.int64]:
    """The numbers 0 .. count - 1 in an order of that purpose."""
    return np.argsort(salted(np.arange(count, dtype=np.uint64), seed=seed, purpose=purpose), kind="stable")
