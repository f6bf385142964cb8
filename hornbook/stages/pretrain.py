"""Tokens -> a language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, field
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
from tokenizers import Tokenizer

from hornbook import mixing
from hornbook.config import Bounds, Count, Fraction, NotNegative, Positive, Takes, options
from hornbook.device import arithmetic, choose_device, choose_precision
from hornbook.errors import InputError, UsageError
from hornbook.judge.score import bits_per_byte
from hornbook.learn.carry import carried
from hornbook.learn.curriculum import Phase
from hornbook.learn.hyperparameters import peak_rate, step_sequences, training_tokens
from hornbook.learn.loop import next_token
from hornbook.learn.optim import Optimizer
from hornbook.learn.pretraining import Pretraining
from hornbook.learn.sequences import Packing
from hornbook.learn.sources import Source
from hornbook.model.compilation import Compile, compile_layers, pays
from hornbook.model.cost import parameters, training_flops
from hornbook.model.dial import shape
from hornbook.model.recompute import recompute_layers
from hornbook.model.transformer import Transformer
from hornbook.model.vocabulary import extend
from hornbook.run import Run
from hornbook.text import bpe
from hornbook.text.extension import new_pieces, respelt
from hornbook.training.adapting import OptimizerName, check_base, make_optimizer, prepare
from hornbook.training.fitting import fit
from hornbook.training.opening import check_length, open_model
from hornbook.training.options import Divisible
from hornbook.training.saving import save

MAKES = "model"
FEW = 2048
"""Held-out tokens of each source that a new model is measured on before it learns: it knows as little of all others."""
SHARED = True
fingerprint = arithmetic


@options
class Pretrain(Divisible):
    """Train a language model on tokens: from scratch, or on from a base, whole or by LoRA.

    Teacher forcing on windows of the corpus, cross-entropy, no token sees another document. One dial, `depth`, sets
    the shape of a new model. With `base` this is continued pretraining: whole, or of an adapter only (`lora`, ...).
    """

    tokens: Annotated[Path, Takes("tokens")]
    """Run of `tokenize`."""
    _: KW_ONLY
    base: Annotated[Path | None, Takes("model")] = None
    """Model to go on from, instead of a new one."""
    depth: Count = 6
    """Layers of a new model; its width is 64 times that."""
    length: Count = 256
    """Tokens of a training sequence."""
    batch: Count | None = None
    """Sequences in a step (default: so many that its tokens are 5 times the root of all that are trained on)."""
    rows: Count = 16
    """Sequences computed at a time: less memory, same result up to rounding."""
    train_tokens: Positive | None = None
    """Tokens to train on (default: 20 for each parameter, as in arXiv 2203.15556)."""
    optimizer: OptimizerName | None = None
    """Default: Muon for the hidden matrices (AdamW for the rest) of a new model, AdamW otherwise."""
    learning_rate: Positive | None = None
    """Peak rate (default: 5e-3 for a new model and batch, 1e-3 for an adapter, 3e-4 for a whole base)."""
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
    phases: tuple[Phase, ...] = ()
    """Weights by fraction of training instead, each phase with `until` and `weights`; the last is until 1."""
    late: tuple[str, ...] = ()
    """Sources to see at the end, the riskiest last: to take one of their documents out again, less is trained anew."""
    epochs: dict[str, Positive] = field(default_factory=dict)
    """How often a source may be read, at most; the other sources then give more."""
    caps: dict[str, Positive] = field(default_factory=dict)
    """Training tokens of a source, at most."""
    packing: Packing = "stream"
    """Cut sequences from documents end to end, or pack whole documents, so that none is cut that fits."""
    replay: Annotated[Path | None, Takes("tokens")] = None
    """Run of `tokenize` with general text, to see some of it again lest it be forgotten."""
    replay_share: Annotated[float, Bounds(above=0, below=1)] = 0.1
    """Share of the sequences that are replayed."""
    evaluation_tokens: Count = 50_000
    """Held-out tokens of each source that bits per byte is measured on while training."""
    seed: int = 0
    """Chooses starting weights and the order of the documents."""
    compile: Compile = "auto"
    """Compile the layers with torch.compile: never, always, or where the run is long enough to pay for its start-up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.phases and (self.sources or self.late):
            raise UsageError("phases say what `sources` and `late` say too", hint="give one of them")
        if self.late and (self.epochs or self.caps):
            raise UsageError("late sources take their whole share: no `epochs` or `caps`", hint="use `phases`")
        if self.tensor_parallel > 1 and self.compile is True:
            raise UsageError("layers that processes share (tensor_parallel) are not compiled", hint="--no-compile")


