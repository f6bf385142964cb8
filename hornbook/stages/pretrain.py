"""Tokens -> a language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from tokenizers import Tokenizer

from hornbook.config import Count, Fraction, NotNegative, Positive, Takes
from hornbook.device import Device, Precision, arithmetic, choose_device, choose_precision
from hornbook.errors import EmptyInput, InputError
from hornbook.judge.score import bits_per_byte
from hornbook.learn.carry import carried
from hornbook.learn.curriculum import Phase
from hornbook.learn.loop import next_token
from hornbook.learn.optim import Optimizer
from hornbook.learn.pretraining import Pretraining
from hornbook.learn.sources import sources_of
from hornbook.model.architecture import Architecture
from hornbook.model.cost import parameters
from hornbook.model.transformer import Transformer
from hornbook.run import Run
from hornbook.text import bpe, shards
from hornbook.training import Lora, OptimizerName, check_length, fit, make_optimizer, open_model, prepare, save

MAKES = "model"
fingerprint = arithmetic


@dataclass(frozen=True)
class Pretrain:
    """Train a language model on tokens: from scratch, or on from a base, whole or by LoRA.

    Teacher forcing on windows of the corpus, cross-entropy, no token sees another document. One dial, `depth`, sets
    the shape of a new model. With `base` this is continued pretraining: whole, or of an adapter only (`lora`).
    """

    tokens: Annotated[Path, Takes("tokens")]
    """Run of `tokenize`."""
    _: KW_ONLY
    base: Annotated[Path | None, Takes("model")] = None
    """Model to go on from, instead of a new one."""
    lora: Lora | None = None
    """Train only a low-rank adapter of the base."""
    depth: Count = 6
    """Layers of a new model; its width is 64 times that."""
    length: Count = 256
    """Tokens of a training sequence."""
    batch: Count = 64
    """Sequences in a step."""
    rows: Count = 16
    """Sequences computed at a time: less memory, same result up to rounding."""
    train_tokens: Positive | None = None
    """Tokens to train on (default: 20 for each parameter, as in arXiv 2203.15556)."""
    optimizer: OptimizerName | None = None
    """Default: Muon for the hidden matrices (AdamW for the rest) of a new model, AdamW otherwise."""
    learning_rate: Positive | None = None
    """Peak rate (default: 3e-3 for a new model, 1e-3 for an adapter, 3e-4 for a whole base)."""
    weight_decay: NotNegative = 0.1
    """Pull of matrices towards zero, relative to the rate."""
    clip: Positive = 1.0
    """Largest norm of a step's gradient; a larger one is shrunk to it."""
    skip_spikes: bool = True
    """Learn nothing from a step whose loss or gradient is not finite or far above those of the last healthy steps."""
    ema: Fraction | None = None
    """Keep a moving average of the weights with this decay, such as 0.999, and evaluate and save that."""
    sources: dict[str, NotNegative] | None = None
    """Weight of each source (default: all, by their tokens)."""
    evaluation_tokens: Count = 50_000
    """Held-out tokens of each source that bits per byte is measured on while training."""
    seed: int = 0
    """Chooses starting weights and the order of the documents."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "auto"
    """Of matrix products; weights and optimizer are kept in fp32."""


def pretrain(config: Pretrain, run: Run) -> None:
    source = run.input("tokens")
    train = shards.read(source.file, "train")
    weights = _weights(config, train)
    folder = source.folder()
    tokenizer = bpe.load(folder)
    separator = bpe.separator_id(tokenizer, folder)
    device = choose_device(config.device)
    model = _model(config, run, tokenizer).to(device)
    prepare(model, config.lora, seed=config.seed)
    wanted = config.train_tokens or 20 * parameters(model.architecture)
    steps = max(1, round(wanted / (config.batch * config.length)))
    batches = Pretraining(
        sources_of(train, separator=separator),
        phases=[Phase(1.0, weights)],
        steps=steps,
        length=config.length,
        sequences=config.batch,
        rows=config.rows,
        seed=config.seed,
    )
    count = sum(p.numel() for p in model.parameters())
    run.say(f"{count:,} parameters, {steps} steps of {config.batch * config.length:,} tokens")
    autocast = choose_precision(config.precision, device)
    fit(
        run,
        model,
        _optimizer(config, model),
        label="pretrain",
        batches=batches.step,
        loss=next_token,
        steps=steps,
        autocast=autocast,
        evaluate=_evaluation(config, model, shards.read(source.file, "valid"), separator, autocast),
        clip=config.clip,
        carry=carried(model, autocast=autocast, skip_spikes=config.skip_spikes, ema=config.ema),
    )
    run.result(epochs=batches.epochs(steps))
    save(run, model, tokenizer=tokenizer, folder=folder, base="base" if config.base else None)


def _weights(config: Pretrain, train: shards.Split) -> dict[str, float]:
    """Weight of each source that is trained on.

    Raises:
        EmptyInput: a source that was asked for has no tokens.
    """
    tokens = np.bincount(train.source, train.lengths, minlength=len(train.sources)).tolist()
    there = {name: count for name, count in zip(train.sources, tokens, strict=True) if count}
    for source in config.sources or ():
        if source not in there:
            raise EmptyInput(
                f"{config.tokens} has no tokens of source {source!r} to train on",
                hint=f"its sources are: {', '.join(sorted(there)) or 'none'}",
            )
    return dict(config.sources or there)


def _model(config: Pretrain, run: Run, tokenizer: Tokenizer) -> Transformer:
    """A new model, or the base with the same tokenizer as the tokens."""
    if config.base is None:
        if config.lora is not None:
            raise InputError("an adapter needs a base to adapt", hint='base = "path/to/a/model"')
        return Transformer(shape(config.depth, vocabulary=tokenizer.get_vocab_size(), length=config.length)).initialize(
            config.seed
        )
    opened = open_model(run.input("base"), device=torch.device("cpu"))
    if opened.tokenizer.to_str() != tokenizer.to_str():
        raise InputError(
            f"{config.tokens} was not tokenized with the tokenizer of {config.base}",
            hint=f"hornbook tokenize --tokenizer {config.base} ...",
        )
    check_length(opened.model, config.length)
    return opened.model


def shape(depth: int, *, vocabulary: int, length: int) -> Architecture:
    """The model of one dial: width 64 depth, heads of 64, an MLP of 8/3 the width, query and key normalized."""
    width = 64 * depth
    return Architecture(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=-(-8 * width // 3 // 64) * 64,
        num_hidden_layers=depth,
        num_attention_heads=depth,
        num_key_value_heads=depth,
        head_dim=64,
        qk_norm=True,
        tie_word_embeddings=True,
        max_position_embeddings=max(2048, length),
    )


def _optimizer(config: Pretrain, model: Transformer) -> Optimizer:
    derived = 3e-3 if config.base is None else 3e-4 if config.lora is None else 1e-3
    return make_optimizer(
        model,
        config.optimizer or ("muon" if config.base is None else "adamw"),
        learning_rate=config.learning_rate or derived,
        decay=config.weight_decay,
    )


def _evaluation(
    config: Pretrain, model: Transformer, valid: shards.Split, separator: int, autocast: torch.dtype | None
) -> Callable[[], dict[str, float]]:
    """Bits per byte on the held-out documents of every source."""
    chosen = valid.by_source(most=config.evaluation_tokens)

    def measure(documents: list[tuple[shards.Tokens, int]]) -> float:
        found = bits_per_byte(model, documents, separator=separator, context=config.length, autocast=autocast)
        return found.bits_per_byte

    return lambda: {f"bits_per_byte/{source}": measure(documents) for source, documents in chosen.items()}
