"""One model on several processes: FSDP2 keeps a part of every tensor in each, and each computes a part of every step.

Whoever trains sees little of it. `sharded(model)` shares out the parameters (PyTorch FSDP, arXiv 2304.11277) and makes
the model whole again at its end; `Processes` shares out a step's micro-batches and adds up what they gave; `Region`
says which part of a tensor a process holds, which is what a checkpoint writes. Where there is one process, all of it
comes to nothing. Processes that compute each layer together (`tensor_parallel.py`) have the same micro-batches.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hornbook.model.transformer import Transformer

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

T = TypeVar("T")
_tensor = ContextVar("tensor", default=1)
"""Processes that compute each layer together, now."""


@dataclass(frozen=True, slots=True)
class Processes:
    """Those that train together, and which of them this one is."""

    rank: int
    size: int
    tensor: int = 1
    """Neighbours that compute each layer together, and so the same micro-batches: a group."""

    @property
    def group(self) -> int:
        return self.rank // self.tensor

    @property
    def groups(self) -> int:
        return self.size // self.tensor

    def share(self, micro: Sequence[T]) -> list[tuple[T, bool]]:
        """This process' micro-batches of a step, and whether each counts.

        All processes get equally many, since each takes part in gathering the parameters for every forward and backward
        pass; one that would have fewer computes the first once more, for nothing.
        """
        mine = [(batch, True) for batch in micro[self.group :: self.groups]]
        rounds = -(-len(micro) // self.groups)
        return mine + [(micro[0], False)] * (rounds - len(mine))

    def sum_shares(self, values: Tensor) -> Tensor:
        """`sum` of what the shares gave, which is the same in all processes of a group."""
        return self.sum(values if self.rank % self.tensor == 0 else torch.zeros_like(values))

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
    if not dist.is_initialized():
        return Processes(0, 1)
    return Processes(dist.get_rank(), dist.get_world_size(), tensor=_tensor.get())


@contextmanager
def sharded(model: Transformer, device: torch.device, *, tensor: int = 1) -> Iterator[None]:
    """Share out the parameters among the processes, on `device`; afterwards `model` is whole and where it was.

    Master weights, gradients and optimizer state are fp32 and in parts; layer by layer the parameters are gathered for
    a pass and dropped again. Gradients are summed, not averaged: the loop divides by the count of the whole step.

    tensor: processes that compute each layer together; a layer's parameters are then gathered in part, for that.

    Raises:
        UsageError: so many cannot.
    """
    if tensor > 1:
        from hornbook.learn import tensor_parallel

        tensor_parallel.check(model.architecture, tensor=tensor, processes=processes().size)
    if processes().size == 1:
        model.to(device)
        yield
        return
    home = next(model.parameters()).device
    plain = _without_parameters(model)
    before = _tensor.set(tensor)
    try:
        _shard(model, device, tensor)
        yield
        plain.load_state_dict(_gathered(model, home), assign=True)
    finally:
        _tensor.reset(before)
    # The same object, as its owner knows it, with the insides of the plain model that it was.
    model.__class__, model.__dict__ = plain.__class__, plain.__dict__


def _without_parameters(model: Transformer) -> Transformer:
    """The same modules, with parameters that have a shape and no memory."""
    empty: dict[int, object] = {
        id(p): nn.Parameter(p.detach().to("meta"), requires_grad=p.requires_grad) for p in model.parameters()
    }
    return copy.deepcopy(model, empty)


def _shard(model: Transformer, device: torch.device, tensor: int) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    everyone = init_device_mesh(device.type, (processes().size,))
    alike = everyone
    if tensor > 1:
        from hornbook.learn.tensor_parallel import divide

        alike = divide(model, device, tensor)
    for module in (*model.model.layers, model):
        outside = module is model
        shared = fully_shard(module, mesh=everyone if outside else alike)
        assert isinstance(shared, FSDPModule)
        # gloo knows no division, and none is wanted, but of what all processes of a group compute alike.
        shared.set_gradient_divide_factor(float(tensor) if outside else 1.0)
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
    if shared is None:
        return tensor
    return shared.full_tensor() if shared.device_mesh.ndim == 1 else _assembled(shared)


def _assembled(shared: DTensor) -> Tensor:
    """A matrix of which every process has another block: `full_tensor` of older PyTorch wants them equally large."""
    part = shared.to_local().detach()
    blocks = [_region(shared, rank) for rank in range(processes().size)]
    room = max(block.numel for block in blocks)
    parts = [part.new_empty(room) for _ in blocks]
    dist.all_gather(parts, nn.functional.pad(part.reshape(-1), (0, room - part.numel())))
    made = part.new_empty(tuple(shared.shape))
    for block, there in zip(blocks, parts, strict=True):
        made[block.slices] = there[: block.numel].view(block.size)
    return made


def copies(tensor: Tensor) -> int:
    """Processes that hold the same part of a tensor."""
    shared = _shared_out(tensor)
    return 1 if shared is None else processes().size // shared.device_mesh.size()


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

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(map(slice, self.start, self.end))


def region(tensor: Tensor) -> Region:
    """Which part of the whole `local(tensor)` is."""
    shape, shared = tuple(tensor.shape), _shared_out(tensor)
    return Region(shape, (0,) * len(shape), shape) if shared is None else _region(shared, processes().rank)


def _region(shared: DTensor, rank: int) -> Region:
    """Which part a process of the tensor's mesh has.

    From the right: a group divides a matrix first, and FSDP2 then shares out rows of each part.
    """
    mesh, shape = shared.device_mesh, tuple(shared.shape)
    start, size = [0] * len(shape), list(shape)
    (place,) = (mesh.mesh == rank).nonzero().tolist()
    for axis in reversed(range(mesh.ndim)):
        dim: int = shared.placements[axis].dim  # type: ignore[attr-defined]
        most = -(-size[dim] // mesh.size(axis))
        first, last = (min(size[dim], most * number) for number in (place[axis], place[axis] + 1))
        start[dim], size[dim] = start[dim] + first, last - first
    return Region(shape, tuple(start), tuple(size))
