"""Two gloo processes against one: the same numbers, whoever computes them and wherever they are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.learn import checkpoint
from hornbook.learn.batches import Batch
from hornbook.learn.hyperparameters import rates
from hornbook.learn.loop import next_token, train
from hornbook.learn.optim import Optimizer, adamw, muon
from hornbook.learn.parallel import Processes, Region, like, processes, region, settle, sharded
from hornbook.learn.pieces import Pieces, write
from hornbook.model.adapters import ia3
from hornbook.model.adapters.attached import trainable
from hornbook.model.adapters.lora import attach
from hornbook.model.adapters.soft import attach_prefix, attach_prompt
from hornbook.model.bnb import Kind
from hornbook.model.quantizing import quantize
from hornbook.model.transformer import Transformer
from tests import ranks
from tests.learn import tiny
from tests.learn.test_checkpoint import DATA

CPU = torch.device("cpu")
MAKERS: dict[str, Callable[[Transformer], Optimizer]] = {
    "adamw": lambda m: adamw(m, learning_rate=1e-2),
    "muon": lambda m: muon(m, rates=rates(2e-3)),
}


ADAPTERS: dict[str, Callable[[Transformer], object]] = {
    "lora": lambda m: attach(m, r=2, alpha=4, targets=["q_proj", "down_proj"], seed=0),
    "dora": lambda m: attach(m, r=2, alpha=4, targets="attention", seed=0, dora=True),
    "ia3": lambda m: ia3.attach(m, targets=("keys-values-mlp",)),
    "prefix": lambda m: attach_prefix(m, tokens=3, seed=0),
    "mlp": lambda m: attach_prefix(m, tokens=3, hidden=4, seed=0),
    "prompt": lambda m: attach_prompt(m, tokens=3, seed=0),
}


def model(*, tied: bool = True, adapter: str = "", kind: Kind | None = None) -> Transformer:
    made = tiny.model(exact=False, layers=2, tied=tied)
    if kind is not None:
        quantize(made, kind)
    if adapter:
        ADAPTERS[adapter](made)
    return made


def push(parameters: dict[str, nn.Parameter], *, seed: int) -> None:
    """The same gradients for every process, each keeping its part."""
    g = torch.Generator().manual_seed(seed)
    for p in parameters.values():
        block = region(p)
        part = torch.randn(p.shape, generator=g)[tuple(map(slice, block.start, block.end))]
        p.grad = like(part.contiguous(), p)


def keep(path: Path, tensors: dict[str, Tensor]) -> None:
    if processes().rank == 0:
        save_file(tensors, path)


def step_thrice(kind: str, path: Path) -> None:
    made = model(tied=False)
    with sharded(made, CPU):
        optimizer = MAKERS[kind](made)
        for seed in range(3):
            push(trainable(made), seed=seed)
            optimizer.step(0.5)
    keep(path, {name: p.detach() for name, p in made.named_parameters()})


@pytest.mark.parametrize(("kind", "count"), [("adamw", 2), ("muon", 2), ("muon", 3)])
def test_from_the_same_gradients_come_the_same_bytes(kind: str, count: int, tmp_path: Path) -> None:
    step_thrice(kind, tmp_path / "one")
    ranks.run(count, ranks.joined, step_thrice, kind, tmp_path / "several", folder=tmp_path)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "several").read_bytes()


def learn(tied: bool, adapter: str, kind: Kind | None, path: Path) -> None:
    """Three steps of three micro-batches, which two processes cannot halve; the losses and norms are kept too."""
    made = model(tied=tied, adapter=adapter, kind=kind)
    with sharded(made, CPU):
        optimizer = adamw(made, learning_rate=1e-3)
        with torch.no_grad():
            made.hidden(DATA.step(0)[0].tokens)
        settle(made)
        done = list(train(made, batches=three, loss=next_token, optimizer=optimizer, schedule=lambda _: 1.0, steps=3))
        assert all(p.grad is None for p in made.parameters())
    told = {
        "losses": torch.tensor([step.loss for step in done]),
        "norms": torch.tensor([step.grad_norm for step in done]),
        "counts": torch.tensor([step.count for step in done]),
    }
    keep(path, told | {name: p.detach().clone() for name, p in (*made.named_parameters(), *made.named_buffers())})


def three(step: int) -> Sequence[Batch]:
    return tuple(batch for number in range(3) for batch in DATA.step(3 * step + number)[:1])


@pytest.mark.parametrize(
    ("tied", "adapter", "kind", "count"),
    [
        (True, "", None, 2),
        (False, "", None, 4),
        (True, "lora", None, 2),
        (True, "prefix", None, 2),
        (True, "mlp", None, 2),
        (True, "prompt", None, 2),
        (True, "lora", "nf4", 2),
        (True, "dora", "nf4", 2),
        (True, "ia3", "int8", 2),
        (True, "prompt", "nf4", 2),
    ],
)
def test_several_processes_learn_what_one_learns(
    tied: bool, adapter: str, kind: Kind | None, count: int, tmp_path: Path
) -> None:
    learn(tied, adapter, kind, tmp_path / "one")
    ranks.run(count, ranks.joined, learn, tied, adapter, kind, tmp_path / "several", folder=tmp_path)
    one, several = (load_file(tmp_path / name) for name in ("one", "several"))
    assert one.keys() == several.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(several[name], tensor, rtol=1e-6, atol=0 if name == "losses" else 2e-5, msg=name)


def test_every_micro_batch_is_computed_once_and_all_take_equally_many() -> None:
    for size in range(1, 6):
        for number in range(1, 9):
            shares = [Processes(rank, size).share(range(number)) for rank in range(size)]
            assert len({len(share) for share in shares}) == 1
            assert sorted(batch for share in shares for batch, counts in share if counts) == list(range(number))


def go_on(kind: str, steps: int, folder: Path, path: Path) -> None:
    """From the newest checkpoint, if there is one, to `steps` steps, and save."""
    made = model()
    with sharded(made, CPU):
        optimizer = MAKERS[kind](made)
        found, passed = checkpoint.newest(folder, identity="ours")
        assert not passed
        if found:
            checkpoint.restore(found, model=made, optimizer=optimizer)
        for step in range(found.step if found else 0, steps):
            push(trainable(made), seed=step)
            optimizer.step(1.0)
        checkpoint.save(folder, step=steps, model=made, optimizer=optimizer, identity="ours")
    keep(path, {name: p.detach() for name, p in made.named_parameters()})


@pytest.mark.parametrize("counts", [(2, 1), (1, 2), (2, 4), (3, 2)])
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_any_number_of_processes_goes_on(kind: str, counts: tuple[int, int], tmp_path: Path) -> None:
    go_on(kind, 4, tmp_path / "straight", tmp_path / "one")
    for steps, count in zip((2, 4), counts, strict=True):
        if count == 1:
            go_on(kind, steps, tmp_path / "saved", tmp_path / "several")
        else:
            arguments = (kind, steps, tmp_path / "saved", tmp_path / "several")
            ranks.run(count, ranks.joined, go_on, *arguments, folder=tmp_path)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "several").read_bytes()


def find_older(folder: Path) -> None:
    found, passed = checkpoint.newest(folder, identity="ours")
    assert found is not None
    assert found.step == 2
    assert passed == (f"{folder / 'step-00000004' / 'part-2-of-2.safetensors'} is not as it was written",)


def test_damage_that_one_process_sees_is_seen_by_all(tmp_path: Path) -> None:
    for steps in (2, 4):
        ranks.run(2, ranks.joined, go_on, "adamw", steps, tmp_path / "saved", tmp_path / "end", folder=tmp_path)
    part = tmp_path / "saved" / "step-00000004" / "part-2-of-2.safetensors"
    part.write_bytes(part.read_bytes()[:-1] + b"!")
    ranks.run(2, ranks.joined, find_older, tmp_path / "saved", folder=tmp_path)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    go_on("adamw", 1, tmp_path, tmp_path / "end")
    with pytest.raises(InputError, match="is of another run: its config, data or code differ"):
        checkpoint.newest(tmp_path, identity="theirs")


def test_a_part_that_is_in_no_file_is_missed(tmp_path: Path) -> None:
    write(tmp_path / "a.safetensors", {"x": torch.arange(6.0).view(3, 2)})
    with Pieces([tmp_path / "a.safetensors"]) as pieces:
        middle = Region((3, 2), (1, 0), (1, 2))
        assert pieces.read("x", middle).tolist() == [[2.0, 3.0]]
        with pytest.raises(InputError, match="a part of 'x' is missing"):
            pieces.read("x", Region((4, 2), (2, 0), (2, 2)))