def pretrain(config: Pretrain, run: Run) -> None:
    run.track(config.track)
    tokens, replay = run.input("tokens"), run.input("replay") if config.replay else None
    folder = tokens.folder()
    tokenizer = bpe.load(folder)
    separator = bpe.separator_id(tokenizer, folder)
    if replay is not None:
        mixing.check_tokenizer(replay, tokenizer)
    sources = mixing.opened(tokens, replay, separator=separator)
    phases = _phases(config, sources)
    device = choose_device(config.device, deterministic=config.deterministic)
    autocast = choose_precision(config.precision, device)
    chosen = mixing.held_out(tokens, replay, most=config.evaluation_tokens)
    few = chosen if config.base else mixing.held_out(tokens, replay, most=min(FEW, config.evaluation_tokens))
    model = _model(config, run, tokenizer, chosen, autocast)
    prepare(model, config, seed=config.seed, tokenizer=tokenizer)
    wanted = config.train_tokens or training_tokens(parameters(model.architecture))
    sequences = config.batch or step_sequences(wanted, length=config.length)
    steps = max(1, round(wanted / (sequences * config.length)))
    batches = Pretraining(
        sources,
        phases=phases,
        steps=steps,
        length=config.length,
        sequences=sequences,
        rows=config.rows,
        seed=config.seed,
        packing=config.packing,
        epochs=mixing.limits(sources, epochs=config.epochs, caps=config.caps, where=str(config.tokens)),
    )
    count = sum(p.numel() for p in model.parameters())
    run.say(f"{count:,} parameters, {steps} steps of {sequences * config.length:,} tokens")
    _transform(config, run, model, device, flops=training_flops(model.architecture, length=config.length) * wanted)
    fit(
        run,
        model,
        partial(_optimizer, config, sequences=sequences, wanted=wanted),
        label="pretrain",
        device=device,
        batches=batches.step,
        loss=next_token,
        steps=steps,
        autocast=autocast,
        evaluate=lambda: _measured(config, model, chosen, separator, autocast),
        before=lambda: _measured(config, model, few, separator, autocast),
        clip=config.clip,
        carry=partial(carried, autocast=autocast, skip_spikes=config.skip_spikes, ema=config.ema),
        tensor_parallel=config.tensor_parallel,
    )
    run.result(epochs=batches.epochs(steps))
    _tell(run)
    base = "base" if config.base else None
    save(run, model, tokenizer=tokenizer, folder=folder, base=base, quantize=config.quantize)


def _phases(config: Pretrain, sources: Mapping[str, Source]) -> list[Phase]:
    where = str(config.tokens)
    phases = mixing.planned(sources, weights=config.sources, phases=config.phases, late=config.late, where=where)
    return mixing.with_replay(phases, sources, share=config.replay_share) if config.replay else phases


def _transform(config: Pretrain, run: Run, model: Transformer, device: torch.device, *, flops: float) -> None:
    """Make the layers recompute their activations, or compiled code, as the config and the run's length say."""
    if config.recompute:
        recompute_layers(model)
    if config.tensor_parallel == 1 and pays(config.compile, device=device.type, flops=flops):
        run.say("the layers are compiled in the first steps")
        compile_layers(model)


def _model(
    config: Pretrain,
    run: Run,
    tokenizer: Tokenizer,
    chosen: Mapping[str, mixing.Documents],
    autocast: torch.dtype | None,
) -> Transformer:
    """A new model; or the base, with rows for the tokens that its tokenizer was extended by."""
    if config.base is None:
        if config.adapts:
            raise InputError("an adapter needs a base to adapt", hint='base = "path/to/a/model"')
        return Transformer(shape(config.depth, vocabulary=tokenizer.get_vocab_size(), length=config.length)).initialize(
            config.seed
        )
    check_base(run.input("base"), config)
    opened = open_model(run.input("base"), device=torch.device("cpu"), quantize=config.quantize)
    check_length(opened.model, config.length, before=config.begun)
    pieces = {} if opened.tokenizer.to_str() == tokenizer.to_str() else new_pieces(opened.tokenizer, tokenizer)
    if pieces is None:
        raise InputError(
            f"{config.tokens} was not tokenized with the tokenizer of {config.base}",
            hint=f"hornbook tokenize --tokenizer {config.base} ...",
        )
    if not pieces:
        return opened.model
    if config.adapts:
        raise InputError(
            f"{config.tokens} has {len(pieces)} new pieces, and an adapter, which leaves embeddings alone, learns none",
            hint="train the whole model, without an adapter",
        )
    own = {name: respelt(documents, tokenizer, opened.tokenizer) for name, documents in chosen.items()}
    run.result(base=_measured(config, opened.model, own, opened.separator, autocast))
    run.say(f"{len(pieces):,} new tokens begin as the mean of their pieces")
    return extend(opened.model, pieces)


def _optimizer(config: Pretrain, model: Transformer, *, sequences: int, wanted: float) -> Optimizer:
    new = peak_rate(sequences * config.length, total=wanted)
    derived = new if config.base is None else 3e-4 if not config.adapts else 1e-3
    return make_optimizer(
        model,
        config.optimizer or ("muon" if config.base is None else "adamw"),
        learning_rate=config.learning_rate or derived,
        decay=config.weight_decay,
    )


def _measured(
    config: Pretrain,
    model: Transformer,
    chosen: Mapping[str, mixing.Documents],
    separator: int,
    autocast: torch.dtype | None,
) -> dict[str, float]:
    """Bits per byte on the held-out documents of every source."""

    def measure(documents: mixing.Documents) -> float:
        found = bits_per_byte(model, documents, separator=separator, context=config.length, autocast=autocast)
        return found.bits_per_byte

    return {f"bits_per_byte/{source}": measure(documents) for source, documents in chosen.items()}


def _tell(run: Run) -> None:
    """What training did to each source, and to what was replayed; with new pieces, beside the base with its own."""
    columns = {name: run.results[name] for name in ("base", "before", "after") if run.results.get(name)}
    measured = {title: {k: v for k, v in row.items() if "/" in k} for title, row in columns.items()}
    if any(measured.values()):
        for line in mixing.told(measured):
            run.say(line)
