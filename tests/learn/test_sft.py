"""What supervised finetuning learns: as transformers does with labels, and with NEFTune's noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hornbook.learn.batches import Batch
from hornbook.learn.examples import Example, batched
from hornbook.learn.loop import next_token
from hornbook.learn.neftune import NoisyEmbeddings
from hornbook.model.transformer import Transformer
from hornbook.model.weights import save_model
from hornbook.text import bpe
from tests.learn import tiny

SIZES = (11, 4, 7, 19, 5)


def examples(vocabulary: int) -> list[Example]:
    """Conversations of several turns: what is said in answer is learned."""
    made = []
    for number, size in enumerate(SIZES):
        tokens = np.random.default_rng(number).integers(4, vocabulary, size)
        answer = np.arange(size) % 4 >= 2
        made.append(Example(f"e{number}", tokens, answer))
    return made


def gradient(model: Transformer, batches: Sequence[Batch], loss=next_token) -> tuple[float, dict[str, Tensor]]:  # type: ignore[no-untyped-def]
    """Mean loss over the answers of all batches, and its gradient."""
    model.zero_grad()
    sums = [loss(model, batch) for batch in batches]
    mean = sum(total for total, _ in sums) / sum(float(count) for _, count in sums)
    mean.backward()
    return mean.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def alone(made: Sequence[Example], **options: int) -> tuple[Batch, ...]:
    return tuple(batch for example in made for batch in batched([(example,)], length=64, rows=1))


def packed(made: Sequence[Example], *, length: int = 24, rows: int = 2) -> tuple[Batch, ...]:
    return batched([(example,) for example in made], length=length, rows=rows)


def test_loss_and_gradient_are_those_of_transformers_with_labels(tmp_path: Path) -> None:
    """One conversation a row, padded on the right, -100 where nothing is learned; ours packed with a document mask."""
    transformers = pytest.importorskip("transformers")
    bpe.save(bpe.train(["a b"], vocabulary=270), tmp_path)
    model = tiny.model(vocab=270, layers=2, exact=False)
    save_model(tmp_path / "model", model, tokenizer=tmp_path, bos=0, eos=[0], pad=3)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float64)
    made, longest = examples(270), max(SIZES)
    ids, labels, mask = torch.full((3, len(SIZES), longest), 3)
    labels.fill_(-100)
    mask.zero_()
    for row, example in enumerate(made):
        size = len(example.tokens)
        ids[row, :size] = torch.from_numpy(example.tokens)
        labels[row, :size] = torch.from_numpy(np.where(example.answer, example.tokens, -100))
        mask[row, :size] = 1
    found = theirs(input_ids=ids, attention_mask=mask, labels=labels).loss
    found.backward()
    loss, gradients = gradient(model.double(), packed(made))
    assert loss == pytest.approx(found.item(), rel=1e-6), "theirs is in single precision, whatever the model is"
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-8)


# -- NEFTune ----------------------------------------------------------------------------------------------------------


def noisy(made: Sequence[Example], step: int, pack=packed, *, alpha: float = 5.0, seed: int = 0):  # type: ignore[no-untyped-def]
    data = NoisyEmbeddings(lambda step: pack(made), next_token, alpha=alpha, seed=seed)
    return gradient(tiny.model(vocab=270), data.batches(step), data.loss)


def test_noise_is_of_the_step_and_the_example_and_not_of_the_packing() -> None:
    made = examples(270)
    loss, gradients = noisy(made, 3)
    same, others = noisy(made, 3, alone)
    assert loss == pytest.approx(same, rel=1e-12)
    for name, value in gradients.items():
        torch.testing.assert_close(value, others[name], rtol=1e-9, atol=1e-12)
    assert noisy(made, 3)[0] == loss
    plain = gradient(tiny.model(vocab=270), packed(made))[0]
    assert len({loss, noisy(made, 4)[0], noisy(made, 3, seed=1)[0], noisy(made, 3, alpha=1.0)[0], plain}) == 5


def test_noise_is_uniform_and_scaled_by_length_and_width() -> None:
    seen: list[Tensor] = []
    model, made = tiny.model(vocab=270, exact=False), examples(270)[3:4]

    def loss(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
        seen.append(model.embed(batch.tokens, None) - model.model.embed_tokens.weight[batch.tokens])
        return next_token(model, batch)

    data = NoisyEmbeddings(lambda step: packed(made), loss, alpha=5.0, seed=0)
    for step in range(200):
        data.loss(model, data.batches(step)[0])
    drawn = torch.stack(seen)
    bound = 5.0 / math.sqrt((SIZES[3] - 1) * 16)
    assert drawn.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert drawn.mean().item() == pytest.approx(0, abs=bound / 50)
    assert drawn.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_outside_of_the_loss_there_is_no_noise() -> None:
    model, made = tiny.model(vocab=270), examples(270)
    (first, *_) = packed(made)
    before = model(first.tokens)
    data = NoisyEmbeddings(lambda step: packed(made), next_token, alpha=5.0, seed=0)
    data.loss(model, data.batches(0)[0])
    assert torch.equal(model(first.tokens), before)
