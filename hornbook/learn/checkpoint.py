"""Checkpoints: one folder a checkpoint, safetensors and JSON, a hash of every file, all or nothing.

<folder>/step-00000100/  part-1-of-2.safetensors  part-2-of-2.safetensors  state.json  manifest.json

Every process writes the part that it holds of the weights, of the optimizer's state and of the averages. Any number of
processes reads it. Schedule, order of the data and all randomness are functions of the step, so the step is all that is
to be known of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hornbook.disk import file_digest, instant, sync
from hornbook.errors import Damaged, InputError
from hornbook.learn import pieces
from hornbook.learn.carry import NOTHING, Carry
from hornbook.learn.optim import Optimizer
from hornbook.learn.parallel import Region, like, local, processes, region
from hornbook.model.adapters.attached import trainable

STATE, MANIFEST = "state.json", "manifest.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files are all there and as they were written."""

    path: Path
    step: int
    """Steps done: go on with `train(..., first=step)`."""
    carry: Mapping[str, Any]
    """`Carry.state` as it was."""
    parts: tuple[Path, ...]


def save(
    folder: Path,
    *,
    step: int,
    model: nn.Module,
    optimizer: Optimizer,
    carry: Carry = NOTHING,
    identity: str = "",
    keep: int = 2,
) -> Path:
    """Write the trainable weights, the optimizer's state and what else is carried after `step` steps; keep `keep`.

    A kill at any instant leaves either the whole checkpoint or none. All processes call this together; `identity` says
    whose run it is.
    """
    final = folder / f"step-{step:08d}"
    partial = folder / f".tmp-{final.name}"
    us = processes()
    if us.rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        instant()
    us.wait()
    part = partial / _part(us.rank, us.size)
    pieces.write(part, _named(model, optimizer, carry))
    instant()
    sync(part)
    digests = _everyones(file_digest(part))
    if us.rank == 0:
        hashes = {_part(rank, us.size): found for rank, found in enumerate(digests)}
        _commit(partial, final, {"step": step, "identity": identity, "carry": carry.state()}, hashes)
        _forget(folder, keep)
    us.wait()
    return final


def _named(model: nn.Module, optimizer: Optimizer, carry: Carry) -> dict[str, Tensor]:
    kinds: dict[str, Mapping[str, Tensor]] = {
        "model": trainable(model),
        "optimizer": optimizer.state(),
        "average": carry.tensors(),
    }
    return {f"{kind}/{name}": tensor for kind, tensors in kinds.items() for name, tensor in tensors.items()}


def _commit(partial: Path, final: Path, state: Mapping[str, Any], hashes: Mapping[str, str]) -> None:
    """The rest of the files, the manifest last, everything to disk, then one rename."""
    _write_json(partial / STATE, state)
    instant()
    _write_json(partial / MANIFEST, {**hashes, STATE: file_digest(partial / STATE)})
    for path in (partial / STATE, partial / MANIFEST, partial):
        instant()
        sync(path)
    shutil.rmtree(final, ignore_errors=True)
    instant()
    partial.rename(final)
    instant()
    sync(final.parent)


def _forget(folder: Path, keep: int) -> None:
    for old in _all(folder)[keep:]:
        instant()
        shutil.rmtree(old)


def newest(folder: Path, *, identity: str = "") -> tuple[Checkpoint | None, tuple[str, ...]]:
    """The newest valid checkpoint, and for each newer one that was passed over why. All processes find the same.

    Raises:
        InputError: it is of another run than `identity`.
    """
    passed: list[str] = []
    for path in _all(folder):
        try:
            return _open(path, identity), tuple(passed)
        except Damaged as error:
            passed.append(error.message)
    return None, tuple(passed)


