"""Matrices that an optimizer needs whole: each belongs to one process, which steps it as a single process would.

Muon orthogonalizes whole matrices, and FSDP2 leaves each process some rows of every one (tensor parallelism, some
columns too). So their gradients are brought to their owners, whose optimizer steps the whole matrix, and every process
gets its part back: one exchange each way, the work divided, and the arithmetic that of one process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hornbook.learn.parallel import Region, local, processes, region


class Owned:
    """`mine` are the whole matrices that this process owns, for its optimizer; with one process, the model's own."""

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]]) -> None:
        self._named = dict(named)
        self._alone = processes().size == 1 or not named
        if self._alone:
            self.mine = self._named
        else:
            self._owners = _divide({name: p.numel() for name, p in named}, processes().size)
            self._regions = _regions(self._named)
            held = self._of(processes().rank)
            self.mine = {name: nn.Parameter(matrix) for name, matrix in self._collect(self._named, held)}

    def refresh(self) -> None:
        """The parameters have changed: take them over."""
        if not self._alone:
            for name, matrix in self._collect(self._named, list(self.mine)):
                self.mine[name].detach().copy_(matrix)

    def take_gradients(self) -> None:
        """Before the optimizer's step: bring every gradient to its matrix' owner."""
        if not self._alone:
            gradients = {name: p.grad for name, p in self._named.items() if p.grad is not None}
            for name, matrix in self._collect(gradients, list(self.mine)):
                self.mine[name].grad = matrix

    def give_back(self) -> None:
        """After the optimizer's step: every process gets its part of every matrix."""
        if not self._alone:
            self._hand_out()

    def _collect(self, tensors: Mapping[str, Tensor], held: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """This process' matrices, whole."""
        size = processes().size
        parts = [[local(tensors[name]).reshape(-1) for name in self._of(owner)] for owner in range(size)]
        expected = [[self._regions[other][name].numel for name in held] for other in range(size)]
        received = _exchange(parts, expected, like=local(next(iter(tensors.values()))))
        for place, name in enumerate(held):
            matrix = received[0][place].new_empty(self._regions[0][name].shape)
            for other in range(size):
                block = self._regions[other][name]
                matrix[block.slices] = received[other][place].view(block.size)
            yield name, matrix

    def _hand_out(self) -> None:
        size, rank = processes().size, processes().rank
        blocks = self._regions
        parts = [
            [matrix.detach()[blocks[other][name].slices].reshape(-1) for name, matrix in self.mine.items()]
            for other in range(size)
        ]
        expected = [[blocks[rank][name].numel for name in self._of(owner)] for owner in range(size)]
        received = _exchange(parts, expected, like=local(next(iter(self._named.values()))))
        for owner in range(size):
            for name, part in zip(self._of(owner), received[owner], strict=True):
                local(self._named[name].detach()).copy_(part.view(blocks[rank][name].size))

    def _of(self, owner: int) -> list[str]:
        return [name for name in self._named if self._owners[name] == owner]


def _divide(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """An owner for each, so that the owners have about equally much: the largest first, to whoever has least."""
    load, owners = [0] * count, {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        owners[name] = min(range(count), key=lambda owner: (load[owner], owner))
        load[owners[name]] += sizes[name]
    return owners


def _regions(named: Mapping[str, nn.Parameter]) -> list[dict[str, Region]]:
    """By process, which part of each matrix it has."""
    own = [region(parameter) for parameter in named.values()]
    numbers = torch.tensor([[*block.start, *block.size] for block in own], dtype=torch.int64)
    everyones = processes().gather(numbers.reshape(-1)).reshape(processes().size, len(own), 4).tolist()
    return [
        {
            name: Region(block.shape, (row[0], row[1]), (row[2], row[3]))
            for name, block, row in zip(named, own, rows, strict=True)
        }
        for rows in everyones
    ]


def _exchange(parts: list[list[Tensor]], expected: list[list[int]], *, like: Tensor) -> list[list[Tensor]]:
    """Send `parts[p]` to process p; what came from each, cut into the expected lengths."""
    sent = torch.cat([part for to in parts for part in to] or [like.new_empty(0)])
    received = like.new_empty(sum(map(sum, expected)))
    dist.all_to_all_single(received, sent, list(map(sum, expected)), [sum(part.numel() for part in to) for to in parts])
    cut = iter(torch.split(received, [length for lengths in expected for length in lengths]))
    return [[next(cut) for _ in lengths] for lengths in expected]
