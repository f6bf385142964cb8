from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import EmptyInput, InputError
from hornbook.learn.examples import Example, Examples, batched
from hornbook.learn.loop import answer_log_probabilities, next_token
from hornbook.learn.packing import pack
from tests.learn import tiny

torch.set_num_threads(1)


def examples(sizes: list[int], *, seed: int = 0) -> list[tuple[Example, ...]]:
    rng = np.random.default_rng(seed)
    return [
        (Example(f"e{i}", rng.integers(0, 32, n), np.arange(n) >= rng.integers(1, n)),) for i, n in enumerate(sizes)
    ]


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_packed_loss_is_the_loss_of_each_alone(rows: int) -> None:
    groups, model = examples([5, 9, 3, 14, 6, 7]), tiny.model()
    alone = [next_token(model, batched([group], length=16, rows=1)[0]) for group in groups]
    together = [next_token(model, batch) for batch in batched(groups, length=16, rows=rows)]
    for part in (0, 1):
        sums = [sum(x[part].item() for x in losses) for losses in (alone, together)]
        assert sums[0] == pytest.approx(sums[1], rel=1e-12)


def test_every_example_has_its_own_log_probability() -> None:
    groups, model = examples([5, 9, 3, 14, 6, 7]), tiny.model()
    alone = {g[0].id: answer_log_probabilities(model, batched([g], length=16, rows=1)[0]).item() for g in groups}
    packed: dict[str, float] = {}
    for batch in batched(groups, length=16, rows=2):
        packed |= zip(batch.document_ids, answer_log_probabilities(model, batch).tolist(), strict=True)
    assert packed == pytest.approx(alone, rel=1e-6)
    assert packed.keys() == alone.keys()


def test_a_pair_stays_together_in_order() -> None:
    singles = examples([5, 4, 9, 8, 3, 6])
    pairs = [(a, b) for (a,), (b,) in zip(singles[0::2], singles[1::2], strict=True)]
    for batch in batched(pairs, length=20, rows=2):
        for chosen, rejected in zip(batch.document_ids[0::2], batch.document_ids[1::2], strict=True):
            assert int(rejected[1:]) == int(chosen[1:]) + 1


def test_epochs_see_every_example_once_in_new_orders() -> None:
    data = Examples(examples([4] * 10), length=12, groups_per_step=5, rows=2, seed=3)
    seen = [[name for batch in data.step(step) for name in batch.document_ids] for step in range(4)]
    assert sorted(seen[0] + seen[1]) == sorted(seen[2] + seen[3]) == [f"e{i}" for i in range(10)]
    assert seen[0] != seen[2]
    assert data.steps(1) == 2
    assert data.steps(2.5) == 5
    assert all(tiny.equal(a, b) for a, b in zip(data.step(1), data.step(1), strict=True))


def test_what_a_step_learns_does_not_depend_on_packing() -> None:
    made = [
        Examples(examples([4, 7, 9, 3]), length=n, groups_per_step=3, rows=r, seed=3) for n, r in ((10, 1), (30, 2))
    ]
    names = [sorted(name for batch in data.step(5) for name in batch.document_ids) for data in made]
    assert names[0] == names[1]


def test_no_examples_and_too_long_ones() -> None:
    with pytest.raises(EmptyInput):
        Examples([], length=8, groups_per_step=1, rows=1, seed=0)
    with pytest.raises(InputError, match="e0: 11 tokens do not fit a row of 8"):
        Examples(examples([12]), length=8, groups_per_step=1, rows=1, seed=0)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=30), st.integers(1, 9))
def test_rows_are_no_longer_than_asked_and_pad_no_more_than_full_ones(sizes: list[int], rows: int) -> None:
    """`sizes` in tokens, of which n take n - 1 positions."""
    batches = batched(examples(sizes), length=64, rows=rows)
    assert sorted(name for batch in batches for name in batch.document_ids) == sorted(
        f"e{n}" for n in range(len(sizes))
    )
    assert all(batch.tokens.shape[1] <= 64 and batch.tokens.shape[0] <= rows for batch in batches)
    full = [sum(sizes[i] - 1 for i in row) for row in pack([size - 1 for size in sizes], length=64)]
    padded = sum(len(full[i : i + rows]) * max(full[i : i + rows]) for i in range(0, len(full), rows))
    assert sum(batch.tokens.numel() for batch in batches) <= padded


def test_eight_conversations_fill_nine_tenths_of_their_rows() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(50):
        sizes = rng.lognormal(5.3, 0.5, 8).clip(20, 512).astype(int).tolist()
        (batch,) = batched(examples(sizes), length=512, rows=8)
        shares.append((sum(sizes) - 8) / batch.tokens.numel())
    assert np.mean(shares) > 0.9
