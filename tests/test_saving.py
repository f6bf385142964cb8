"""When a training saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hornbook.learn import checkpoint
from hornbook.learn.carry import NOTHING
from hornbook.learn.optim import adamw
from hornbook.run import Run
from hornbook.training.fitting import Saves
from tests.model import tiny


def test_no_more_than_a_hundredth_of_the_time_goes_into_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, saved, model = 0.0, list[int](), tiny.model()

    def save(folder: Path, *, step: int, **state: Any) -> None:
        nonlocal now
        now += 0.5 if step < 100 else 0.1
        saved.append(step)

    monkeypatch.setattr(checkpoint, "save", save)
    monkeypatch.setattr("time.monotonic", lambda: now)
    saves = Saves(Run("pretrain-0", tmp_path, {}, identity=""), model, adamw(model, learning_rate=1.0), NOTHING)
    for step in range(1, 201):
        now += 1.0
        saves.after(step)
    assert saved == [31, 82, 133, 164, 195]
