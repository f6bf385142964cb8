"""What a step of decoding is made of, compiled by numba at the first call and kept on disk.

A row is one token of one text, float32. Shapes: R rows, K inputs, P panels of 16 outputs, H query heads, G key/value
heads, C head size. No kernel looks from one row at another, so a row's numbers do not depend on those beside it.
Every function fills what it is given; widths of matrices are rounded up to whole panels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hornbook.model.compiled.tile import LANES, make_tile

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

one_by_four, one_by_one = make_tile(1, 4), make_tile(1, 1)
two_by_one, three_by_one, four_by_one = make_tile(2, 1), make_tile(3, 1), make_tile(4, 1)
MOST_ROWS = 4
SILU, GELU, GELU_TANH = range(3)


def kernel(function: AnyFunction) -> AnyFunction:
    """Compiled; every sum is taken in the order in which it is written."""
    return _compiled(function, {"contract"})


def summing(function: AnyFunction) -> AnyFunction:
    """A kernel whose own sums are taken in lanes: in another order, but always the same for the same length."""
    return _compiled(function, {"contract", "reassoc", "nsz"})


def exact(function: AnyFunction) -> AnyFunction:
    """A kernel that rounds after every operation: the same bits as torch and numpy."""
    return _compiled(function, set())


def _compiled(function: AnyFunction, freedoms: set[str]) -> AnyFunction:
    # numpy's division: Python's looks for zeros, and such a loop is not made of vectors.
    return cast(AnyFunction, njit(cache=True, nogil=True, error_model="numpy", fastmath=freedoms)(function))


@kernel
def product(x: Floats, weights: Any, scale: Floats, bias: Floats, out: Floats) -> None:
    """out[r] = scale * (W x[r]) + bias: x [R, >= K], weights [P, K, 16], scale and bias [16 P], out [R, 16 P]."""
    rows, (panels, size) = len(x), weights.shape[:2]
    if rows == 1:
        row_product(weights.reshape(-1), 0, panels, size * LANES, LANES, size, x.reshape(-1), 0, out.reshape(-1), 0)
    else:
        # A panel stays in the cache while all rows are multiplied by it.
        for p in range(panels):
            for row in range(0, rows, MOST_ROWS):
                panel_product(weights, p, x, row, min(MOST_ROWS, rows - row), out)
    for row in range(rows):
        for n in range(out.shape[1]):
            out[row, n] = out[row, n] * scale[n] + bias[n]


@kernel
def panel_product(weights: Any, p: int, x: Floats, row: int, rows: int, out: Floats) -> None:
    """One panel times up to MOST_ROWS rows of x."""
    size, x_row, out_row = weights.shape[1], x.shape[1], out.shape[1]
    flat, x_flat, out_flat = weights.reshape(-1), x.reshape(-1), out.reshape(-1)
    at, x_at, out_at = p * size * LANES, row * x_row, row * out_row + p * LANES
    if rows == 4:
        four_by_one(flat, at, size * LANES, LANES, size, x_flat, x_at, x_row, out_flat, out_at, out_row)
    elif rows == 3:
        three_by_one(flat, at, size * LANES, LANES, size, x_flat, x_at, x_row, out_flat, out_at, out_row)
    elif rows == 2:
        two_by_one(flat, at, size * LANES, LANES, size, x_flat, x_at, x_row, out_flat, out_at, out_row)
    else:
        one_by_one(flat, at, 0, LANES, size, x_flat, x_at, x_row, out_flat, out_at, out_row)


@kernel
def row_product(
    weights: Any, at: int, panels: int, panel: int, step: int, size: int, x: Floats, x_at: int, out: Floats, out_at: int
) -> None:
    """One row times panels, four at a time: eight sums under way hide the time that each addition takes."""
    whole = panels - panels % 4
    for p in range(0, whole, 4):
        one_by_four(weights, at + p * panel, panel, step, size, x, x_at, 0, out, out_at + p * LANES, 0)
    for p in range(whole, panels):
        one_by_one(weights, at + p * panel, panel, step, size, x, x_at, 0, out, out_at + p * LANES, 0)


@summing
def normalize(x: Floats, weight: Floats, bias: Floats, eps: float, centered: bool, out: Floats) -> None:
    """RMSNorm, or where `centered` LayerNorm, of each x [R, D] into the first D of out [R, >= D]."""
    for row in range(len(x)):
        normalize_row(x[row], weight, bias, eps, centered, out[row])


@summing
def normalize_row(x: Floats, weight: Floats, bias: Floats, eps: float, centered: bool, out: Floats) -> None:
    size = len(weight)
    mean = np.float32(0)
    if centered:
        for i in range(size):
            mean += x[i]
        mean /= np.float32(size)
    squares = np.float32(0)
    for i in range(size):
        squares += (x[i] - mean) * (x[i] - mean)
    factor = np.float32(1 / math.sqrt(squares / size + eps))
    for i in range(size):
        out[i] = (x[i] - mean) * factor * weight[i] + bias[i]


@summing
def normalize_heads(x: Floats, start: int, end: int, weight: Floats, bias: Floats, eps: float, centered: bool) -> None:
    """`normalize` in place of columns `start` to `end` of x, as many at a time as there are weights."""
    for row in range(len(x)):
        for at in range(start, end, len(weight)):
            head = x[row, at : at + len(weight)]
            normalize_row(head, weight, bias, eps, centered, head)


@kernel
def add(x: Floats, change: Floats) -> None:
    """x [R, D] += the first D of change [R, >= D]."""
    for row in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[row, i] += change[row, i]


@kernel
def remember(
    qkv: Floats,
    heads: int,
    cos: Floats,
    sin: Floats,
    slots: Whole,
    positions: Whole,
    keys: Floats,
    values: Floats,
) -> None:
    """Turn the queries and keys of qkv [R, >= (H + 2 G) C] in place, and store keys and values at each row's position.

    cos, sin: [positions, half of the rotated size]. keys [slots, G, capacity / 16, C, 16]: 16 positions side by
    side, a panel; values [slots, G, capacity, C rounded up].
    """
    groups, size = keys.shape[1], keys.shape[3]
    half = cos.shape[1]
    for row in range(len(qkv)):
        slot, position = slots[row], positions[row]
        for head in range(heads + groups):
            at = head * size
            for i in range(half):
                a, b = qkv[row, at + i], qkv[row, at + half + i]
                qkv[row, at + i] = a * cos[position, i] - b * sin[position, i]
                qkv[row, at + half + i] = b * cos[position, i] + a * sin[position, i]
        for group in range(groups):
            key, value = (heads + group) * size, (heads + groups + group) * size
            for i in range(size):
                keys[slot, group, position // LANES, i, position % LANES] = qkv[row, key + i]
                values[slot, group, position, i] = qkv[row, value + i]


@kernel
def attend(
    qkv: Floats,
    heads: int,
    scale: float,
    cap: float,
    window: int,
    slots: Whole,
    positions: Whole,
    origins: Whole,
    shared: Whole,
    keys: Floats,
    values: Floats,
    scores: Floats,
    out: Floats,
) -> None:
    """softmax(scale q K') V of every row and head into out [R, >= H C]; a row sees its text up to its own position.

    The first `shared` positions, whole panels, lie in the slot `origins`, where other rows read them too; the others in
    its own. cap: c tanh(scores / c), 0: no cap. window: how many positions a row sees, its own included. scores: room
    for capacity + C rounded up.
    """
    groups, size, wide = keys.shape[1], keys.shape[3], values.shape[3]
    capacity = values.shape[2]
    queries, key_flat, value_flat = qkv.reshape(-1), keys.reshape(-1), values.reshape(-1)
    mixed = scores[capacity:]
    for row in range(len(qkv)):
        end = positions[row] + 1
        first = max(0, end - window) // LANES * LANES
        middle = min(max(shared[row], first), end)
        parts = ((origins[row], first, middle), (slots[row], middle, end))
        hidden = max(0, end - window) - first
        for head in range(heads):
            group, query = head // (heads // groups), row * qkv.shape[1] + head * size
            for slot, low, high in parts:
                at, panels = (slot * groups + group) * capacity + low, (high - low + LANES - 1) // LANES
                row_product(key_flat, at * size, panels, size * LANES, LANES, size, queries, query, scores, low - first)
            scores[:hidden] = 0
            soften(scores[hidden : end - first], scale, cap)
            out[row, head * size : head * size + size] = 0
            for slot, low, high in parts:
                at = (slot * groups + group) * capacity + low
                weights = scores[low - first :]
                row_product(value_flat, at * wide, wide // LANES, LANES, wide, high - low, weights, 0, mixed, 0)
                for i in range(size):
                    out[row, head * size + i] += mixed[i]


@summing
def soften(scores: Floats, scale: float, cap: float) -> None:
    """scores become softmax(scale scores)."""
    for s in range(len(scores)):
        scores[s] *= np.float32(scale)
    if cap > 0:
        for s in range(len(scores)):
            scores[s] = np.float32(cap) * np.float32(math.tanh(scores[s] / np.float32(cap)))
    largest = np.float32(-np.inf)
    for s in range(len(scores)):
        largest = max(largest, scores[s])
    exponentials(scores, largest)
    total = np.float32(0)
    for s in range(len(scores)):
        total += scores[s]
    share = np.float32(1) / total
    for s in range(len(scores)):
        scores[s] *= share


@kernel
def exponentials(x: Floats, shift: np.float32) -> None:
    for i in range(len(x)):
        x[i] = exponential(x[i] - shift)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"}, inline="always")
def exponential(x: np.float32) -> np.float32:
    """e^x to 2 units in the last place, in a form that compiles to vectors: 2^n times a polynomial (Cody and Waite)."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1)
    # The bits of 2^n; numba would make 64-bit numbers of sums of whole ones, which are no vectors of eight.
    power = np.int32((n + np.float32(127)) * np.float32(2**23)).view(np.float32)
    return np.float32(p * power)


@kernel
def activate(x: Floats, size: int, gated: bool, activation: int, out: Floats) -> None:
    """act(gate) * up, where x [R, >= 2 size] holds gate and up, or without a gate act(up): into the first of out."""
    for row in range(len(x)):
        activate_row(x[row, :size], activation, out[row, :size])
        if gated:
            multiply(out[row, :size], x[row, size : 2 * size])


@kernel
def activate_row(x: Floats, activation: int, out: Floats) -> None:
    if activation == SILU:
        for i in range(len(x)):
            out[i] = x[i] / (np.float32(1) + exponential(-x[i]))
    elif activation == GELU:
        for i in range(len(x)):
            out[i] = np.float32(0.5) * x[i] * (np.float32(1) + np.float32(math.erf(x[i] * np.float32(0.70710678))))
    else:
        # (1 + tanh z) / 2 = 1 / (1 + e^(-2 z)), z = sqrt(2 / pi) (x + 0.044715 x^3)
        for i in range(len(x)):
            twice = np.float32(1.5957691216) * (x[i] + np.float32(0.044715) * x[i] * x[i] * x[i])
            out[i] = x[i] / (np.float32(1) + exponential(-twice))


@kernel
def multiply(x: Floats, factors: Floats) -> None:
    for i in range(len(x)):
        x[i] *= factors[i]
