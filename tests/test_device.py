from __future__ import annotations

import pytest
import torch

from hornbook import device
from hornbook.device import Precision, choose_precision, matmul_rate

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("wanted", "there", "bf16", "expected"),
    [
        ("fp32", CUDA, True, None),
        ("bf16", CPU, False, torch.bfloat16),
        ("fp16", CPU, True, torch.float16),
        ("auto", CPU, True, torch.bfloat16),
        ("auto", CPU, False, None),
        ("auto", CUDA, True, torch.bfloat16),
        ("auto", CUDA, False, torch.float16),
    ],
)
def test_the_type_of_products_is_what_the_device_has(
    wanted: Precision, there: torch.device, bf16: bool, expected: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "has_bf16", lambda there: bf16)
    assert choose_precision(wanted, there) is expected


def test_the_rate_of_products_is_measured_once_and_is_what_a_product_takes() -> None:
    rate = matmul_rate(CPU, torch.float32)
    assert matmul_rate(CPU, torch.float32) == rate
    assert 1e9 < rate < 1e14
