"""What a plan says of memory, beside published figures and beside what torch's allocator was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from hornbook.learn.batches import Batch
from hornbook.learn.loop import next_token, train
from hornbook.model.architecture import Architecture
from hornbook.model.configuration import from_config
from hornbook.model.dial import shape
from hornbook.model.transformer import Transformer
from hornbook.planning.machines import find, table
from hornbook.planning.memory import (
    Cell,
    fits,
    largest_rows,
    memory,
    needed,
    resident,
    resident_weights,
    trainable,
    training,
)
from hornbook.planning.methods import METHODS, Name
from hornbook.planning.rehearsal import most

LLAMA_65B = Architecture(
    vocab_size=32000,
    hidden_size=8192,
    intermediate_size=22016,
    num_hidden_layers=80,
    num_attention_heads=64,
    num_key_value_heads=64,
    head_dim=128,
    tie_word_embeddings=False,
)
SMALL = shape(2, vocabulary=512, length=64)


def measured(cell: Cell) -> int:
    """Bytes of tensors at the most of a real step, the second, from what the allocator was asked for."""
    method = METHODS[cell.method]
    model = Transformer(cell.architecture).initialize(0)
    method.prepare(model, recompute=cell.recompute)
    optimizer = method.make_optimizer(model)
    weights = sum(p.nbytes for p in model.parameters())
    tokens = torch.zeros(cell.rows, cell.length, dtype=torch.int64)
    documents = (torch.arange(cell.length) >= cell.length // 2).long().expand_as(tokens) if cell.packed else tokens
    batch = Batch(tokens, tokens, torch.ones(tokens.shape), documents, ("",))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        for _ in train(
            model,
            batches=lambda step: (batch,) * (2 if cell.accumulates else 1),
            loss=next_token,
            optimizer=optimizer,
            schedule=lambda step: 1e-3,
            steps=2,
        ):
            pass
    events = [one for one in found.profiler.kineto_results.events() if one.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda one: one.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return weights + peak


@pytest.mark.parametrize("changes", [
    {},
    {"packed": False},
    {"method": "lora"},
    {"method": "lora", "recompute": True},
    {"method": "pretrain", "rows": 2},
    {"recompute": True},
    {"accumulates": True, "rows": 1},
    {"length": 32, "rows": 16},
    {"architecture": replace(SMALL, num_hidden_layers=5)},
    {"architecture": replace(SMALL, num_hidden_layers=5, num_key_value_heads=1), "recompute": True},
])  # fmt: skip
def test_a_rehearsal_holds_what_a_step_holds(changes: dict[str, object]) -> None:
    cell = replace(Cell(architecture=SMALL, method="full", rows=4, length=64), **changes)  # type: ignore[arg-type]
    said = most(training(cell))[1].total()
    assert said == pytest.approx(measured(cell), rel=0.03)


@pytest.mark.parametrize(("config", "method", "process", "found"), [
    ({"model_type": "qwen2", "hidden_size": 640, "intermediate_size": 1728, "num_attention_heads": 10,
      "num_key_value_heads": 10, "num_hidden_layers": 7, "vocab_size": 12000, "tie_word_embeddings": True},
     "full", 449_400_832, 1_374_105_600),
    ({"model_type": "llama", "hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8,
      "num_key_value_heads": 2, "num_hidden_layers": 10, "vocab_size": 8000, "tie_word_embeddings": False},
     "lora", 450_580_480, 940_814_336),
])  # fmt: skip
def test_a_process_is_as_large_as_was_measured(
    config: dict[str, object], method: Name, process: int, found: int
) -> None:
    """Two of the cells of `bench/plan.py`: bytes before and at the most of three steps on 640 tokens, glibc 2.36."""
    architecture = from_config({**config, "max_position_embeddings": 1024}, where="config")
    cell = Cell(architecture=architecture, method=method, rows=1, length=640)
    assert process + resident(training(cell)) == pytest.approx(found, rel=0.10)


def test_mixed_precision_adam_takes_16_bytes_a_parameter() -> None:
    """ZeRO (arXiv 1910.02054, section 3.1): weights, gradients and Adam's states, in whatever types, are 16 bytes."""
    cell = Cell(architecture=LLAMA_65B, method="full", rows=1, length=512, autocast=torch.bfloat16)
    states = training(cell)["update"]
    held = states["weights"] + states["gradients"] + states["optimizer"]
    assert held / trainable(LLAMA_65B, "full") == pytest.approx(16, rel=1e-3)


def test_a_65b_model_is_finetuned_in_48_gb_by_qlora_only() -> None:
    """QLoRA (arXiv 2305.14314, abstract): from more than 780 GB for 16-bit finetuning to less than 48 GB."""
    gpu = find("A6000", table())
    cell = Cell(architecture=LLAMA_65B, method="qlora", rows=1, length=512, autocast=torch.bfloat16, recompute=True)
    assert fits(memory(cell, gpu=True), gpu)
    assert needed(memory(replace(cell, method="full"), gpu=True), gpu) > 780e9
    assert not fits(memory(replace(cell, method="lora"), gpu=True), gpu)


def test_what_weights_alone_rule_out_fits_in_no_rows() -> None:
    cell = Cell(architecture=LLAMA_65B, method="full", rows=1, length=512)
    assert largest_rows(cell, find("T4", table()), most=4) is None


def test_weights_of_four_bits_take_4_127_bits_each() -> None:
    """QLoRA, section 3: double quantization leaves 8/64 + 32/(64 * 256) bits a weight for scales."""
    few, more = (replace(LLAMA_65B, num_hidden_layers=layers) for layers in (2, 3))
    layer = resident_weights(more, "qlora") - resident_weights(few, "qlora")
    adapter = 4 * (trainable(more, "qlora") - trainable(few, "qlora"))
    numbers = 4 * 8192**2 + 3 * 8192 * 22016
    norms = 2 * 4 * 8192
    assert (layer - adapter - norms) * 8 / numbers == pytest.approx(4.127, abs=1e-3)
