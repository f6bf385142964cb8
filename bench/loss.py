"""books -> a model of 4 million parameters: how good in how much time, whole recipes against each other.

time-to-loss   CPU-seconds of our training until held-out bits per byte are as low as those of nanoGPT after its own;
               ours is trained anew for longer until it is, and the last run counts, whole
loss-nanochat  bits per byte after equally many CPU-seconds

All sides have the same tokens, width and depth, and are told how long they may take, so that each fits its schedule to
it. Start-up, compilation and measuring are not timed.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inputs import rows, write_jsonl
from measure import PEERS, Measured, Peer, Row, Stopwatch, fresh, main
from pretrain import dtype

if TYPE_CHECKING:
    from torch import Tensor

    from hornbook.learn.batches import Batch

VOCABULARY, LENGTH, DEPTH = 4096, 256, 4
WIDTH, HEADS = 64 * DEPTH, DEPTH
MEGABYTES, HELD_OUT_TOKENS = 12.0, 30_000
MORE = 1.15
"""How much longer our next try takes."""
PACE_TOKENS = 24_576
"""Of the training by whose steps a side's speed is known; the first half do not count. A longer one may have larger
steps, so what was taken in the end is told beside what was meant."""


def prepare(*, folder: Path, **_: Any) -> None:
    """Books as tokens: a run of `tokenize`."""
    from hornbook.execute import execute
    from hornbook.stages import load

    crawl, curate, tokenize = (load(name) for name in ("crawl", "curate", "tokenize"))
    books, left = [], MEGABYTES * 1e6
    for row in rows("text/books_train"):
        if left > 0:
            books.append({"id": row["id"], "text": row["text"]})
        left -= len(row["text"])
    source = write_jsonl(fresh(folder / "in") / "books.jsonl", books)
    gathered = execute(crawl, crawl.config(source=str(source)), runs=folder / "runs")
    corpus = execute(curate, curate.config(crawl=gathered, filters={}, workers=1), runs=folder / "runs")
    execute(tokenize, tokenize.config(corpus, vocabulary=VOCABULARY), runs=folder / "runs")


# -- what all sides share ---------------------------------------------------------------------------------------------


def tokenized(folder: Path) -> Path:
    return next(path for path in (folder / "runs").glob("tokenize-*") if path.is_dir())


def separator(folder: Path) -> int:
    from hornbook.text import bpe

    return bpe.separator_id(bpe.load(tokenized(folder)), tokenized(folder))


def batches(folder: Path, *, sequences: int, steps: int, seed: int) -> Callable[[int], Sequence[Batch]]:
    """The same windows in the same order for all sides."""
    from hornbook.learn.curriculum import Phase
    from hornbook.learn.pretraining import Pretraining
    from hornbook.learn.sources import sources_of
    from hornbook.text import shards

    found = sources_of(shards.read(tokenized(folder).joinpath, "train"), separator=separator(folder))
    phases = [Phase(1.0, dict.fromkeys(found, 1.0))]
    return Pretraining(
        found, phases=phases, steps=steps, length=LENGTH, sequences=sequences, rows=min(16, sequences), seed=seed
    ).step


def bits_per_byte(folder: Path, logits: Callable[[Tensor], Tensor]) -> float:
    """Of a model given as [B, T] -> [B, T, V]: held-out documents in windows of LENGTH, as `judge.score` cuts them."""
    import torch
    import torch.nn.functional as F

    from hornbook.text import shards

    held = shards.read(tokenized(folder).joinpath, "valid").by_source(most=HELD_OUT_TOKENS)
    documents = [document for part in held.values() for document in part]
    begun = [[separator(folder), *map(int, ids)] for ids, _ in documents]
    windows = [ids[at : at + LENGTH + 1] for ids in begun for at in range(0, len(ids) - 1, LENGTH)]
    nats = 0.0
    with torch.no_grad():
        for start in range(0, len(windows), 4):
            some = windows[start : start + 4]
            # What is behind a short window is predicted by nobody.
            given = torch.tensor([(ids[:-1] + [0] * LENGTH)[:LENGTH] for ids in some])
            wanted = torch.tensor([(ids[1:] + [-1] * LENGTH)[:LENGTH] for ids in some])
            said = logits(given).float().flatten(0, 1)
            nats += float(F.cross_entropy(said, wanted.flatten(), ignore_index=-1, reduction="sum"))
    return nats / math.log(2) / sum(size for _, size in documents)


@dataclass(frozen=True)
class Recipe:
    """A model, and how it is trained on a number of tokens that was told."""

    steps: int
    step_tokens: int
    take: Callable[[int], object]
    """A step, by its number."""
    logits: Callable[[Tensor], Tensor]


def within(make: Callable[[float], Recipe], *, seconds: float, folder: Path) -> Measured:
    """Bits per byte of what a recipe makes in so many CPU-seconds, whose tokens are known by some steps before."""
    paced = make(PACE_TOKENS)
    warm = paced.steps // 2
    for step in range(warm):
        paced.take(step)
    with Stopwatch() as watch:
        for step in range(warm, paced.steps):
            paced.take(step)
    recipe = make((paced.steps - warm) * paced.step_tokens / watch.cpu * seconds)
    with Stopwatch() as watch:
        for step in range(recipe.steps):
            recipe.take(step)
    notes = {"cpu_seconds": watch.cpu, "tokens": recipe.steps * recipe.step_tokens, "steps": recipe.steps}
    return Measured(bits_per_byte(folder, recipe.logits), notes)


# -- recipes ----------------------------------------------------------------------------------------------------------


def hornbook(total: float, *, folder: Path, seed: int) -> Recipe:
    """`hornbook pretrain --depth 4 --train-tokens TOTAL`: all else is derived."""
    from hornbook.learn.hyperparameters import peak_rate, step_sequences
    from hornbook.learn.loop import next_token, train
    from hornbook.learn.schedules import warmup_stable_decay
    from hornbook.model.dial import shape
    from hornbook.model.transformer import Transformer
    from hornbook.training.adapting import make_optimizer

    sequences = step_sequences(total, length=LENGTH)
    steps = max(1, round(total / (sequences * LENGTH)))
    model = Transformer(shape(DEPTH, vocabulary=VOCABULARY, length=LENGTH)).initialize(seed)
    rate = peak_rate(sequences * LENGTH, total=total)
    loop = train(
        model,
        batches=batches(folder, sequences=sequences, steps=steps, seed=seed),
        loss=next_token,
        optimizer=make_optimizer(model, "muon", learning_rate=rate, decay=0.1),
        schedule=lambda step: warmup_stable_decay(step, steps),
        steps=steps,
        autocast=dtype(),
    )
    return Recipe(steps, sequences * LENGTH, lambda step: next(loop), model)


def nanogpt(total: float, *, folder: Path, seed: int) -> Recipe:
    """nanoGPT with the rates, betas and schedule of its small character model; 12 windows a step, as it says for CPUs.

    Its dropout is for 5,000 steps on one megabyte; here no text comes twice, and there is none.
    """
    import torch

    assert PEERS is not None
    sys.path.insert(0, str(PEERS / "nanoGPT"))
    from model import GPT, GPTConfig

    torch.manual_seed(seed)
    shape = {"n_layer": DEPTH, "n_head": HEADS, "n_embd": WIDTH, "block_size": LENGTH, "vocab_size": VOCABULARY}
    model = GPT(GPTConfig(**shape, dropout=0.0, bias=False))
    sequences, rate, least, warmup = 12, 1e-3, 1e-4, 100
    steps = max(1, round(total / (sequences * LENGTH)))
    given = batches(folder, sequences=sequences, steps=steps, seed=seed)
    adamw, compiled = model.configure_optimizers(0.1, rate, (0.9, 0.99), "cpu"), torch.compile(model)

    def take(step: int) -> None:
        done = min(1.0, max(0, step - warmup) / max(1, steps - warmup))
        cosine = least + (rate - least) * (1 + math.cos(math.pi * done)) / 2
        for group in adamw.param_groups:
            group["lr"] = rate * (step + 1) / (warmup + 1) if step < warmup else cosine
        for batch in given(step):
            compiled(batch.tokens, batch.targets)[1].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad(set_to_none=True)

    # Without targets it computes the last position only.
    return Recipe(steps, sequences * LENGTH, take, lambda tokens: model(tokens, tokens)[0])


def nanochat(total: float, *, folder: Path, seed: int, batch: int) -> Recipe:
    """nanochat's model of that depth with heads of 64 and full windows, as it says for CPUs, and the rates, momentum,
    weight decay and schedule of its `base_train`, scaled to the batch as there."""
    import torch

    assert PEERS is not None
    sys.path.insert(0, str(PEERS / "nanochat"))
    from nanochat.gpt import GPT, GPTConfig

    torch.manual_seed(seed)
    shape = {"n_layer": DEPTH, "n_head": HEADS, "n_kv_head": HEADS, "n_embd": WIDTH}
    model = GPT(GPTConfig(sequence_len=LENGTH, vocab_size=VOCABULARY, window_pattern="L", **shape))
    model.init_weights()
    steps = max(1, round(total / batch))
    given = batches(folder, sequences=batch // LENGTH, steps=steps, seed=seed)
    # Its reference is a model of depth 12 in batches of 2^19 tokens, 12 tokens for each weight of a product.
    scale, reference = (batch / 2**19) ** 0.5, 12 * (12 * 12 * 768**2 + 768 * VOCABULARY)
    decay = 0.28 * scale * reference / total
    made = model.setup_optimizer(
        unembedding_lr=0.008 * scale,
        embedding_lr=0.3 * scale,
        scalar_lr=0.5 * scale,
        matrix_lr=0.02 * scale,
        weight_decay=decay,
    )
    compiled, down = torch.compile(model, dynamic=False), max(1, round(0.65 * steps))

    def take(step: int) -> None:
        left = min(1.0, (steps - step) / down)
        rate = (step + 1) / 40 if step < 40 else left + (1 - left) * 0.05
        momentum = 0.85 + 0.12 * step / 400 if step < 400 else 0.90 + 0.07 * left
        for group in made.param_groups:
            group["lr"] = group["initial_lr"] * rate
            if group["kind"] == "muon":
                group["momentum"] = momentum
                group["weight_decay"] = decay * (1 + math.cos(math.pi * step / steps)) / 2
        micro = given(step)
        for one in micro:
            (compiled(one.tokens, one.targets) / len(micro)).backward()
        made.step()
        model.zero_grad(set_to_none=True)

    return Recipe(steps, batch, take, model)


# -- sides ------------------------------------------------------------------------------------------------------------


def ours(*, folder: Path, seconds: float, seed: int, **_: Any) -> Measured:
    return within(partial(hornbook, folder=folder, seed=seed), seconds=seconds, folder=folder)


def theirs(*, folder: Path, seconds: float, seed: int, batch: int) -> Measured:
    return within(partial(nanochat, folder=folder, seed=seed, batch=batch), seconds=seconds, folder=folder)


def prepare_target(*, folder: Path, seconds: float, seed: int) -> None:
    """Tokens, and nanoGPT's own training: where ours is to get to."""
    prepare(folder=folder)
    found = within(partial(nanogpt, folder=folder, seed=seed), seconds=seconds, folder=folder)
    (folder / "target.json").write_text(json.dumps({"bits_per_byte": found.value, **found.notes}))


