"""How 4-bit weights lie: in blocks with a scale each, whose scales are in blocks again (QLoRA, arXiv 2305.14314)."""

from __future__ import annotations

BLOCK = 64
"""Weights that share a scale."""
NESTED = 256
"""Blocks whose scales share one of their own."""
