"""How kernels over bytes are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def kernel(function: AnyFunction) -> AnyFunction:
    """Compile a function by numba at its first call, without the interpreter's lock, and keep it beside its file.

    It may not make arrays, only fill those that it is given: so their references need not be counted, which costs
    more than many a small function does (measured: half of the time of all rules).
    """
    return _compiled(function, inline=False)


def inlined(function: AnyFunction) -> AnyFunction:
    """A kernel that becomes a part of those that call it: an array is seven arguments, and they would cost more."""
    return _compiled(function, inline=True)


def _compiled(function: AnyFunction, *, inline: bool) -> AnyFunction:
    compiled = njit(cache=True, nogil=True, forceinline=inline, _nrt=False)  # type: ignore[call-overload]
    return cast(AnyFunction, compiled(function))


@kernel
def signed(value: np.integer[Any] | int) -> int:
    """An integer of any type as a signed one: numba makes floats of sums of signed and unsigned ones."""
    return np.int64(value)  # type: ignore[return-value]
