from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.errors import EmptyInput, InputError
from hornbook.learn.curriculum import Phase
from hornbook.learn.pretraining import Pretraining
from hornbook.learn.sources import sources_of
from hornbook.text.shards import Split
from tests.learn import tiny

SEPARATOR = 0
BOTH = pytest.mark.parametrize("packing", ["stream", "whole"])


def corpus(sizes: list[int], *, names: list[str] | None = None) -> Split:
    """Documents `d0`, `d1`, ... of sources `names`; token k of document d is 100 d + k, and the first the separator."""
    tokens: Any = np.concatenate([np.arange(n) + 100 * d for d, n in enumerate(sizes)]).astype(np.uint16)
    offsets = np.cumsum([0, *sizes[:-1]])
    tokens[offsets] = SEPARATOR
    given = names or ["web"] * len(sizes)
    return Split(
        shards=[tokens],
        ids=[f"d{i}" for i in range(len(sizes))],
        sources=sorted(set(given)),
        source=np.array([sorted(set(given)).index(name) for name in given]),
        shard=np.zeros(len(sizes), np.int64),
        offsets=offsets,
        lengths=np.array(sizes),
        bytes=np.array(sizes),
        keys=np.arange(len(sizes)).astype(np.uint64) * np.uint64(7919),
    )


def pretraining(documents: Split, *, removed: frozenset[str] = frozenset(), **options: Any) -> Pretraining:
    weights = options.pop("weights", {"web": 1.0})
    chosen: dict[str, Any] = {"length": 8, "sequences": 4, "rows": 2, "seed": 1, "steps": 100} | options
    chosen.setdefault("phases", [Phase(1.0, weights)])
    return Pretraining(sources_of(documents, separator=SEPARATOR, removed=removed), **chosen)


def named(batch: Any) -> list[str]:
    return [([*batch.document_ids, "padding"])[i] for i in batch.documents.flatten().tolist()]


@BOTH
def test_an_epoch_reads_every_token_once(packing: str) -> None:
    data = pretraining(corpus([9, 3, 12, 8, 16]), sequences=6, rows=6, packing=packing)
    (batch,) = data.step(0)
    names = named(batch)
    read = [t for t, name in zip(batch.tokens.flatten().tolist(), names, strict=True) if name != "padding"]
    assert sorted(read) == sorted(corpus([9, 3, 12, 8, 16]).shards[0].tolist())
    assert all(
        token == SEPARATOR or name in (f"d{token // 100}", "padding")
        for token, name in zip(batch.tokens.flatten().tolist(), names, strict=True)
    )


@BOTH
@settings(max_examples=25)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8), seed=st.integers(0, 50))
def test_every_target_is_the_next_token_of_the_document_or_its_end(packing: str, sizes: list[int], seed: int) -> None:
    documents = corpus(sizes)
    data = pretraining(documents, seed=seed, packing=packing)
    for batch in data.step(0):
        for token, target, weight, name in zip(
            *(getattr(batch, part).flatten().tolist() for part in ("tokens", "targets", "weights")),
            named(batch),
            strict=True,
        ):
            if name == "padding":
                assert weight == 0
                continue
            size = sizes[int(name[1:])]
            place = token - 100 * int(name[1:]) if token != SEPARATOR else 0
            assert weight == 1
            assert target == (token + 1 if token != SEPARATOR else 100 * int(name[1:]) + 1) or place == size - 1
            assert target == SEPARATOR or place < size - 1


@BOTH
def test_the_next_epoch_has_another_order(packing: str) -> None:
    data = pretraining(corpus([8] * 12), sequences=12, rows=12, packing=packing)
    orders = [data.step(step)[0].document_ids for step in range(3)]
    assert len(set(orders)) == 3
    assert {frozenset(order) for order in orders} == {frozenset(f"d{i}" for i in range(12))}


