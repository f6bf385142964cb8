"""A base model -> one that answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY
from functools import partial
from pathlib import Path
from typing import Annotated

from hornbook.config import Count, NotNegative, Positive, Takes, options
from hornbook.device import arithmetic, choose_device, choose_precision
from hornbook.judge.metrics import answer_log_likelihood
from hornbook.judge.score import log_likelihoods
from hornbook.learn.batches import Batch
from hornbook.learn.carry import carried
from hornbook.learn.chat import encode_conversation
from hornbook.learn.examples import Example, Examples
from hornbook.learn.loop import Loss, next_token
from hornbook.learn.neftune import NoisyEmbeddings
from hornbook.learn.rows import read_conversations
from hornbook.model.recompute import recompute_layers
from hornbook.run import Run
from hornbook.training.adapting import check_base, make_optimizer, prepare
from hornbook.training.fitting import fit
from hornbook.training.opening import Opened, check_length, open_model
from hornbook.training.options import FromConversations
from hornbook.training.reading import Rows
from hornbook.training.saving import save_on_base

MAKES = "model"
SHARED = True
fingerprint = arithmetic


@options
class Sft(FromConversations):
    """Teach a base model to answer: supervised finetuning on conversations.

    The loss is on the assistant's words only. Conversations are packed into rows without seeing each other, so a step
    learns what it would learn without packing.
    """

    base: Annotated[Path, Takes("model")]
    """Model to start from."""
    _: KW_ONLY
    rows: Annotated[Path, Takes("rows")]
    """Run of `instruct`, a file of conversations in any usual format, or a dataset of the hub (owner/name:split)."""
    epochs: Positive = 2.0
    """Times that each conversation is learned from."""
    batch: Count = 32
    """Conversations in a step."""
    learning_rate: Positive | None = None
    """Peak rate of AdamW (default: 5e-4, for an adapter 2e-3)."""
    neftune_alpha: NotNegative = 0.0
    """Noise on the embeddings while training (NEFTune, arXiv 2310.05914); its authors take 5."""
    seed: int = 0
    """Chooses the order of the rows, and noise."""


def sft(config: Sft, run: Run) -> None:
    run.track(config.track)
    device = choose_device(config.device, deterministic=config.deterministic)
    check_base(run.input("base"), config)
    opened = open_model(run.input("base"), device=device, quantize=config.quantize)
    check_length(opened.model, config.length, before=config.begun)
    train, valid = _examples(config, run, opened)
    prepare(opened.model, config, seed=config.seed, tokenizer=opened.tokenizer)
    if config.recompute:
        recompute_layers(opened.model)
    batches = Examples(
        [(example,) for example in train],
        length=config.length,
        groups_per_step=config.batch,
        rows=config.rows_at_once,
        seed=config.seed,
    )
    learned: Callable[[int], Sequence[Batch]] = batches.step
    loss: Loss = next_token
    if config.neftune_alpha:
        noisy = NoisyEmbeddings(batches.step, next_token, alpha=config.neftune_alpha, seed=config.seed)
        learned, loss = noisy.batches, noisy.loss
    autocast = choose_precision(config.precision, device)
    held_out = [(example.tokens.tolist(), example.answer.tolist()) for example in valid[: config.evaluation_rows]]

    def evaluate() -> dict[str, float]:
        scores = log_likelihoods(opened.model, held_out, autocast=autocast)
        return {"answer_log_likelihood": answer_log_likelihood(scores)} if scores else {}

    fit(
        run,
        opened.model,
        partial(make_optimizer, kind="adamw", learning_rate=config.learning_rate or (2e-3 if config.adapts else 5e-4)),
        label="sft",
        device=device,
        batches=learned,
        loss=loss,
        steps=batches.steps(config.epochs),
        autocast=autocast,
        evaluate=evaluate,
        carry=partial(carried, autocast=autocast),
        tensor_parallel=config.tensor_parallel,
    )
    save_on_base(run, opened, quantize=config.quantize)


def _examples(config: Sft, run: Run, opened: Opened) -> tuple[list[Example], list[Example]]:
    """Training and held-out conversations as tokens; what is cut or set aside is counted."""
    rows = Rows(run, config.bad_rows)
    train, valid = rows.read(run.input("rows"), "sft", partial(read_conversations, control=opened.control))
    encoded = [
        rows.sift(
            encode_conversation(
                row, opened.tokenizer, length=config.length, template=opened.template, special=opened.special
            )
            for row in part
        )
        for part in (train, valid)
    ]
    rows.close(learned=encoded[0])
    rows.tell_cut("conversations", [example.cut for part in encoded for example in part])
    _check_end(run, opened, encoded[0])
    return encoded[0], encoded[1]


def _check_end(run: Run, opened: Opened, examples: Sequence[Example]) -> None:
    """Say so, if the model would not learn to stop: its template ends answers with no token that ends one."""
    whole = next((example for example in examples if not example.cut), None)
    if whole is not None and (last := int(whole.tokens[whole.answer][-1])) not in opened.stop:
        token = opened.tokenizer.decode([last], skip_special_tokens=False)
        run.say(f"the chat template ends answers in {token!r}, which ends no answer when the model generates")
