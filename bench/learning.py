"""tokens -> model: bits per byte of unseen books against CPU-seconds, one thread, everyone in the same precision.

Every side learns from the same tokens for so many CPU-seconds: compiling and evaluating are not counted. Schedules run
with the share of the seconds that is spent, so that every side ends its schedule when its time is up.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inputs import made_up, rows, write_jsonl
from measure import PEERS, Measured, Peer, Row, main

if TYPE_CHECKING:
    import torch

    from hornbook.learn.batches import Pretraining
    from hornbook.model.transformer import Transformer

VOCABULARY = 4096
LENGTH = 256
SCORED = 60_000
MOST = 4096
"""Unseen tokens that are predicted, in all and of a chapter: the beginning of every third one."""


# -- text -------------------------------------------------------------------------------------------------------------


def prepare(*, folder: Path, **_: Any) -> None:
    """Books as tokens, and their tokenizer, learned from every fourth chapter."""
    from hornbook.text import bpe, shards

    books = {split: _books(split) for split in shards.SPLITS}
    tokenizer = bpe.train((text for _, text in books["train"][::4]), vocabulary=VOCABULARY)
    bpe.save(tokenizer, folder)
    found = [
        shards.Row(name, "books", split, ids, len(text.encode()), False)
        for split, texts in books.items()
        for (name, text), ids in zip(texts, bpe.encode_texts(tokenizer, [t for _, t in texts]), strict=True)
    ]
    shards.write(folder, found, separator=0, vocabulary=VOCABULARY)
    write_jsonl(folder / "ready.jsonl", [{"tokens": sum(len(row.tokens) for row in found)}])


def _books(split: str) -> list[tuple[str, str]]:
    real = [(row["id"], row["text"]) for row in rows(f"text/books_{split}")]
    first = 0 if split == "train" else 10_000
    return real or [(f"{split} {at}", made_up(at, 3000)) for at in range(first, first + 40)]


def batches(folder: Path, *, length: int, sequences: int, seed: int) -> Pretraining:
    """Windows of the training books."""
    from hornbook.learn.curriculum import Phase
    from hornbook.learn.pretraining import Pretraining
    from hornbook.learn.sources import sources_of
    from hornbook.text import shards

    sources = sources_of(shards.read(folder.joinpath, "train"), separator=0)
    phases = [Phase(1.0, {"books": 1.0})]
    shape = {"length": length, "sequences": sequences, "rows": sequences}
    return Pretraining(sources, phases=phases, steps=1, seed=seed, **shape)


def windows(folder: Path) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Unseen text as inputs and targets, int64[N, LENGTH] (target -1: not scored), and its UTF-8 bytes."""
    import torch
    from torch.nn.functional import pad

    from hornbook.text import bpe, shards

    inputs, targets, size, left = [], [], 0, SCORED
    tokenizer = bpe.load(folder)
    unseen = [row for row in shards.rows(folder) if row.split == "valid"]
    for row in unseen[::3]:
        ids = torch.tensor([0, *row.tokens[:MOST]], dtype=torch.int64)
        size += len(tokenizer.decode(ids[1:].tolist()).encode())
        for piece in torch.split(ids[:-1], LENGTH):
            inputs.append(pad(piece, (0, LENGTH - len(piece))))
        for piece in torch.split(ids[1:], LENGTH):
            targets.append(pad(piece, (0, LENGTH - len(piece)), value=-1))
        left -= len(ids)
        if left <= 0:
            break
    return torch.stack(inputs), torch.stack(targets), size