def target(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "target.json").read_text())
    return found


def reached(*, folder: Path, seed: int, **_: Any) -> Measured:
    """CPU-seconds of our shortest training that gets there."""
    wanted = target(folder)
    seconds = wanted["cpu_seconds"] / 16
    while seconds < wanted["cpu_seconds"]:
        found = ours(folder=folder, seconds=seconds, seed=seed)
        print(f"{found.notes['cpu_seconds']:.1f} CPU-s: {found.value:.3f}", file=sys.stderr)
        if found.value <= wanted["bits_per_byte"]:
            return Measured(found.notes["cpu_seconds"], {"bits_per_byte": found.value, "tokens": found.notes["tokens"]})
        seconds *= MORE
    raise SystemExit(f"{wanted['bits_per_byte']:.3f} bits a byte were not reached in {seconds:.0f} CPU-seconds")


def took(*, folder: Path, **_: Any) -> Measured:
    """What nanoGPT took, in `prepare_target`."""
    wanted = target(folder)
    return Measured(wanted["cpu_seconds"], wanted)


SEEDS, NANOCHAT_BATCH = (0, 1, 2), 4096
recipes = partial(Row, less_is_better=True, repeats=1, trains=True)
ROWS = (
    recipes(
        "time-to-loss",
        "CPU-s to nanoGPT's loss",
        {"4 M, 240 CPU-s of nanoGPT": {"seconds": 240, "seed": 0}},
        reached,
        (Peer(took, "nanoGPT/", config="fp32, compiled, its schedule for 240 CPU-seconds"),),
        prepare=prepare_target,
    ),
    recipes(
        "loss-nanochat",
        "bits a byte",
        {
            f"4 M, 120 CPU-s, seed {seed}": {"seconds": 120, "seed": seed, "batch": NANOCHAT_BATCH} for seed in SEEDS
        },
        ours,
        (Peer(theirs, "nanochat/", config="its base_train, compiled, for as many CPU-seconds"),),
        prepare=prepare,
    ),
)

if __name__ == "__main__":
    main(ROWS)
