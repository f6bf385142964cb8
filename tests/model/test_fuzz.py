"""Damaged folders of every kind end in an InputError, never in another exception."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hornbook.errors import InputError
from hornbook.model.weights import load_model, save_model
from tests.model import tiny


@pytest.mark.parametrize(("file", "reach"), [("model.safetensors", 2400), ("config.json", 700)])
def test_mutated_bytes(file: str, reach: int, tmp_path: Path) -> None:
    """Up to four bytes changed among the first `reach`: the safetensors header, the whole config."""
    save_model(tmp_path, tiny.model())
    path, dice = tmp_path / file, random.Random(0)
    whole = path.read_bytes()
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(min(reach, len(whole)))] = dice.choice(b'\x00\xff"{}[],:-0189aeE.')
        path.write_bytes(damaged)
        try:
            load_model(tmp_path)
        except InputError:
            refused += 1
    assert refused > 150
