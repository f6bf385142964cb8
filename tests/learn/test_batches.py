from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.errors import EmptyInput, InputError
from hornbook.learn.batches import Batch, Example, Examples, Pretraining, batched, pack
from hornbook.learn.loop import answer_log_probabilities, next_token
from hornbook.text.shards import Split
from tests.learn import tiny

torch.set_num_threads(1)
SEPARATOR = 0


def corpus(sizes: list[int], *, sources: list[str] | None = None) -> Split:
    """Documents `d0`, `d1`, ...; token k of document d is 100 d + k, and the first is the separator."""
    tokens: Any = np.concatenate([np.arange(n) + 100 * d for d, n in enumerate(sizes)]).astype(np.uint16)
    offsets = np.cumsum([0, *sizes[:-1]])
    tokens[offsets] = SEPARATOR
    names, lengths = [f"d{i}" for i in range(len(sizes))], np.array(sizes)
    return Split(tokens, names, sources or ["web"] * len(sizes), offsets, lengths, bytes=lengths)


def pretraining(documents: Split, *, weights: dict[str, float] | None = None, **options: object) -> Pretraining:
    chosen: dict[str, object] = {"length": 8, "sequences": 4, "rows": 2, "seed": 1} | options
    return Pretraining(documents, weights=weights or {"web": 1.0}, separator=SEPARATOR, **chosen)  # type: ignore[arg-type]


def equal(a: Batch, b: Batch) -> bool:
    return a.document_ids == b.document_ids and all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("tokens", "targets", "weights", "documents")
    )


def test_an_epoch_reads_every_token_once() -> None:
    data = pretraining(corpus([9, 3, 12, 8, 16]), sequences=6, rows=6)
    (batch,) = data.step(0)
    read = batch.tokens.flatten().tolist()
    assert sorted(read) == sorted(data.corpus.tokens.tolist())
    assert torch.equal(batch.targets[:, :-1], batch.tokens[:, 1:])
    named = [batch.document_ids[i] for i in batch.documents.flatten().tolist()]
    assert all(token == SEPARATOR or name == f"d{token // 100}" for token, name in zip(read, named, strict=True))


def test_the_next_epoch_has_another_order() -> None:
    data = pretraining(corpus([8] * 12), sequences=12, rows=12)
    orders = [data.step(step)[0].document_ids for step in range(3)]
    assert len(set(orders)) == 3
    assert {frozenset(order) for order in orders} == {frozenset(data.corpus.ids)}


def test_a_long_document_does_not_fill_whole_steps() -> None:
    data = pretraining(corpus([800, *[8] * 100]), sequences=20, rows=20)
    for step in range(10):
        (batch,) = data.step(step)
        assert 2 <= sum(name == "d0" for name in batch.document_ids) <= 18


def test_every_epoch_of_uneven_length_reads_every_token() -> None:
    data = pretraining(corpus([9, 3, 13]), sequences=4, rows=4)
    for epoch in range(3):
        (batch,) = data.step(epoch)
        assert set(data.corpus.tokens.tolist()) <= set(batch.tokens.flatten().tolist())


def test_ends_are_learned_and_other_documents_are_not_seen() -> None:
    (batch,) = pretraining(corpus([5, 5, 6]), sequences=2, rows=2).step(0)
    assert batch.weights.all()
    without = replace(corpus([5, 5, 6]), tokens=corpus([5, 5, 6]).tokens + np.uint16(1))
    (batch,) = pretraining(without, sequences=2, rows=2).step(0)
    assert (batch.weights == 0).sum() == 3, "no separator in front: the first token of the next one is not predicted"


def test_a_step_is_a_function_of_its_number() -> None:
    documents = corpus([7, 9, 30, 4, 11, 25], sources=["a", "b", "a", "b", "a", "b"])
    first, second = (pretraining(documents, weights={"a": 2.0, "b": 1.0}) for _ in range(2))
    forward = [first.step(step) for step in range(6)]
    backward = [second.step(step) for step in reversed(range(6))][::-1]
    assert all(equal(a, b) for x, y in zip(forward, backward, strict=True) for a, b in zip(x, y, strict=True))


