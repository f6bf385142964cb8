"""Loss and gradient beside TRL's: what its trainers made of the batch of `bench/parity.py`, which asks them again."""

from __future__ import annotations

import pytest
import torch

from bench.parity import NAMES, SHOWN, norm, ours

TRL = {
    "sft": (5.7400579, 1.5663023, 0.0011169523, 5.5553854e-05),
    "dpo": (0.68640721, 0.5214672, 0.0003961293, -3.5801597e-05),
    "robust": (0.6845004, 0.65342606, 0.0004935796, -4.0960436e-05),
    "ipo": (24.649973, 23.922262, 0.015790474, 0.00036085551),
    "hinge": (0.98474562, 1.0563564, 0.00077960256, -4.1269395e-05),
    "apo_zero": (0.99619353, 0.26322022, 0.00019429004, -1.1151004e-05),
    "apo_down": (0.98132849, 0.17885164, 5.5613353e-05, -1.7699689e-05),
    "kto": (0.49809682, 0.13159711, 9.714214e-05, -5.5858236e-06),
    "orpo": (5.7427187, 1.7371827, 0.0007793784, 0.00078512315),
    "simpo": (1.1579235, 3.2566802, 0.0020014502, 0.00033058939),
}
"""What TRL 1.16.0's trainers gave in fp32: the loss, the norm of its gradient, and two entries of that by `SHOWN`."""


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradient_are_trls(name: str) -> None:
    loss, gradient = ours(name, torch.float64)
    found = (loss, norm(gradient), gradient[SHOWN][0, 0].item(), gradient[SHOWN][3, 5].item())
    assert found == pytest.approx(TRL[name], rel=5e-6, abs=2e-8)
