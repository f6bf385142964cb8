"""How many GPUs, shared out how, and how fast that would be: the same formulas, over many.

FSDP2 keeps 1/g of weights, gradients and optimizer state on each of g GPUs, gathers a layer's weights when it comes to
it, and drops them (arXiv 2304.11277). Past a node the links are slower, so that from some size on each group of nodes
holds a whole copy (HSDP). A row whose activations alone are too many for one GPU is cut across the GPUs of a node
(tensor parallelism, arXiv 1909.08053).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from hornbook.model.architecture import Architecture
from hornbook.planning.machines import Machine
from hornbook.planning.memory import CONTEXT, MARGIN, Cell, training
from hornbook.planning.rehearsal import Kinds
from hornbook.planning.speed import EFFICIENCY, Bill, bill, step_flops

Sharding = Literal["one GPU", "FSDP2", "HSDP", "FSDP2 x tensor"]
NODE = 8
"""GPUs of a node, whose links to each other are as fast as is assumed of NVLINK."""
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
GROUP = 64
"""GPUs that share one copy at most: gathering over more takes longer than computing a layer."""
NVLINK, NETWORK = 300e9, 25e9
"""Bytes a second that a GPU sends to others of its node, and to other nodes (200 Gb/s a GPU)."""
ROWS = (4, 1)
"""Of a micro-batch, the better ones first: weights are gathered once for each."""
SHARED = ("weights", "gradients", "optimizer")


@dataclass(frozen=True, kw_only=True)
class Share:
    """A model on some GPUs."""

    gpus: int
    sharding: Sharding
    per_gpu: float
    """Bytes needed on each; with what there is besides."""
    fits: bool
    tokens_per_second: float
    """Of all together."""
    rows: int
    """Of a micro-batch of one GPU, or of a node where rows are cut."""

    def bill(self, tokens: float, machine: Machine) -> Bill:
        """Of training on so many tokens."""
        return bill(tokens / self.tokens_per_second, machine, count=self.gpus)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A run that its makers told the hours of."""

    name: str
    architecture: Architecture
    tokens: float
    length: int
    gpu: str
    gpu_hours: float
    recompute: bool
    source: str


def _llama2(*, width: int, inner: int, layers: int, key_heads: int) -> Architecture:
    return Architecture(
        vocab_size=32000,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=width // 128,
        num_key_value_heads=key_heads,
        head_dim=128,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )


PUBLISHED: Mapping[str, Published] = {
    one.name: one
    for one in (
        Published(
            name="Llama 2 7B",
            architecture=_llama2(width=4096, inner=11008, layers=32, key_heads=32),
            tokens=2e12,
            length=4096,
            gpu="A100-80GB",
            gpu_hours=184_320,
            recompute=False,
            source="arXiv 2307.09288, table 2",
        ),
        Published(
            name="Llama 2 70B",
            architecture=_llama2(width=8192, inner=28672, layers=80, key_heads=8),
            tokens=2e12,
            length=4096,
            gpu="A100-80GB",
            gpu_hours=1_720_320,
            recompute=False,
            source="arXiv 2307.09288, table 2",
        ),
        Published(
            name="MPT-7B",
            architecture=replace(
                _llama2(width=4096, inner=16384, layers=32, key_heads=32),
                vocab_size=50432,
                gated_mlp=False,
                tie_word_embeddings=True,
                max_position_embeddings=2048,
            ),
            tokens=1e12,
            length=2048,
            gpu="A100-40GB",
            gpu_hours=440 * 9.5 * 24,
            recompute=False,
            source="MosaicML, Introducing MPT-7B, 2023: 440 A100-40GB for 9.5 days",
        ),
    )
}


def shares(cell: Cell, machine: Machine) -> list[Share]:
    """The model on each number of GPUs, up to the first that it fits and three doublings beyond, layers recomputed."""
    found: list[Share] = []
    tried = [replace(cell, rows=rows, recompute=True) for rows in ROWS]
    for gpus in COUNTS:
        of_rows = [share(one, machine, gpus=gpus) for one in tried]
        found.append(next((one for one in of_rows if one.fits), of_rows[-1]))
        if sum(one.fits for one in found) == 4:
            break
    return found


def share(cell: Cell, machine: Machine, *, gpus: int) -> Share:
    """The model on some GPUs: plainly sharded, in groups, or with rows cut too where nothing else fits."""
    phases = training(cell)
    group = min(gpus, GROUP)
    needed = _needed(phases, cell, shards=group, cut=1)
    sharding: Sharding = "one GPU" if gpus == 1 else "FSDP2" if gpus <= GROUP else "HSDP"
    cut = 1
    if needed > machine.memory and gpus > NODE:
        cut = NODE
        sharding, needed = "FSDP2 x tensor", _needed(phases, cell, shards=group, cut=cut)
    return Share(
        gpus=gpus,
        sharding=sharding,
        per_gpu=needed,
        fits=needed <= machine.memory,
        tokens_per_second=gpus * _rate(cell, machine, group=group),
        rows=cell.rows,
    )


def _needed(phases: Mapping[str, Kinds], cell: Cell, *, shards: int, cut: int) -> float:
    """Bytes of a GPU: its share of what is sharded, two gathered layers, and its own activations."""
    layer = phases["update"]["weights"] / cell.architecture.num_hidden_layers
    gathered = 2 * layer / cut if shards > 1 else 0
    most = max(
        sum(kinds[kind] for kind in SHARED) / shards + (kinds.total() - sum(kinds[kind] for kind in SHARED)) / cut
        for kinds in phases.values()
    )
    return CONTEXT + (most + gathered) * (1 + MARGIN)


def _rate(cell: Cell, machine: Machine, *, group: int) -> float:
    """Tokens a second of one GPU: computing or, where that takes longer, waiting for weights; rows that are cut over
    some GPUs divide both alike."""
    tokens = cell.rows * cell.length
    computing = step_flops(cell) * tokens / (machine.rate * EFFICIENCY["cuda"])
    return tokens / max(computing, _sending(cell, group=group))


def _sending(cell: Cell, *, group: int) -> float:
    """Seconds to gather weights in two bytes for each pass and to sum gradients in four, of each micro-batch."""
    if group == 1:
        return 0.0
    numbers = training(cell)["update"]["weights"] / 4
    return numbers * (2 + 2 + 4) / (NVLINK if group <= NODE else NETWORK)


def gpu_hours(run: Published, machine: Machine) -> float:
    """What the formulas say of a published run."""
    cell = Cell(architecture=run.architecture, method="full", rows=1, length=run.length, recompute=run.recompute)
    return run.tokens * step_flops(cell) / (machine.rate * EFFICIENCY["cuda"]) / 3600
