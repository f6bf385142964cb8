"""One model on several processes: FSDP2 keeps a part of every tensor in each, and each computes a part of every step.

Whoever trains sees little of it. `sharded(model)` shares out the parameters (PyTorch FSDP, arXiv 2304.11277) and makes
the model whole again at its end; `Processes` shares out a step's micro-batches and adds up what they gave; `Region`
says which part of a tensor a process holds, which is what a checkpoint writes. Where there is one process, all of it
comes to nothing.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hornbook.model.transformer import Transformer

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Processes:
    """Those that train together, and which of them this one is."""

    rank: int
    size: int

    def share(self, micro: Sequence[T]) -> list[tuple[T, bool]]:
        """This process' micro-batches of a step, and whether each counts.

        All processes get equally many, since each takes part in gathering the parameters for every forward and backward
        pass; one that would have fewer computes the first once more, for nothing.
        """
        mine = [(batch, True) for batch in micro[self.rank :: self.size]]
        rounds = -(-len(micro) // self.size)
        return mine + [(micro[0], False)] * (rounds - len(mine))

    def sum(self, values: Tensor) -> Tensor:
        """Elementwise sum over the processes, of the same shape; on the CPU in double precision."""
        total = values.detach().double().cpu()
        if self.size > 1:
            dist.all_reduce(total)
        return total

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether it is up in any process: so all of them decide alike."""
        return tuple(value > 0 for value in self.sum(torch.tensor(flags, dtype=torch.float64)).tolist())

    def gather(self, values: Tensor) -> Tensor:
        """[n] of each process -> [processes, n], on the CPU."""
        if self.size == 1:
            return values[None]
        rows = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(rows, values)
        return torch.stack(rows)

    def exchange(self, note: Any) -> list[Any]:
        """What each process has to say, JSON-able, in the order of their ranks."""
        if self.size == 1:
            return [note]
        said = torch.frombuffer(bytearray(json.dumps(note).encode()), dtype=torch.uint8)
        sizes = self.gather(torch.tensor([len(said)]))[:, 0].tolist()
        rows = self.gather(nn.functional.pad(said, (0, max(sizes) - len(said))))
        return [json.loads(bytes(row[:size].tolist())) for row, size in zip(rows, sizes, strict=True)]

    def wait(self) -> None:
        """Until all are here."""
        self.sum(torch.zeros(1))


def processes() -> Processes:
    """Those that torch.distributed has brought together; one without it."""
    return Processes(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Processes(0, 1)


@contextmanager
def sharded(model: Transformer, device: torch.device) -> Iterator[None]:
    """Share out the parameters among the processes, on `device`; afterwards `model` is whole and where it was.

    Master weights, gradients and optimizer state are fp32 and in parts; layer by layer the parameters are gathered for
    a pass and dropped again. Gradients are summed, not averaged: the loop divides by the count of the whole step.
    """
    if processes().size == 1:
        model.to(device)
        yield
        return
    home = next(model.parameters()).device
    plain = _without_parameters(model)
    _shard(model, device)
    yield
    plain.load_state_dict(_gathered(model, home), assign=True)
    # The same object, as its owner knows it, with the insides of the plain model that it was.
    model.__class__, model.__dict__ = plain.__class__, plain.__dict__


def _without_parameters(model: Transformer) -> Transformer:
    """The same modules, with parameters that have a shape and no memory."""
    empty: dict[int, object] = {
        id(p): nn.Parameter(p.detach().to("meta"), requires_grad=p.requires_grad) for p in model.parameters()
    }
    return copy.deepcopy(model, empty)


def _shard(model: Transformer, device: torch.device) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device.type, (processes().size,))
    for module in (*model.model.layers, model):
        shared = fully_shard(module, mesh=mesh)
        assert isinstance(shared, FSDPModule)
        # gloo knows no division, and none is wanted.
        shared.set_gradient_divide_factor(1.0)
        shared.set_force_sum_reduction_for_comms(True)
        # Of a soft prompt the last layer gives keys and values only: nothing tells FSDP that their gradient is to come.
        late = model.start is not None and module is model.model.layers[-1]
        shared.set_reshard_after_backward(not late, recurse=False)
    register_fsdp_forward_method(model, "hidden")


def _gathered(model: nn.Module, home: torch.device) -> dict[str, Tensor]:
    settle(model)
    return {name: whole(tensor).to(home) for name, tensor in model.state_dict().items()}


def settle(model: nn.Module) -> None:
    """Drop what a pass without a backward pass left gathered, so that parameters are parts again."""
    if processes().size > 1:
        from torch.distributed.fsdp import FSDPModule

        if isinstance(model, FSDPModule):
            model.reshard()


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that is here; all of a plain one."""
    shared = _shared_out(tensor)
    return tensor if shared is None else shared.to_local()


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, gathered from all processes, which all have to call this."""
    shared = _shared_out(tensor)
    return tensor if shared is None else shared.full_tensor()


def _shared_out(tensor: Tensor) -> DTensor | None:
    """The tensor, if it is shared out. One process imports nothing for it: with the type comes a second's worth."""
    if processes().size == 1:
        return None
    from torch.distributed.tensor import DTensor

    return tensor if isinstance(tensor, DTensor) else None


def like(part: Tensor, tensor: Tensor) -> Tensor:
    """A tensor shared out as `tensor` is, of which `part` is here."""
    shared = _shared_out(tensor)
    if shared is None:
        return part
    mesh, placements, shape, stride = shared.device_mesh, shared.placements, shared.shape, shared.stride()
    return type(shared).from_local(part, mesh, placements, run_check=False, shape=shape, stride=stride)


@dataclass(frozen=True, slots=True)
class Region:
    """A block of a tensor of shape `shape`: `size` entries from `start` in each dimension."""

    shape: tuple[int, ...]
    start: tuple[int, ...]
    size: tuple[int, ...]

    @property
    def numel(self) -> int:
        return torch.Size(self.size).numel()

    @property
    def end(self) -> tuple[int, ...]:
        return tuple(start + size for start, size in zip(self.start, self.size, strict=True))


def region(tensor: Tensor) -> Region:
    """Which part of the whole `local(tensor)` is."""
    shape, shared = tuple(tensor.shape), _shared_out(tensor)
    if shared is None:
        return Region(shape, (0,) * len(shape), shape)
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    size, start = compute_local_shape_and_global_offset(shared.shape, shared.device_mesh, shared.placements)
    return Region(shape, tuple(start), tuple(size))
