"""What the machine computes in hardware."""

from __future__ import annotations

import torch


def has_bf16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are in hardware: emulated, a CPU takes ten times as long as for float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
