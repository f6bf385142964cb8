"""4-bit codes from weights and weights from codes, on a CPU: what `nf4` says in torch, to the same bits.

Weights are flat; W of them in blocks of 64, the last perhaps shorter. A byte holds two codes, the first in its upper
half. Each block has a scale, its largest absolute weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbook.model.blocks import BLOCK, NESTED
from hornbook.model.compiled.kernels import Floats, exact

Bytes = NDArray[np.uint8]
TINIEST = np.float32(1e-38)
"""A block of zeros is divided by this, as in bitsandbytes."""


@exact
def encode(weights: Floats, bounds: Floats, zero: int, codes: Bytes, scales: Floats) -> None:
    """float32[W] -> uint8[W / 2, rounded up] and float32[blocks].

    bounds: [15], between two values each; on a bound the lower one is taken. zero: the code that fills up the last
    byte where W is odd. A last block that is shorter is divided by its scale where others are multiplied by the
    inverse: so bitsandbytes rounds.
    """
    for block in range(len(scales)):
        begin, end = block * BLOCK, min((block + 1) * BLOCK, len(weights))
        largest = np.float32(0)
        for i in range(begin, end):
            largest = max(largest, abs(weights[i]))
        scales[block] = largest
        divisor = max(largest, TINIEST)
        inverse = np.float32(1) / divisor
        whole = end - begin == BLOCK
        for i in range(begin, end, 2):
            high = code_of(weights[i] * inverse if whole else weights[i] / divisor, bounds)
            low = zero
            if i + 1 < end:
                low = code_of(weights[i + 1] * inverse if whole else weights[i + 1] / divisor, bounds)
            codes[i >> 1] = high << 4 | low


@exact
def code_of(number: Any, bounds: Floats) -> int:
    """How many bounds are below."""
    code = 0
    for i in range(15):
        code += number > bounds[i]
    return code


@exact
def decode(codes: Bytes, table: Floats, scales: Floats, begin: int, out: Floats) -> None:
    """Weights `begin` and on into out: table[code] times its block's scale; scales[0] is of the block of `begin`."""
    first, end = begin // BLOCK, begin + len(out)
    for block in range(first, first + len(scales)):
        scale = scales[block - first]
        at, stop = max(begin, block * BLOCK), min(end, (block + 1) * BLOCK)
        if at & 1 and at < stop:
            out[at - begin] = table[codes[at >> 1] & 15] * scale
            at += 1
        for pair in range(at >> 1, stop >> 1):
            code = codes[pair]
            out[2 * pair - begin] = table[code >> 4] * scale
            out[2 * pair + 1 - begin] = table[code & 15] * scale
        if stop & 1 and at < stop:
            out[stop - 1 - begin] = table[codes[stop >> 1] >> 4] * scale


@exact
def unnest(absmax: Bytes, table: Floats, nested: Floats, offset: Any, first: int, out: Floats) -> None:
    """Scales of blocks `first` and on: table[absmax] times the scale of their 256, plus what was taken off."""
    for i in range(len(out)):
        block = first + i
        out[i] = table[absmax[block]] * nested[block // NESTED] + offset
