"""tokens -> model: training, and how long until the first step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from inputs import texts, write_jsonl
from measure import PEERS, Measured, Peer, Row, Stopwatch, fresh, main, resident_mb

if TYPE_CHECKING:
    import torch

    from hornbook.learn.batches import Batch
    from hornbook.learn.pretraining import Pretraining
    from hornbook.model.architecture import Architecture

CORES = os.cpu_count() or 1


def batches(*, vocabulary: int, length: int, batch: int) -> Pretraining:
    """Windows of real text; a token is a word's checksum, which has the frequencies of words and needs no training."""
    from hornbook.learn.curriculum import Phase
    from hornbook.learn.pretraining import Pretraining
    from hornbook.learn.sources import sources_of
    from hornbook.text import shards

    rows = [
        shards.Row(str(at), "all", "train", list(map(partial(_token, vocabulary), text.split())), len(text), False)
        for at, text in enumerate(texts(2))
    ]
    with TemporaryDirectory() as folder:
        shards.write(Path(folder), rows, separator=0, vocabulary=vocabulary)
        sources = sources_of(shards.read(Path(folder).joinpath, "train"), separator=0)
    phases = [Phase(1.0, {"all": 1.0})]
    return Pretraining(sources, phases=phases, steps=1, length=length, sequences=batch, rows=batch, seed=0)


def _token(vocabulary: int, word: str) -> int:
    return 1 + zlib.crc32(word.encode()) % (vocabulary - 1)


def dtype() -> torch.dtype | None:
    """What `hornbook pretrain` computes matrix products in on this machine, None for float32; the peers do likewise."""
    import torch

    from hornbook.device import choose_precision

    return choose_precision("auto", torch.device("cpu"))


def ceiling() -> float:
    """Measured FLOP/s of the machine on a large matrix product in `dtype()`: the best of several."""
    import torch

    kind = dtype() or torch.float32
    left, right = torch.randn(4096, 1024).to(kind), torch.randn(1024, 1024).to(kind)
    seconds = []
    for _ in range(12):
        began = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - began)
    return 2 * 4096 * 1024 * 1024 / min(seconds)


