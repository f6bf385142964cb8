"""A model that answers -> one that says how good an answer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from hornbook.config import Count, Positive, Takes, options
from hornbook.device import arithmetic, choose_device, choose_precision
from hornbook.errors import UsageError
from hornbook.judge.rewards import conversation_rewards, win_rate
from hornbook.learn.batches import Batch
from hornbook.learn.carry import carried
from hornbook.learn.examples import Examples, judged, longest
from hornbook.learn.loop import rewards
from hornbook.learn.preferences import bradley_terry
from hornbook.model.adapters.attached import adapters
from hornbook.model.adapters.merging import merge
from hornbook.model.recompute import recompute_layers
from hornbook.model.reward import RewardModel, reward_model, save_reward_model
from hornbook.model.transformer import Transformer
from hornbook.run import Run
from hornbook.text import bpe
from hornbook.training.adapting import check_base, make_optimizer, prepare
from hornbook.training.fitting import fit
from hornbook.training.opening import check_length, open_model
from hornbook.training.options import FromConversations
from hornbook.training.pairs import Pair, read_pairs

MAKES = "reward model"
SHARED = True
fingerprint = arithmetic


@options
class Reward(FromConversations):
    """Teach a model to judge answers: a reward model from pairs of a better and a worse one.

    Its reward is one number, the score of a conversation's last token; the loss is that of Bradley and Terry. What an
    adapter has learned is merged into the model that is saved.
    """

    base: Annotated[Path, Takes("model")]
    """Model to start from, most often one made by `sft`."""
    _: KW_ONLY
    rows: Annotated[Path, Takes("rows")]
    """Run of `instruct`, or a JSONL file with `prompt`, `chosen` and `rejected` in each row."""
    epochs: Positive = 1.0
    """Times that each pair is learned from; a second time, a reward model learns the pairs by heart."""
    batch: Count = 32
    """Pairs in a step."""
    learning_rate: Positive | None = None
    """Peak rate of AdamW (default: 1e-4, for an adapter 1e-3)."""
    seed: int = 0
    """Chooses the order of the rows, and the first values of the head."""


def reward(config: Reward, run: Run) -> None:
    run.track(config.track)
    device = choose_device(config.device, deterministic=config.deterministic)
    if config.begun:
        raise UsageError("a reward model is saved whole, and a soft prompt cannot be merged", hint="--lora.r 8")
    check_base(run.input("base"), config)
    opened = open_model(run.input("base"), device=device, quantize=config.quantize)
    check_length(opened.model, config.length, before=config.begun)
    # The last token takes a position too: the score is read there.
    train, valid = read_pairs(run, opened, length=config.length - 1, bad_rows=config.bad_rows)
    model = reward_model(opened.model, seed=config.seed)
    prepare(model, config, seed=config.seed, tokenizer=opened.tokenizer)
    model.score.requires_grad_(True)
    if config.recompute:
        recompute_layers(model)
    pairs = [(judged(chosen), judged(rejected)) for chosen, rejected in train]
    batches = Examples(
        pairs,
        length=longest(pairs),
        groups_per_step=config.batch,
        rows=config.rows_at_once,
        seed=config.seed,
    )
    autocast = choose_precision(config.precision, device)
    fit(
        run,
        model,
        partial(make_optimizer, kind="adamw", learning_rate=config.learning_rate or (1e-3 if config.adapts else 1e-4)),
        label="reward",
        device=device,
        batches=batches.step,
        loss=preference,
        steps=batches.steps(config.epochs),
        autocast=autocast,
        evaluate=partial(held_out_accuracy, model, valid[: config.evaluation_rows], autocast=autocast),
        carry=partial(carried, autocast=autocast),
        tensor_parallel=config.tensor_parallel,
    )
    if adapters(model):
        merge(model)
    save_reward_model(run.out, model, tokenizer=opened.folder, pad=opened.tokenizer.token_to_id(bpe.PAD))
    (run.out / "chat_template.jinja").write_text(opened.template)


def preference(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The loss of a batch in which chosen and rejected alternate, and what the rewards look like."""
    assert isinstance(model, RewardModel)
    found = rewards(model, batch)
    chosen, rejected = found[0::2], found[1::2]
    total, count = bradley_terry(chosen, rejected)
    with torch.no_grad():
        measured = {
            "reward/chosen": chosen.sum(),
            "reward/rejected": rejected.sum(),
            "accuracy": (chosen > rejected).sum() + 0.5 * (chosen == rejected).sum(),
        }
    return total, count, measured


def held_out_accuracy(model: RewardModel, pairs: Sequence[Pair], *, autocast: torch.dtype | None) -> dict[str, float]:
    """How often the chosen answer has the higher reward."""
    if not pairs:
        return {}
    sides = zip(*pairs, strict=True)
    chosen, rejected = (
        conversation_rewards(model, [example.tokens for example in side], autocast=autocast) for side in sides
    )
    return {"preference_accuracy": win_rate(chosen, rejected).value}
