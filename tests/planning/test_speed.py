"""Time by formula, beside published runs and beside the parts that it is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from hornbook.learn.batches import Batch
from hornbook.model.cost import forward_flops, training_flops
from hornbook.model.dial import shape
from hornbook.planning import speed
from hornbook.planning.cluster import PUBLISHED, gpu_hours, share
from hornbook.planning.machines import table
from hornbook.planning.memory import Cell
from hornbook.planning.speed import bill, estimated, probe, step_flops
from hornbook.planning.work import windows

TINY = Cell(architecture=shape(1, vocabulary=300, length=32), method="full", rows=2, length=32)


@pytest.mark.parametrize("name", PUBLISHED)
def test_hours_are_those_of_published_runs(name: str) -> None:
    """One efficiency for all, so each is off by what its own was better or worse."""
    run = PUBLISHED[name]
    assert gpu_hours(run, table()[run.gpu]) == pytest.approx(run.gpu_hours, rel=0.20)


def test_an_adapter_takes_two_thirds_of_the_products_and_recomputing_a_third_more() -> None:
    full = step_flops(TINY)
    assert full == training_flops(TINY.architecture, length=32)
    assert step_flops(replace(TINY, method="lora")) > 2 / 3 * full
    assert full < step_flops(replace(TINY, recompute=True)) < full + forward_flops(TINY.architecture, length=32)


def test_a_probe_takes_the_steps_that_it_is_told_and_says_so() -> None:
    found = probe(TINY, [windows(TINY)], [([1, 2, 3], [False, True, True])], step_tokens=128, steps=4)
    assert found.probed
    assert found.seconds(1e6) > 1e6 / found.tokens_per_second
    assert found.seconds(1e6, evaluated=1e6) == pytest.approx(found.seconds(1e6) + 1e6 / found.evaluated_per_second)


def test_the_steps_of_a_probe_go_through_those_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    micro, seen = [windows(replace(TINY, rows=rows)) for rows in (1, 2, 3)], list[int]()

    def steps(model: object, cell: object, steps: Sequence[Sequence[Batch]]) -> Iterator[float]:
        seen.extend(len(batch.tokens) for step in steps for batch in step)
        return (1.0 for _ in steps)

    monkeypatch.setattr(speed, "step_seconds", steps)
    probe(TINY, micro, [([1, 2], [False, True])], step_tokens=192, steps=4)
    assert seen == [1, 2, 3, 1, 2, 3, 1, 2]


@pytest.mark.parametrize(("update", "each", "steps", "seconds"), [
    (0.5, 0.25, 20, 0.5 + 8 * 0.25),
    (0.5, 0.25, 4, 0.5 + 8 * 0.25),
    (0.0, 0.25, 1, 8 * 0.25),
    (1.0, -0.125, 5, 0.5),
])  # fmt: skip
def test_a_line_through_short_and_long_steps_gives_those_of_a_run(
    monkeypatch: pytest.MonkeyPatch, update: float, each: float, steps: int, seconds: float
) -> None:
    """The last: long steps that happened to be the faster ones, of which no run gets faster than they were."""
    monkeypatch.setattr(
        speed, "step_seconds", lambda model, cell, steps: (update + each * len(step) for step in steps)
    )
    found = probe(TINY, [windows(TINY)], [([1, 2], [False, True])], step_tokens=8 * 64, steps=steps)
    assert found.tokens_per_second == pytest.approx(8 * 64 / seconds)


def test_an_update_is_paid_by_the_tokens_that_share_it() -> None:
    machine = table()["T4"]
    few, many = (estimated(TINY, machine, step_tokens=tokens).tokens_per_second for tokens in (64, 65536))
    assert many > 2 * few


def test_the_bill_is_of_power_price_and_time() -> None:
    machine = replace(table()["H100"], watts=1000, price=2.0)
    told = bill(7200, machine, count=3)
    assert (told.hours, told.dollars) == (2, 12)
    assert told.kilowatt_hours == pytest.approx(6.6)


def test_sharding_divides_what_is_held_and_adds_up_what_is_computed() -> None:
    machine, cell = table()["H100"], replace(TINY, architecture=shape(4, vocabulary=300, length=32))
    one, eight = (share(cell, machine, gpus=gpus) for gpus in (1, 8))
    assert (one.sharding, eight.sharding) == ("one GPU", "FSDP2")
    assert eight.per_gpu < one.per_gpu
    assert eight.tokens_per_second <= 8 * one.tokens_per_second