def score(folder: Path, logits: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
    """Bits per byte of the unseen books; `logits(inputs, targets)` are [B, LENGTH, VOCABULARY]."""
    import torch

    inputs, targets, size = windows(folder)
    nats = 0.0
    with torch.no_grad():
        for x, y in zip(inputs.split(16), targets.split(16), strict=True):
            found = logits(x, y)[..., :VOCABULARY].float()
            nats += float(
                torch.nn.functional.cross_entropy(found.flatten(0, 1), y.flatten(), ignore_index=-1, reduction="sum")
            )
    return nats / math.log(2) / size


# -- time -------------------------------------------------------------------------------------------------------------

WARMUP = 2
TRIED = 100_000
"""Tokens that a batch is derived for when all that is asked is how fast this machine is."""


def spend(seconds: float, take: Callable[[int, float], None]) -> int:
    """Take steps, `take(step, share of the seconds that is spent)`, until the CPU-seconds are; how many there were."""
    import torch

    torch.set_num_threads(1)
    spent, step = 0.0, 0
    while spent < seconds:
        began = time.process_time()
        take(step, spent / seconds)
        spent, step = spent + time.process_time() - began, step + 1
    return step


def _learned(bits: float, *, steps: int, tokens: int, parameters: int, seconds: float) -> Measured:
    notes = {"_bits": bits, "steps": steps, "tokens": steps * tokens, "parameters": parameters, "budget": seconds}
    return Measured(bits, {**notes, "tokens_per_cpu_second": round(steps * tokens / seconds)})


# -- ours -------------------------------------------------------------------------------------------------------------


def ours(*, folder: Path, seconds: float, seed: int = 0, depth: int = 4, **_: Any) -> Measured:
    """Shape, batch and rates as `hornbook pretrain --depth` derives them; only how many tokens there will be time for
    is measured first."""
    from hornbook.learn.hyperparameters import peak_rate, step_sequences
    from hornbook.learn.loop import next_token, train
    from hornbook.learn.schedules import warmup_stable_decay
    from hornbook.model.dial import shape
    from hornbook.model.transformer import Transformer
    from hornbook.training.adapting import make_optimizer

    def prepared(total: float) -> tuple[Transformer, int, Callable[[int, float], None]]:
        sequences = step_sequences(total, length=LENGTH)
        model = Transformer(shape(depth, vocabulary=VOCABULARY, length=LENGTH)).initialize(seed)
        rate = peak_rate(sequences * LENGTH, total=total)
        share = [0.0]
        loop = train(
            model,
            batches=batches(folder, length=LENGTH, sequences=sequences, seed=seed).step,
            loss=next_token,
            optimizer=make_optimizer(model, "muon", learning_rate=rate, decay=0.1),
            schedule=lambda _: warmup_stable_decay(round(1000 * share[0]), 1000),
            steps=10**9,
        )

        def take(_: int, spent: float) -> None:
            share[0] = spent
            next(loop)

        return model, sequences * LENGTH, take

    _, tokens, take = prepared(TRIED)
    began = time.process_time()
    tried = spend(seconds / 20, take)
    total = seconds * tried * tokens / (time.process_time() - began)
    model, tokens, take = prepared(total)
    steps = spend(seconds, take)
    bits = score(folder, lambda x, _: model(x))
    count = sum(p.numel() for p in model.parameters())
    return _learned(bits, steps=steps, tokens=tokens, parameters=count, seconds=seconds)


# -- nanoGPT ----------------------------------------------------------------------------------------------------------


def nanogpt(
    *, folder: Path, seconds: float, seed: int = 0, batch: int = 12, length: int = LENGTH, rate: float = 1e-3, **_: Any
) -> Measured:
    """nanoGPT's model, optimizer and schedule (cosine to a tenth, warm-up of 5 %), compiled."""
    import torch

    _peer("nanoGPT")
    from model import GPT, GPTConfig

    torch.manual_seed(seed)
    gpt = GPT(
        GPTConfig(n_layer=4, n_head=4, n_embd=256, block_size=length, vocab_size=VOCABULARY, dropout=0.0, bias=False)
    )
    compiled = torch.compile(gpt)
    data = batches(folder, length=length, sequences=batch, seed=seed)

    def prepared() -> torch.optim.Optimizer:
        return gpt.configure_optimizers(0.1, rate, (0.9, 0.99), "cpu")

    def take(adamw: torch.optim.Optimizer, step: int, spent: float) -> None:
        for group in adamw.param_groups:
            group["lr"] = rate * _cosine(spent)
        inputs, targets = _plain(data, step)
        compiled(inputs, targets)[1].backward()
        torch.nn.utils.clip_grad_norm_(gpt.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad(set_to_none=True)

    compiling(gpt, partial(take, prepared()))
    steps = spend(seconds, partial(take, prepared()))
    bits = score(folder, lambda x, y: gpt.eval()(x, y)[0])
    count = sum(p.numel() for p in gpt.parameters())
    return _learned(bits, steps=steps, tokens=batch * length, parameters=count, seconds=seconds)


def _cosine(spent: float) -> float:
    """Linear up over a twentieth, then half a cosine down to a tenth."""
    if spent < 0.05:
        return max(spent, 0.002) / 0.05
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (spent - 0.05) / 0.95))


