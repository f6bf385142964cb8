"""NF4 beside bitsandbytes, to the bit, and by its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hornbook.model import bnb_kernels, nf4
from hornbook.model.compiled import four_bit
from hornbook.model.nf4 import Nf4

SHAPES = [(64, 64), (7, 33), (1, 1), (2, 63), (130, 100), (300, 128), (1, 65), (3, 21845)]
"""Whole blocks and groups, and none; even and odd."""


def random(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(shape[0], 1, generator=generator) * 2
    return (torch.randn(shape, generator=generator) * spread).to(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_bytes_are_those_of_bitsandbytes(shape: tuple[int, ...], double: bool, dtype: torch.dtype) -> None:
    weight = random(shape, dtype)
    ours = nf4.quantize(weight, double=double)
    codes, state = theirs(weight, double=double)
    assert torch.equal(ours.codes, codes.view(-1))
    assert torch.equal(ours.table, state.code)
    assert torch.equal(ours.absmax, state.absmax)
    if double:
        assert ours.nested is not None
        assert torch.equal(ours.nested.absmax, state.state2.absmax)
        assert torch.equal(ours.nested.table, state.state2.code)
        assert ours.nested.offset == state.offset.item()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_dequantization_is_that_of_bitsandbytes(shape: tuple[int, ...], double: bool, dtype: torch.dtype) -> None:
    import bitsandbytes.functional as bnb

    weight = random(shape, dtype, seed=1)
    codes, state = theirs(weight, double=double)
    expected = bnb.dequantize_4bit(codes, state)
    assert torch.equal(nf4.dequantize(nf4.quantize(weight, double=double), dtype=dtype), expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", bnb_kernels.TYPES, ids=str)
def test_the_kernel_for_cuda_is_given_what_it_takes(
    shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of bitsandbytes' function that of a CPU is run here, instead of ours."""
    stored = nf4.quantize(random(shape, seed=2))
    ours = nf4.dequantize(stored, dtype=dtype)
    assert not bnb_kernels.serve(stored.codes, dtype)
    monkeypatch.setattr(bnb_kernels, "serve", lambda codes, dtype: True)
    monkeypatch.setattr(four_bit, "decode", None)
    assert torch.equal(nf4.dequantize(stored, dtype=dtype), ours)


def theirs(weight: Tensor, *, double: bool) -> tuple[Tensor, Any]:
    import bitsandbytes.functional as bnb

    made: tuple[Tensor, Any] = bnb.quantize_4bit(weight, compress_statistics=double, quant_type="nf4")
    return made


@settings(max_examples=60)
@given(st.integers(1, 700), st.integers(0, 700), st.integers(0, 700), st.booleans(), st.integers(0, 9))
def test_any_part_is_a_part_of_the_whole(size: int, one: int, other: int, double: bool, seed: int) -> None:
    """By the kernel and by torch."""
    begin, end = sorted((one % size, other % size + 1))
    stored = nf4.quantize(random((1, size), seed=seed), double=double)
    whole = by_definition(stored)
    end = max(begin + 1, end)
    assert torch.equal(nf4.weights(stored, begin, end), whole[begin:end])
    scales = nf4.block_scales(stored, begin // 64, -(-end // 64))
    assert torch.equal(nf4.by_torch(stored, scales, begin, end), whole[begin:end])


def by_definition(stored: Nf4) -> Tensor:
    """Every weight by itself."""
    scales = stored.absmax
    if (nested := stored.nested) is not None:
        places = torch.arange(len(scales)) // 256
        scales = nested.table[scales.int()] * nested.absmax[places] + torch.tensor(nested.offset)
    size = stored.shape[0] * stored.shape[1]
    held = stored.codes.tolist()
    codes = torch.tensor([held[i // 2] >> 4 if i % 2 == 0 else held[i // 2] & 15 for i in range(size)])
    return stored.table[codes] * scales[torch.arange(size) // 64]


def test_every_weight_gets_the_nearest_value() -> None:
    weight = random((40, 96))
    stored = nf4.quantize(weight, double=False)
    distance = (weight.view(-1, 64, 1) / stored.absmax[:, None, None] - torch.tensor(nf4.VALUES)).abs()
    made = (weight.view(-1, 64) - nf4.dequantize(stored).view(-1, 64)).abs() / stored.absmax[:, None]
    torch.testing.assert_close(made, distance.amin(2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("weight", [torch.zeros(3, 70), torch.ones(2, 64), torch.eye(70), -torch.ones(4, 64)])
@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
def test_weights_that_are_values_come_back(weight: Tensor, double: bool) -> None:
    back = nf4.dequantize(nf4.quantize(weight, double=double))
    torch.testing.assert_close(back, weight, rtol=0.02, atol=0.02)
    if weight.abs().amin() == weight.abs().amax():
        assert torch.equal(back, weight)


def test_bits_and_error_of_normal_weights() -> None:
    """QLoRA's numbers: 4.5 bits, 4.127 with double quantization, which adds no error that can be seen."""
    weight = random((1024, 1024))
    bits, errors = [], []
    for double in (False, True):
        stored = nf4.quantize(torch.randn(4096, 1024, generator=torch.Generator().manual_seed(0)), double=double)
        bits.append(8 * stored.nbytes / (4096 * 1024))
        errors.append(float((nf4.dequantize(nf4.quantize(weight, double=double)) - weight).norm() / weight.norm()))
    assert bits == pytest.approx([4.5, 4.12695], abs=1e-4)
    assert errors[0] == pytest.approx(0.092, abs=0.002)
    assert errors[1] == pytest.approx(errors[0], rel=0.01)


def test_the_number_of_threads_changes_nothing() -> None:
    scales = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    found = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        found.append(float(nf4.mean(scales)))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    assert len(set(found)) == 1