def test_micro_batches_do_not_change_the_sequences() -> None:
    documents = corpus([7, 9, 30, 4, 11, 25])
    wide, narrow = (pretraining(documents, rows=rows).step(3) for rows in (4, 1))
    assert torch.equal(wide[0].tokens, torch.cat([batch.tokens for batch in narrow]))


def test_sources_are_drawn_by_weight() -> None:
    documents = corpus([40, 40, 40, 40], sources=["a", "b", "c", "a"])
    data = pretraining(documents, weights={"a": 3.0, "b": 1.0, "c": 0.0}, sequences=400, rows=400)
    (batch,) = data.step(0)
    share = sum(name == "d1" for name in batch.document_ids) / len(batch.document_ids)
    assert 0.18 < share < 0.32
    assert "d2" not in batch.document_ids
    read = data.epochs(1)
    assert read["a"] * 80 + read["b"] * 40 == 400 * 8


def test_draws_are_the_same_across_blocks() -> None:
    documents = corpus([40, 40], sources=["a", "b"])
    data = pretraining(documents, weights={"a": 0.3, "b": 0.7})
    data._draw.BLOCK = 16
    drawn = [data._draw(number) for number in range(70)]
    for source in (0, 1):
        assert [k for s, k in drawn if s == source] == list(range(sum(s == source for s, _ in drawn)))
    assert data._draw.counts(70).tolist() == [sum(s == source for s, _ in drawn) for source in (0, 1)]


@settings(deadline=None, max_examples=20)
@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=8), gone=st.integers(0, 7), seed=st.integers(0, 50))
def test_a_removed_document_leaves_all_others_where_they_were(sizes: list[int], gone: int, seed: int) -> None:
    name = f"d{gone % len(sizes)}"
    documents = corpus(sizes)
    whole = pretraining(documents, seed=seed)
    removed = pretraining(documents, seed=seed, removed=frozenset({name}))
    for step in range(3):
        for a, b in zip(whole.step(step), removed.step(step), strict=True):
            assert a.document_ids == b.document_ids
            assert torch.equal(a.documents, b.documents)
            theirs = torch.tensor([n == name for n in a.document_ids])[a.documents]
            assert not b.weights[theirs].any()
            assert (b.tokens[theirs] == SEPARATOR).all()
            for part in ("tokens", "targets", "weights"):
                assert torch.equal(getattr(a, part)[~theirs], getattr(b, part)[~theirs])


@pytest.mark.parametrize(
    ("weights", "error", "words"),
    [({"books": 1.0}, InputError, "'books'"), ({"web": 0.0}, EmptyInput, "weight"), ({}, EmptyInput, "weight")],
)
def test_weights_that_name_nothing(weights: dict[str, float], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Pretraining(corpus([5]), weights=weights, separator=0, length=8, sequences=1, rows=1, seed=0)


# -- packed -----------------------------------------------------------------------------------------------------------


def examples(sizes: list[int], *, seed: int = 0) -> list[tuple[Example, ...]]:
    rng = np.random.default_rng(seed)
    return [
        (Example(f"e{i}", rng.integers(0, 32, n), np.arange(n) >= rng.integers(1, n)),) for i, n in enumerate(sizes)
    ]


@given(st.lists(st.integers(1, 20), max_size=30))
def test_packing_keeps_everything_once_and_overfills_nothing(sizes: list[int]) -> None:
    rows = pack(sizes, length=20)
    assert sorted(i for row in rows for i in row) == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in row) <= 20 for row in rows)
    assert len(rows) <= 11 / 9 * -(-sum(sizes) // 20) * 2 + 1
    assert rows == pack(sizes, length=20)


def test_packing_takes_the_tightest_row() -> None:
    assert pack([12, 15, 5, 8], length=20) == [[1, 2], [0, 3]]


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
    assert all(equal(a, b) for a, b in zip(data.step(1), data.step(1), strict=True))


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