def llama(depth: int, *, vocabulary: int, length: int) -> Architecture:
    """The model that all sides train: the heads, norms and MLP of Llama, 64 wide a layer, the head tied."""
    from hornbook.model.architecture import Architecture

    width = 64 * depth
    return Architecture(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=-(-8 * width // 3 // 64) * 64,
        num_hidden_layers=depth,
        num_attention_heads=depth,
        num_key_value_heads=depth,
        head_dim=64,
        tie_word_embeddings=True,
        max_position_embeddings=length,
    )


# -- training ---------------------------------------------------------------------------------------------------------

WARMUP = 2


def train(*, depth: int, vocabulary: int, length: int, batch: int, steps: int, optimizer: str = "adamw") -> Measured:
    """Our model, optimizer and loop."""
    from hornbook.learn.loop import next_token, train
    from hornbook.model.transformer import Transformer
    from hornbook.training.adapting import make_optimizer

    architecture = llama(depth, vocabulary=vocabulary, length=length)
    model = Transformer(architecture).initialize(0)
    kind = "muon" if optimizer == "muon" else "adamw"
    loop = train(
        model,
        batches=batches(vocabulary=vocabulary, length=length, batch=batch).step,
        loss=next_token,
        optimizer=make_optimizer(model, kind, learning_rate=1e-3, decay=0.1),
        schedule=lambda step: 1.0,
        steps=WARMUP + steps,
        autocast=dtype(),
    )
    measured = _paced(lambda step: next(loop).loss, tokens=batch * length, steps=steps)
    return Measured(measured.value, {**measured.notes, **_of_the_ceiling(architecture, length, measured.value)})


def _of_the_ceiling(architecture: Architecture, length: int, tokens_a_second: float) -> dict[str, Any]:
    """How much of the machine's products training comes to, by the FLOPs of `cost.training_flops`."""
    from hornbook.model.cost import training_flops

    reached, most = tokens_a_second * training_flops(architecture, length=length), ceiling()
    return {
        "dtype": str(dtype() or "float32").removeprefix("torch."),
        "gflops": round(reached / 1e9),
        "ceiling_gflops": round(most / 1e9),
        "of_the_ceiling": round(reached / most, 3),
    }


def train_transformers(*, depth: int, vocabulary: int, length: int, batch: int, steps: int, **_: str) -> Measured:
    """transformers' Llama of the same shape, autocast to our type, fused AdamW."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    a = llama(depth, vocabulary=vocabulary, length=length)
    same = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim")
    config = LlamaConfig(**{name: getattr(a, name) for name in same}, tie_word_embeddings=True)
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).train()

    def loss(batch: Batch) -> torch.Tensor:
        with torch.autocast("cpu", dtype=dtype(), enabled=dtype() is not None):
            found: torch.Tensor = model(input_ids=batch.tokens, labels=batch.tokens).loss
        return found

    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)
    return _trained(model, adamw, loss, vocabulary=vocabulary, length=length, batch=batch, steps=steps)


def train_litgpt(*, depth: int, vocabulary: int, length: int, batch: int, steps: int, **_: str) -> Measured:
    """litgpt's GPT with its Llama settings and the same shape, as its `pretrain` trains it: compiled, chunked loss.

    Weights in float32 and autocast, its `bf16-mixed`; the compilation is not timed. Its head is not tied; the number
    of products is the same.
    """
    import torch
    from litgpt import GPT, Config
    from litgpt.utils import chunked_cross_entropy

    a = llama(depth, vocabulary=vocabulary, length=length)
    config = Config(
        block_size=length,
        padded_vocab_size=vocabulary,
        n_layer=depth,
        n_head=depth,
        n_embd=a.hidden_size,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
        intermediate_size=a.intermediate_size,
    )
    torch.manual_seed(0)
    model = GPT(config)
    model.max_seq_length = length
    compiled = torch.compile(model)
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def loss(batch: Batch) -> torch.Tensor:
        with torch.autocast("cpu", dtype=dtype(), enabled=dtype() is not None):
            return chunked_cross_entropy(compiled(batch.tokens), batch.targets)

    return _trained(model, adamw, loss, vocabulary=vocabulary, length=length, batch=batch, steps=steps)


def train_nanogpt(*, depth: int, vocabulary: int, length: int, batch: int, steps: int, **_: str) -> Measured:
    """nanoGPT as it ships: fp32, compiled, its own optimizer; the compilation is not timed."""
    import torch

    assert PEERS is not None
    sys.path.insert(0, str(PEERS / "nanoGPT"))
    from model import GPT, GPTConfig

    torch.manual_seed(0)
    shape = {"n_layer": depth, "n_head": depth, "n_embd": 64 * depth, "block_size": length, "vocab_size": vocabulary}
    gpt = GPT(GPTConfig(**shape, dropout=0.0, bias=False))
    adamw = gpt.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    compiled = torch.compile(gpt)

    def loss(batch: Batch) -> torch.Tensor:
        found: torch.Tensor = compiled(batch.tokens, batch.targets)[1]
        return found

    return _trained(gpt, adamw, loss, vocabulary=vocabulary, length=length, batch=batch, steps=steps)


def _trained(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Batch], torch.Tensor],
    *,
    vocabulary: int,
    length: int,
    batch: int,
    steps: int,
) -> Measured:
    """The loop that people write: forward, backward, clip, step."""
    import torch

    data = batches(vocabulary=vocabulary, length=length, batch=batch)

    def take(step: int) -> float:
        found = loss(data.step(step)[0])
        found.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return found.item()

    return _paced(take, tokens=batch * length, steps=steps)


def _paced(take: Callable[[int], float], *, tokens: int, steps: int) -> Measured:
    """Tokens a second, the first steps not counted, and the losses for a look at whether both do learn."""
    loaded = resident_mb()
    losses = [take(step) for step in range(WARMUP)]
    with Stopwatch() as watch:
        losses += [take(step) for step in range(WARMUP, WARMUP + steps)]
    per_cpu = tokens * steps / watch.cpu
    return Measured(
        tokens * steps / watch.wall,
        {
            "first_loss": round(losses[0], 4),
            "last_loss": round(losses[-1], 4),
            "per_cpu_second": round(per_cpu),
            "loaded_mb": round(loaded),
        },
    )


# -- start ------------------------------------------------------------------------------------------------------------


def tokenized(*, folder: Path, depth: int) -> None:
    """A run of `tokenize` to pretrain on."""
    from hornbook.execute import execute
    from hornbook.stages import load

    rows = [{"id": str(at), "text": text} for at, text in enumerate(texts(2))]
    source = write_jsonl(fresh(folder / "in") / "rows.jsonl", rows)
    crawl, curate, tokenize = (load(name) for name in ("crawl", "curate", "tokenize"))
    gathered = execute(crawl, crawl.config(source=str(source)), runs=folder / "runs")
    corpus = execute(curate, curate.config(crawl=gathered, workers=1), runs=folder / "runs")
    execute(tokenize, tokenize.config(corpus, vocabulary=4096), runs=folder / "runs")


def start(*, folder: Path, depth: int) -> Measured:
    """Seconds from `hornbook pretrain` until training is at its pace: its first two steps done, less twice the second.

    So what the first step compiles, or touches for the first time, is part of it, and so is the measurement of the new
    model before it; how many tokens a step has, which follows from the length of the training, is not.
    """
    tokens = next(path for path in (folder / "runs").glob("tokenize-*") if path.is_dir())
    runs = fresh(folder / "again")
    options = ["--depth", str(depth), "--train-tokens", "1000000", "--runs", str(runs)]
    command = [sys.executable, "-m", "hornbook", "pretrain", str(tokens), *options]
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while len(steps := _steps(runs)) < 2 and child.poll() is None:
            time.sleep(0.01)
        seconds = time.perf_counter() - began
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    if len(steps) < 2:
        raise SystemExit(f"{' '.join(command)} ended before its second step")
    return Measured(seconds - 2 * steps[1], {"first_step": round(steps[0], 2), "second_step": round(steps[1], 2)})


def _steps(runs: Path) -> list[float]:
    """Seconds of the steps that are done."""
    lines = [line for path in runs.glob(".tmp-*/scratch/timings.jsonl") for line in path.read_text().splitlines()]
    return [row["seconds"] for row in map(json.loads, filter(lambda line: line.endswith("}"), lines)) if row["step"]]


# -- rows -------------------------------------------------------------------------------------------------------------


def _shape(depth: int, vocabulary: int, steps: int, **more: str) -> dict[str, Any]:
    return {"depth": depth, "vocabulary": vocabulary, "length": 256, "batch": 16, "steps": steps, **more}


TRAINED: dict[str, dict[str, Any]] = {
    "4 M": _shape(4, 4096, 8),
    "17 M": _shape(6, 16384, 4),
    "17 M, Muon": _shape(6, 16384, 4, optimizer="muon"),
}
LLAMA = "Llama, autocast to the type that ours computes in, fused AdamW"
LITGPT = "compiled, its chunked loss, autocast to the type that ours computes in, fused AdamW"


def _rows() -> Sequence[Row]:
    training = partial(Row, unit="tokens/s", sizes=TRAINED, ours=train, threads=CORES, trains=True)
    return (
        training("train-transformers", peers=(Peer(train_transformers, "transformers", config=LLAMA),)),
        training("train-litgpt", peers=(Peer(train_litgpt, "litgpt", config=LITGPT),)),
        training("train-nanogpt", peers=(Peer(train_nanogpt, "nanoGPT/", config="fp32, compiled, as it ships"),)),
        Row(
            "start",
            "s until at pace",
            {"depth 4": {"depth": 4}, "depth 8": {"depth": 8}},
            start,
            prepare=tokenized,
            less_is_better=True,
            threads=CORES,
        ),
    )


ROWS = _rows()

if __name__ == "__main__":
    main(ROWS)
