from __future__ import annotations

import pytest
from rich.progress import Progress

from hornbook import progress


def test_the_rate_is_of_what_was_done_now(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 0.0, 10.0))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    bar = progress.Bar("pretrain", 200, "steps", start=100)
    bar.advance(50)
    assert bar.line() == "150 of 200 steps in 10s, 5 steps/s, 10s left"


def test_a_live_bar_starts_where_the_work_does() -> None:
    live = Progress()
    bar = progress._LiveBar("pretrain", 200, "steps", 100, live)
    bar.advance(50)
    assert live.tasks[0].completed == 150