def _plain(data: Pretraining, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    (batch,) = data.step(step)
    return batch.tokens, batch.targets


def compiling(model: torch.nn.Module, take: Callable[[int, float], None]) -> None:
    """Take two steps, so that everything is compiled, and forget what they taught."""
    import torch

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step in range(WARMUP):
        take(step, 0.5)
    with torch.no_grad():
        model.load_state_dict(before)


# -- nanochat ---------------------------------------------------------------------------------------------------------


def nanochat(*, folder: Path, seconds: float, seed: int = 0, batch: int = 8, boost: float = 1.0, **_: Any) -> Measured:
    """nanochat's model, optimizer and schedules at depth 4, compiled, in fp32 (its choice on a CPU).

    Its automatic rate is that of half a million tokens a step times the root of the share of them that a step has;
    `boost` multiplies that. Schedules that it counts in steps run as it counts them.
    """
    import torch

    _peer("nanochat")
    from nanochat.gpt import GPT, GPTConfig

    torch.manual_seed(seed)
    shape = {"n_layer": 4, "n_head": 4, "n_kv_head": 4, "n_embd": 256, "window_pattern": "L"}
    gpt = GPT(GPTConfig(sequence_len=LENGTH, vocab_size=VOCABULARY, **shape))
    gpt.init_weights()
    compiled = torch.compile(gpt, dynamic=False)
    data = batches(folder, length=LENGTH, sequences=batch, seed=seed)
    rate = boost * math.sqrt(batch * LENGTH / 2**19)

    def prepared() -> torch.optim.Optimizer:
        rates = {"unembedding_lr": 0.008, "embedding_lr": 0.3, "scalar_lr": 0.5, "matrix_lr": 0.02}
        return gpt.setup_optimizer(**{name: value * rate for name, value in rates.items()}, weight_decay=0.28 * rate)

    def take(optimizer: torch.optim.Optimizer, step: int, spent: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * min((step + 1) / 40, _down(spent))
            if group["kind"] == "muon":
                group["momentum"] = _momentum(step, spent)
                group["weight_decay"] = 0.28 * rate * 0.5 * (1 + math.cos(math.pi * spent))
        compiled(*_plain(data, step)).backward()
        optimizer.step()
        gpt.zero_grad(set_to_none=True)

    compiling(gpt, partial(take, prepared()))
    steps = spend(seconds, partial(take, prepared()))
    bits = score(folder, lambda x, y: gpt(x))
    count = sum(p.numel() for p in gpt.parameters())
    return _learned(bits, steps=steps, tokens=batch * LENGTH, parameters=count, seconds=seconds)


def _down(spent: float) -> float:
    """Flat, then over the last 65 % down to a twentieth."""
    return min(1.0, 0.05 + 0.95 * (1 - spent) / 0.65)


def _momentum(step: int, spent: float) -> float:
    """From .85 to .97 in 400 steps, and down to .90 while the rate goes down."""
    return 0.97 - 0.12 * (1 - step / 400) if step < 400 else 0.97 - 0.07 * max(0.0, (spent - 0.35) / 0.65)


def _peer(name: str) -> None:
    if PEERS is None:
        raise SystemExit("PEERS_DIR names no folder of checkouts")
    sys.path.insert(0, str(PEERS / name))


# -- rows -------------------------------------------------------------------------------------------------------------

BUDGET = 240.0
COMPILED = "fp32, compiled, 1 thread"


def time_to_loss(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Whether the share of the peer's seconds that ours had was enough for its loss."""
    return {"share_of_time": ours["budget"] / theirs["budget"], "reached": ours["_bits"] <= theirs["_bits"]}


def at_their_time(side: Callable[..., Measured]) -> Callable[..., Measured]:
    """A side that takes `theirs` seconds instead of `seconds`."""

    def work(*, theirs: float, seconds: float, **options: Any) -> Measured:
        return side(seconds=theirs, **options)

    return work


def _nanogpt(label: str, *, batch: int, rate: float) -> Peer:
    work = at_their_time(partial(nanogpt, batch=batch, rate=rate))
    return Peer(work, "nanoGPT/", label, config=f"{COMPILED}, batch {batch}, rate {rate:g}")


def _nanochat(label: str, *, boost: float) -> Peer:
    work = partial(nanochat, boost=boost)
    return Peer(work, "nanochat/", label, config=f"{COMPILED}, {boost:g} times its automatic rate")


def _sizes(seconds: float, **more: float) -> dict[str, dict[str, Any]]:
    return {f"depth {depth}": {"depth": depth, "seconds": seconds, **more} for depth in (4, 2)}


ROWS = (
    Row(
        "time-to-loss",
        "bits per byte",
        _sizes(BUDGET / 8, theirs=BUDGET),
        ours,
        (_nanogpt("", batch=4, rate=1e-3), _nanogpt("warm", batch=4, rate=3e-3)),
        prepare=prepare,
        less_is_better=True,
        compare=time_to_loss,
        repeats=1,
    ),
    Row(
        "loss-nanochat",
        "bits per byte",
        {f"seed {seed}": {"depth": 4, "seconds": BUDGET, "seed": seed} for seed in range(3)},
        ours,
        (_nanochat("", boost=1.0), _nanochat("warm", boost=4.0)),
        prepare=prepare,
        less_is_better=True,
        repeats=1,
    ),
)

if __name__ == "__main__":
    main(ROWS)
