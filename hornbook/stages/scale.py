"""Tokens -> a ladder of small models, a scaling law, and what a larger model would reach."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from hornbook import mixing
from hornbook.config import Count, NotNegative, Positive, Takes
from hornbook.device import Device, Precision, arithmetic, choose_device, choose_precision
from hornbook.errors import EmptyInput
from hornbook.judge.scaling_law import Rung, ScalingLaw, error_of_largest, fit, predict
from hornbook.judge.score import bits_per_byte
from hornbook.learn.curriculum import Phase
from hornbook.learn.hyperparameters import peak_rate, step_sequences
from hornbook.learn.ladder import Size, ladder, size
from hornbook.learn.loop import next_token, train
from hornbook.learn.pretraining import Pretraining
from hornbook.learn.schedules import warmup_stable_decay
from hornbook.model.transformer import Transformer
from hornbook.progress import Bar
from hornbook.run import Run
from hornbook.text import bpe
from hornbook.training.adapting import make_optimizer
from hornbook.training.opening import open_model

MAKES = "scaling law"
fingerprint = arithmetic


@dataclass(frozen=True)
class Scale:
    """Train a ladder of small models, and predict what a larger one would reach before paying for it.

    Every model of the ladder is trained as `pretrain` trains a new one, to its own end: each depth with several
    numbers of tokens for each parameter. A law, L(N, D) = E + A / N^alpha + B / D^beta (arXiv 2203.15556), is fitted
    to the bits per byte that they reach on held-out text. How far it can be trusted is measured: the most expensive
    model of the ladder is predicted from the others. A ladder that was killed goes on with the model it was at.
    """

    tokens: Annotated[Path, Takes("tokens")]
    """Run of `tokenize`."""
    _: KW_ONLY
    depth: Count = 6
    """Layers of the model to predict."""
    train_tokens: Positive | None = None
    """Tokens that it is to be trained on (default: 20 for each parameter, as in arXiv 2203.15556)."""
    depths: tuple[Count, ...] | None = None
    """Layers of the ladder's models (default: a third, a half and two thirds of `depth`)."""
    shares: tuple[Positive, ...] = (0.25, 0.5, 1.0)
    """Tokens for each parameter on the ladder, as shares of what the predicted model sees for each of its own."""
    against: Annotated[Path | None, Takes("model")] = None
    """The larger model, once somebody has trained it: it is measured here, beside its prediction."""
    length: Count = 256
    """Tokens of a training sequence."""
    rows: Count = 16
    """Sequences computed at a time: less memory, same result up to rounding."""
    sources: dict[str, NotNegative] | None = None
    """Weight of each source (default: all, by their tokens)."""
    evaluation_tokens: Count = 50_000
    """Held-out tokens of each source that the loss is measured on."""
    seed: int = 0
    """Chooses starting weights and the order of the documents."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "auto"
    """Of matrix products; weights and optimizer are kept in fp32."""


def scale(config: Scale, run: Run) -> None:
    bench = _Bench(config, run)
    common: dict[str, int] = {"vocabulary": bench.vocabulary, "length": config.length}
    target = size(config.depth, tokens=config.train_tokens, **common)
    sizes = ladder(target, depths=config.depths, shares=config.shares, **common)
    cost = sum(one.flops for one in sizes) / target.flops
    run.say(f"{len(sizes)} models, together {cost:.0%} of the FLOPs of the one to predict")
    losses = _climb(run, sizes, bench)
    measured = bench.measure(open_model(run.input("against"), device=bench.device).model) if config.against else None
    _tell(run, target, sizes, losses, measured=measured, cost=cost)


class _Bench:
    """Data and settings that all models share."""

    def __init__(self, config: Scale, run: Run) -> None:
        self.config, source = config, run.input("tokens")
        folder = source.folder()
        tokenizer = bpe.load(folder)
        self.vocabulary, self.separator = tokenizer.get_vocab_size(), bpe.separator_id(tokenizer, folder)
        self.sources = mixing.opened(source, None, separator=self.separator)
        self.weights = mixing.weights_of(self.sources, config.sources, where=str(config.tokens))
        held_out = mixing.held_out(source, None, most=config.evaluation_tokens)
        self.held_out = [document for name in self.weights for document in held_out.get(name, [])]
        if not self.held_out:
            raise EmptyInput(f"{config.tokens} holds no text back to measure a loss on", hint="tokenize with held_out")
        self.device = choose_device(config.device)
        self.autocast = choose_precision(config.precision, self.device)

    def train(self, one: Size, bar: Bar) -> float:
        """Train a model from its beginning to its end; its bits per byte."""
        config = self.config
        sequences = step_sequences(one.tokens, length=config.length)
        steps = max(1, round(one.tokens / (sequences * config.length)))
        batches = Pretraining(
            self.sources,
            phases=[Phase(1.0, self.weights)],
            steps=steps,
            length=config.length,
            sequences=sequences,
            rows=config.rows,
            seed=config.seed,
        )
        model = Transformer(one.architecture).initialize(config.seed).to(self.device)
        rate = peak_rate(sequences * config.length, total=one.tokens)
        for _ in train(
            model,
            batches=batches.step,
            loss=next_token,
            optimizer=make_optimizer(model, "muon", learning_rate=rate, decay=0.1),
            schedule=lambda step: warmup_stable_decay(step, steps),
            steps=steps,
            autocast=self.autocast,
        ):
            bar.advance(one.flops / steps / 1e9)
        return self.measure(model)

    def measure(self, model: Transformer) -> float:
        """Bits per byte of the held-out text."""
        length, autocast = self.config.length, self.autocast
        return bits_per_byte(
            model, self.held_out, separator=self.separator, context=length, autocast=autocast
        ).bits_per_byte


def _climb(run: Run, sizes: Sequence[Size], bench: _Bench) -> list[float]:
    """The bits per byte of each model; those that a killed run had finished are not trained again."""
    path = run.scratch / "losses.json"
    losses: list[float] = json.loads(path.read_text()) if path.exists() else []
    total, done = (int(sum(one.flops for one in some) / 1e9) for some in (sizes, sizes[: len(losses)]))
    with run.progress("scale", total=total, unit="GFLOP", start=done) as bar:
        for one in sizes[len(losses) :]:
            bar.note(f"{one.depth} layers on {one.tokens:,.0f} tokens")
            losses.append(bench.train(one, bar))
            with run.atomic(path) as temporary:
                temporary.write_text(json.dumps(losses))
    return losses


def _tell(
    run: Run, target: Size, sizes: Sequence[Size], losses: Sequence[float], *, measured: float | None, cost: float
) -> None:
    """Fit the law; its numbers, the ladder and the prediction go to the page, the manifest and `scaling.json`."""
    rungs = [
        Rung(parameters=one.parameters, tokens=one.tokens, loss=loss) for one, loss in zip(sizes, losses, strict=True)
    ]
    law = fit(rungs)
    told = predict(rungs, parameters=target.parameters, tokens=target.tokens)
    parameters, tokens = law.optimum(target.flops)
    best = {"parameters": parameters, "tokens": tokens, "law": law.loss(parameters=parameters, tokens=tokens)}
    run.result(
        law=asdict(law),
        ladder=[_row(one, law, loss) for one, loss in zip(sizes, losses, strict=True)],
        predicted={**_row(target, law, measured), "low": told.low, "high": told.high},
        error_of_largest=error_of_largest(rungs),
        best_for_its_flops=best,
        cost=cost,
    )
    (run.out / "scaling.json").write_text(json.dumps(run.results, indent=1) + "\n")
    run.say(_sentence(run.results))


def _row(one: Size, law: ScalingLaw, loss: float | None) -> dict[str, float | None]:
    said = law.loss(parameters=one.parameters, tokens=one.tokens)
    row = {"depth": one.depth, "parameters": one.parameters, "tokens": one.tokens, "flops": one.flops}
    return {**row, "bits_per_byte": loss, "law": said}


def _sentence(results: Mapping[str, Any]) -> str:
    """What is predicted, and how far that is to be trusted."""
    target, error = results["predicted"], results["error_of_largest"]
    text = f"{target['depth']} layers on {target['tokens']:,.0f} tokens: {target['law']:.3f} bits per byte"
    text += f" ({target['low']:.3f} to {target['high']:.3f} without one of the ladder)"
    if target["bits_per_byte"] is not None:
        text += f"; measured {target['bits_per_byte']:.3f}, {target['law'] / target['bits_per_byte'] - 1:+.1%}"
    return text + (f"; the largest of the ladder was predicted to {error:+.1%}" if error is not None else "")