@BOTH
def test_a_long_document_does_not_fill_whole_steps(packing: str) -> None:
    data = pretraining(corpus([800, *[8] * 100]), sequences=20, rows=20, packing=packing)
    for step in range(10):
        (batch,) = data.step(step)
        assert 2 <= sum(name == "d0" for name in batch.document_ids) <= 18


@BOTH
def test_every_epoch_of_uneven_length_reads_every_token(packing: str) -> None:
    data = pretraining(corpus([9, 3, 13]), sequences=4, rows=4, packing=packing)
    for epoch in range(3):
        (batch,) = data.step(epoch)
        assert set(corpus([9, 3, 13]).shards[0].tolist()) <= set(batch.tokens.flatten().tolist())


def test_whole_documents_are_not_cut_where_they_fit() -> None:
    sizes = [5, 3, 8, 2, 7, 6, 1]
    (batch,) = pretraining(corpus(sizes), sequences=4, rows=4, packing="whole").step(0)
    assert sorted(batch.document_ids) == [f"d{i}" for i in range(len(sizes))]
    assert batch.tokens.shape == (4, 8)


@BOTH
def test_a_step_is_a_function_of_its_number(packing: str) -> None:
    documents = corpus([7, 9, 30, 4, 11, 25], names=["a", "b", "a", "b", "a", "b"])
    first, second = (pretraining(documents, weights={"a": 2.0, "b": 1.0}, packing=packing) for _ in range(2))
    forward = [first.step(step) for step in range(6)]
    backward = [second.step(step) for step in reversed(range(6))][::-1]
    assert all(tiny.equal(a, b) for x, y in zip(forward, backward, strict=True) for a, b in zip(x, y, strict=True))


def test_micro_batches_do_not_change_the_sequences() -> None:
    documents = corpus([7, 9, 30, 4, 11, 25])
    wide, narrow = (pretraining(documents, rows=rows).step(3) for rows in (4, 1))
    assert torch.equal(wide[0].tokens, torch.cat([batch.tokens for batch in narrow]))


@BOTH
def test_sources_are_drawn_by_weight(packing: str) -> None:
    documents = corpus([40, 40, 40, 40], names=["a", "b", "c", "a"])
    weights = {"a": 3.0, "b": 1.0, "c": 0.0}
    data = pretraining(documents, weights=weights, sequences=400, rows=400, steps=4, packing=packing)
    read = [set(batch.document_ids) for step in range(4) for batch in data.step(step)]
    assert all("d2" not in names for names in read)
    assert data.epochs(4) == {"a": 1200 * 8 / 80, "b": 400 * 8 / 40}


def test_phases_change_the_sources_and_limits_hold() -> None:
    documents = corpus([80, 80, 80], names=["web", "books", "notes"])
    phases = [Phase(0.5, {"web": 3.0, "notes": 1.0}), Phase(1.0, {"books": 1.0})]
    data = pretraining(documents, phases=phases, steps=10, sequences=8, rows=8, epochs={"notes": 0.5})
    seen = [set(data.step(step)[0].document_ids) for step in range(10)]
    assert all("d1" not in names for names in seen[:5])
    assert all(names == {"d1"} for names in seen[5:])
    assert data.epochs(10) == {"books": 4.0, "notes": 0.5, "web": 3.5}


@BOTH
@settings(max_examples=20)
@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=8), gone=st.integers(0, 7), seed=st.integers(0, 50))
def test_a_removed_document_leaves_all_others_where_they_were(
    packing: str, sizes: list[int], gone: int, seed: int
) -> None:
    name = f"d{gone % len(sizes)}"
    documents = corpus(sizes)
    whole = pretraining(documents, seed=seed, packing=packing)
    removed = pretraining(documents, seed=seed, removed=frozenset({name}), packing=packing)
    for step in range(3):
        for a, b in zip(whole.step(step), removed.step(step), strict=True):
            assert a.document_ids == b.document_ids
            assert torch.equal(a.documents, b.documents)
            theirs = torch.tensor([n == name for n in (*a.document_ids, "padding")])[a.documents]
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
        pretraining(corpus([5]), weights=weights, sequences=1, rows=1)
