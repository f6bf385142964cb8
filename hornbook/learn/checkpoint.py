"""Checkpoints: one folder a checkpoint, safetensors and JSON, a hash of every file, all or nothing.

<folder>/step-00000100/  model.safetensors  optimizer.safetensors  average.safetensors  state.json  manifest.json
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hornbook.errors import Damaged, InputError
from hornbook.learn.carry import NOTHING, Carry
from hornbook.learn.optim import Optimizer
from hornbook.model.lora import trainable

PARTS = ("model.safetensors", "optimizer.safetensors", "average.safetensors", "state.json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files are all there and as they were written."""

    path: Path
    step: int
    """Steps done: go on with `train(..., first=step)`."""
    carry: Mapping[str, Any]
    """`Carry.state` as it was."""


def save(
    folder: Path, *, step: int, model: nn.Module, optimizer: Optimizer, carry: Carry = NOTHING, keep: int = 2
) -> Path:
    """Write the trainable weights, the optimizer's state and what else is carried after `step` steps; keep `keep`.

    A kill at any instant leaves either the whole checkpoint or none.
    """
    final = folder / f"step-{step:08d}"
    partial = folder / f".tmp-{final.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(_contiguous(trainable(model)), partial / PARTS[0])
    save_file(_contiguous(optimizer.state()), partial / PARTS[1])
    save_file(_contiguous(carry.tensors()), partial / PARTS[2])
    _write_json(partial / PARTS[3], {"step": step, "carry": carry.state()})
    _write_json(partial / "manifest.json", {name: _sha256(partial / name) for name in PARTS})
    for path in (*(partial / name for name in PARTS), partial / "manifest.json", partial):
        _fsync(path)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    _fsync(folder)
    for old in _all(folder)[keep:]:
        shutil.rmtree(old)
    return final


def newest(folder: Path) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """The newest valid checkpoint, and for each newer one that was skipped why."""
    skipped: list[str] = []
    for path in _all(folder):
        try:
            return _open(path), tuple(skipped)
        except Damaged as error:
            skipped.append(error.message)
    return None, tuple(skipped)


def restore(checkpoint: Checkpoint, *, model: nn.Module, optimizer: Optimizer, carry: Carry = NOTHING) -> None:
    """Put the saved state back, bit for bit; anything missing or left over is an InputError."""
    saved = _load(checkpoint.path / PARTS[0])
    state = _load(checkpoint.path / PARTS[1])
    parameters = trainable(model)
    if odd := sorted(saved.keys() ^ parameters.keys()):
        what = "missing from the checkpoint" if odd[0] in parameters else "not in the model"
        raise InputError(f"{checkpoint.path / PARTS[0]}: {odd[0]!r} is {what}")
    for name, parameter in parameters.items():
        _check(checkpoint.path / PARTS[0], name, saved[name], parameter)
    if checkpoint.step and not state:
        raise InputError(f"{checkpoint.path / PARTS[1]}: the optimizer's state is missing")
    optimizer.load_state(state, where=str(checkpoint.path / PARTS[1]))
    carry.load(checkpoint.carry, _load(checkpoint.path / PARTS[2]), where=str(checkpoint.path))
    for name, parameter in parameters.items():
        parameter.data.copy_(saved[name])


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _open(path: Path) -> Checkpoint:
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        for name in PARTS:
            if _sha256(path / name) != manifest[name]:
                raise Damaged(f"{path / name} is not as it was written")
        state = json.loads((path / PARTS[3]).read_bytes())
        return Checkpoint(path, state["step"], state["carry"])
    except OSError as error:
        raise Damaged(f"{error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path / 'manifest.json'} is not as it was written") from error


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise Damaged(f"{path}: {error}") from error


def _check(path: Path, name: str, saved: Tensor, parameter: Tensor) -> None:
    if (saved.shape, saved.dtype) != (parameter.shape, parameter.dtype):
        kinds = [f"{tuple(t.shape)} {t.dtype}" for t in (saved, parameter)]
        raise InputError(f"{path}: {name!r} is {kinds[0]}, not {kinds[1]}")


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
