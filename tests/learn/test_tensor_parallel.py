"""Layers computed by two processes together: the numbers of one, wherever they are computed and kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hornbook.errors import UsageError
from hornbook.judge.score import bits_per_byte
from hornbook.learn import checkpoint
from hornbook.learn.batches import Batch
from hornbook.learn.carry import carried
from hornbook.learn.loop import next_token, train
from hornbook.learn.parallel import Processes, settle, sharded
from hornbook.learn.tensor_parallel import check
from hornbook.model.adapters.attached import trainable
from hornbook.model.recompute import recompute_layers
from hornbook.model.transformer import Transformer
from tests import ranks
from tests.learn.test_checkpoint import DATA
from tests.learn.test_parallel import CPU, MAKERS, keep, push
from tests.model import tiny

GPT2 = {"norm": "layer", "learned_positions": True, "gated_mlp": False, "activation": "gelu_tanh", "mlp_bias": True}
BIASES = {"attention_bias": True, "output_bias": True}
OLMO2 = {"qk_norm": True, "qk_norm_across_heads": True, "pre_norm": False, "post_norm": True}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "qwen3": {"qk_norm": True, "sliding_window": 5},
    "olmo2": OLMO2,
    "gemma": {"norm_unit_offset": True, "post_norm": True, "qk_norm": True, "attn_logit_softcapping": 2.0},
    "gpt2": {**GPT2, **BIASES},
    "neox": {"norm": "layer", "parallel_residual": True, "partial_rotary_factor": 0.5, **BIASES, "mlp_bias": True},
}


def model(shape: str) -> Transformer:
    """An MLP of 50, of which each of two processes has 25: two others cannot halve that."""
    return tiny.model(intermediate_size=50, **SHAPES[shape])


def step_thrice(kind: str, tensor: int, path: Path) -> None:
    made = model("qwen3")
    with sharded(made, CPU, tensor=tensor):
        optimizer = MAKERS[kind](made)
        for seed in range(3):
            push(trainable(made), seed=seed)
            optimizer.step(0.5)
    keep(path, {name: p.detach() for name, p in made.named_parameters()})


@pytest.mark.parametrize(("kind", "count"), [("adamw", 2), ("muon", 4)])
def test_from_the_same_gradients_come_the_same_bytes(kind: str, count: int, tmp_path: Path) -> None:
    step_thrice(kind, 1, tmp_path / "one")
    ranks.run(count, ranks.joined, step_thrice, kind, 2, tmp_path / "several", folder=tmp_path)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "several").read_bytes()


def learn(shape: str, kind: str, tensor: int, path: Path) -> None:
    """Four steps of three micro-batches in double precision, and what held-out text is like before and after."""
    made = model(shape).double()
    if shape == "qwen3":
        recompute_layers(made)
    text = [(DATA.step(9)[0].tokens[0].tolist(), 20)]
    with sharded(made, CPU, tensor=tensor):
        optimizer = MAKERS[kind](made)
        before = bits_per_byte(made, text, separator=0, context=8).bits_per_byte
        settle(made)
        done = list(train(made, batches=three, loss=next_token, optimizer=optimizer, schedule=lambda _: 0.1, steps=4))
        after = bits_per_byte(made, text, separator=0, context=8).bits_per_byte
    told = {
        "losses": torch.tensor([before, *(step.loss for step in done), after], dtype=torch.float64),
        "norms": torch.tensor([[step.grad_norm, *step.grad_norms.values()] for step in done], dtype=torch.float64),
        "counts": torch.tensor([step.count for step in done]),
    }
    keep(path, told | {name: p.detach().clone() for name, p in made.named_parameters()})


def three(step: int) -> Sequence[Batch]:
    return tuple(batch for number in range(3) for batch in DATA.step(3 * step + number)[:1])


@pytest.mark.parametrize(
    ("shape", "kind", "count"),
    [
        ("llama", "adamw", 2),
        ("llama", "muon", 4),
        ("qwen3", "adamw", 4),
        ("qwen3", "muon", 2),
        ("olmo2", "adamw", 2),
        ("gemma", "adamw", 2),
        ("gpt2", "adamw", 2),
        ("neox", "adamw", 4),
    ],
)
def test_processes_that_share_layers_learn_what_one_learns(shape: str, kind: str, count: int, tmp_path: Path) -> None:
    learn(shape, kind, 1, tmp_path / "one")
    ranks.run(count, ranks.joined, learn, shape, kind, 2, tmp_path / "several", folder=tmp_path)
    one, several = (load_file(tmp_path / name) for name in ("one", "several"))
    assert one.keys() == several.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(several[name], tensor, rtol=1e-6, atol=1e-9, msg=name)


def go_on(kind: str, tensor: int, steps: int, folder: Path, path: Path) -> None:
    """From the newest checkpoint, if there is one, to `steps` steps, and save; the model ends as its average."""
    made = model("qwen3").double()
    with sharded(made, CPU, tensor=tensor):
        optimizer, carry = MAKERS[kind](made), carried(made, autocast=None, skip_spikes=True, ema=0.9)
        found, passed = checkpoint.newest(folder, identity="ours")
        assert not passed
        if found:
            checkpoint.restore(found, model=made, optimizer=optimizer, carry=carry)
        for _ in train(
            made,
            batches=three,
            loss=next_token,
            optimizer=optimizer,
            schedule=lambda _: 0.1,
            first=found.step if found else 0,
            steps=steps,
            carry=carry,
        ):
            pass
        checkpoint.save(folder, step=steps, model=made, optimizer=optimizer, carry=carry, identity="ours")
        assert carry.average
        carry.average.settle()
    keep(path, {name: p.detach() for name, p in made.named_parameters()})


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("adamw", (2, 2), (1, 1)),
        ("adamw", (4, 2), (2, 1)),
        ("muon", (2, 2), (2, 1)),
        ("muon", (1, 1), (4, 2)),
    ],
)
def test_other_groups_of_processes_go_on(
    kind: str, before: tuple[int, int], after: tuple[int, int], tmp_path: Path
) -> None:
    go_on(kind, 1, 4, tmp_path / "straight", tmp_path / "one")
    for steps, (count, tensor) in zip((2, 4), (before, after), strict=True):
        arguments = (kind, tensor, steps, tmp_path / "saved", tmp_path / "several")
        if count == 1:
            go_on(*arguments)
        else:
            ranks.run(count, ranks.joined, go_on, *arguments, folder=tmp_path)
    one, several = (load_file(tmp_path / name) for name in ("one", "several"))
    for name, tensor in one.items():
        torch.testing.assert_close(several[name], tensor, rtol=1e-6, atol=1e-9, msg=name)


def test_processes_that_share_layers_compute_the_same_micro_batches() -> None:
    shares = [Processes(rank, 6, tensor=2).share(range(4)) for rank in range(6)]
    assert shares[0::2] == shares[1::2]
    assert sorted(batch for share in shares[::2] for batch, counts in share if counts) == list(range(4))


@pytest.mark.parametrize(
    ("changes", "tensor", "processes", "message"),
    [
        ({}, 2, 3, "tensor_parallel = 2 does not divide the number of processes, 3"),
        ({}, 3, 3, "tensor_parallel = 3 does not divide the model's num_attention_heads = 4"),
        ({}, 4, 4, "tensor_parallel = 4 does not divide the model's num_key_value_heads = 2"),
        ({"intermediate_size": 51}, 2, 2, "tensor_parallel = 2 does not divide the model's intermediate_size = 51"),
        ({"fused_projections": True}, 2, 2, "does not divide query, key and value that are one matrix"),
    ],
)
def test_what_groups_cannot_divide_is_refused(
    changes: dict[str, Any], tensor: int, processes: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check(tiny.architecture(**changes), tensor=tensor, processes=processes)