def restore(checkpoint: Checkpoint, *, model: nn.Module, optimizer: Optimizer, carry: Carry = NOTHING) -> None:
    """Put the saved state back, bit for bit; anything missing or left over is an InputError."""
    with pieces.Pieces(checkpoint.parts) as saved:
        parameters = trainable(model)
        names = set(saved.names("model/"))
        if odd := sorted(names ^ parameters.keys()):
            what = "missing from the checkpoint" if odd[0] in parameters else "not in the model"
            raise InputError(f"{checkpoint.path}: {odd[0]!r} is {what}")
        read = {name: _read(saved, f"model/{name}", p, checkpoint.path) for name, p in parameters.items()}
        state = _state(saved, optimizer)
        if checkpoint.step and optimizer.held and not state:
            raise InputError(f"{checkpoint.path}: the optimizer's state is missing")
        average = _averages(saved, parameters)
        optimizer.load_state(state, where=str(checkpoint.path))
        carry.load(checkpoint.carry, average, where=str(checkpoint.path))
        for name, parameter in parameters.items():
            local(parameter.detach()).copy_(read[name])
        optimizer.refresh()


def _read(saved: pieces.Pieces, name: str, parameter: Tensor, where: Path) -> Tensor:
    """The part of a stored tensor that is here of the parameter."""
    kinds = [(saved.shape(name), saved.dtype(name)), (tuple(parameter.shape), parameter.dtype)]
    if kinds[0] != kinds[1]:
        words = [f"{shape} {dtype}" for shape, dtype in kinds]
        raise InputError(f"{where}: {name.removeprefix('model/')!r} is {words[0]}, not {words[1]}")
    return saved.read(name, region(parameter))


def _state(saved: pieces.Pieces, optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's state of every parameter that is stepped here, and what belongs to none."""
    elsewhere = optimizer.named.keys() - optimizer.held.keys()
    owners = {key: key.partition("/")[2] for key in saved.names("optimizer/")}
    return {
        key: _along(saved, f"optimizer/{key}", optimizer.held.get(name))
        for key, name in owners.items()
        if name not in elsewhere
    }


def _averages(saved: pieces.Pieces, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parts of the averages that are here of the parameters, and what belongs to none."""
    return {name: _along(saved, f"average/{name}", parameters.get(name)) for name in saved.names("average/")}


def _along(saved: pieces.Pieces, name: str, parameter: Tensor | None) -> Tensor:
    """A stored tensor shared out as the parameter of its shape is; where there is none of that shape, all of it."""
    shape = saved.shape(name)
    if parameter is None or shape != tuple(parameter.shape):
        return saved.read(name, Region(shape, (0,) * len(shape), shape))
    return like(saved.read(name, region(parameter)).to(parameter.device), parameter)


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _part(rank: int, size: int) -> str:
    return f"part-{rank + 1}-of-{size}.safetensors"


def _open(path: Path, identity: str) -> Checkpoint:
    """Each process checks some of the files, and all hear what was found."""
    hashes = _read_json(path / MANIFEST)
    names = [*(_part(rank, len(hashes) - 1) for rank in range(len(hashes) - 1)), STATE]
    if hashes.keys() != set(names):
        raise Damaged(f"{path / MANIFEST} is not as it was written")
    if faults := _faults(path, hashes, names):
        first = path / names[faults[0]]
        raise Damaged(f"{first} {'is not as it was written' if first.exists() else 'is missing'}")
    state = _read_json(path / STATE)
    if state.get("identity") != identity:
        raise InputError(f"{path} is of another run: its config, data or code differ", hint=f"remove {path.parent}")
    return Checkpoint(path, state["step"], state["carry"], tuple(path / name for name in names[:-1]))


def _faults(path: Path, hashes: Mapping[str, Any], names: Sequence[str]) -> list[int]:
    """Places in `names` of the files that are missing or damaged."""
    us = processes()
    bad = torch.zeros(len(names))
    for place in range(us.rank, len(names), us.size):
        bad[place] = not _as_written(path / names[place], hashes[names[place]])
    found: list[int] = us.sum(bad).nonzero().flatten().tolist()
    return found


def _as_written(path: Path, expected: str) -> bool:
    try:
        return file_digest(path) == expected
    except OSError:
        return False


def _everyones(digest: str) -> list[str]:
    """The hash of every process' file."""
    own = torch.from_numpy(np.frombuffer(bytes.fromhex(digest), np.uint8).copy())
    return [row.numpy().tobytes().hex() for row in processes().gather(own)]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise Damaged(f"{path} is missing") from error
    except ValueError as error:
        raise Damaged(f"{path} is not as it was written") from error
    if not isinstance(value, dict):
        raise Damaged(f"{path} is not as it was written")
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True))
