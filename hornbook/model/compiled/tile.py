"""The innermost loop of every product: a few rows of numbers times panels of weights, sums kept in registers.

A panel is LANES outputs side by side, [K, LANES] in memory: one step over k takes LANES weights in one piece and one
number of each row. So weights stream through once, no sum crosses lanes, and each output is summed in the order of k:
to the bit the same, whatever rows are computed with it.

This is written in LLVM's own instructions, since numba does not keep an array of sums in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
"""Outputs of a panel: two registers of AVX2, one of AVX-512."""
INDEX, ADDRESS = ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(ir.FloatType(), LANES)
WIDE = ir.VectorType(INDEX, LANES)


def make_tile(rows: int, panels: int) -> Callable[..., None]:
    """A function for kernels to call, `tile(weights, at, panel, step, size, x, x_at, x_row, out, out_at, out_row)`:

    out[r, 16 p + lane] = sum over k < size of x[r, k] weights[p, k, lane], for r < rows, p < panels.

    All arrays are flat. weights: float32, uint16 (bfloat16's bits) or int8, panel p, step k, at index
    `at + p panel + k step`; x and out: float32, row r at `x_at + r x_row` and `out_at + r out_row`. Several rows
    take long enough over a panel for the one after it to be fetched from memory meanwhile.
    """

    @intrinsic
    def tile(typing: Any, weights: Any, at: Any, panel: Any, step: Any, size: Any, x: Any, x_at: Any, x_row: Any,
             out: Any, out_at: Any, out_row: Any) -> Any:  # fmt: skip
        numbers = (types.int64,) * 4
        signature = types.void(weights, *numbers, x, types.int64, types.int64, out, types.int64, types.int64)

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointers = {i: _data(context, builder, signature.args[i], arguments[i]) for i in (0, 5, 8)}
            _, start, stride, step, size, _, x_start, x_stride, _, out_start, out_stride = arguments
            _emit(
                builder,
                _places(builder, pointers[0], start, stride, panels),
                _places(builder, pointers[5], x_start, x_stride, rows),
                _places(builder, pointers[8], out_start, out_stride, rows),
                step,
                size,
                stride,
            )
            return context.get_dummy_value()

        return signature, emit

    made: Callable[..., None] = tile
    return made


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _places(builder: Any, pointer: Any, start: Any, stride: Any, count: int) -> list[Any]:
    """Pointers to `count` places, `stride` apart."""
    return [builder.gep(pointer, [builder.add(start, builder.mul(stride, ADDRESS(i)))]) for i in range(count)]


def _emit(builder: Any, panels: list[Any], rows: list[Any], out: list[Any], step: Any, size: Any, ahead: Any) -> None:
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    sums = [[_variable(builder, zero) for _ in panels] for _ in rows]
    add = builder.module.declare_intrinsic("llvm.fma.v16f32", fnty=ir.FunctionType(VECTOR, [VECTOR] * 3))
    with cgutils.for_range(builder, size) as loop:
        offset = builder.mul(loop.index, step)
        if len(rows) > 1:
            _fetch(builder, builder.gep(panels[-1], [builder.add(offset, ahead)]))
        weights = [_widen(builder, builder.gep(panel, [offset])) for panel in panels]
        for row, row_sums in zip(rows, sums, strict=True):
            number = _spread(builder, builder.load(builder.gep(row, [loop.index])))
            for weight, total in zip(weights, row_sums, strict=True):
                builder.store(builder.call(add, [weight, number, builder.load(total)]), total)
    for place, row_sums in zip(out, sums, strict=True):
        for panel, total in enumerate(row_sums):
            target = builder.bitcast(builder.gep(place, [ADDRESS(panel * LANES)]), VECTOR.as_pointer())
            builder.store(builder.load(total), target, align=4)


def _fetch(builder: Any, pointer: Any) -> None:
    """Bring what lies there into the second cache; there need not be anything."""
    place = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [place, INDEX, INDEX, INDEX])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [place], kind)
    builder.call(fetch, [builder.bitcast(pointer, place), INDEX(0), INDEX(2), INDEX(1)])


def _variable(builder: Any, value: Any) -> Any:
    """Made at the function's beginning, where LLVM finds what it can keep in a register."""
    with builder.goto_entry_block():
        variable = builder.alloca(VECTOR)
    builder.store(value, variable)
    return variable


def _widen(builder: Any, pointer: Any) -> Any:
    """LANES numbers as float32; their type is the pointer's."""
    number = pointer.type.pointee
    size = 4 if isinstance(number, ir.FloatType) else number.width // 8
    lanes = builder.load(builder.bitcast(pointer, ir.VectorType(number, LANES).as_pointer()), align=size)
    if isinstance(number, ir.FloatType):
        return lanes
    if number.width == 8:
        return builder.sitofp(builder.sext(lanes, WIDE), VECTOR)
    # bfloat16 is the upper half of a float32.
    return builder.bitcast(builder.shl(builder.zext(lanes, WIDE), ir.Constant(WIDE, [16] * LANES)), VECTOR)


def _spread(builder: Any, number: Any) -> Any:
    """One number in all lanes."""
    empty = ir.Constant(VECTOR, ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(empty, number, INDEX(0)), empty, ir.Constant(WIDE, [0] * LANES)
    )
