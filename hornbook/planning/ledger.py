"""What tensors take of memory, counted while code runs on tensors that have shapes and no numbers.

A fake tensor answers every question but those about its numbers. Where code asks one, the ledger answers for it, with
what costs the most memory: every position has a weight, every number is one.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKED = torch.ops.aten._local_scalar_dense.default
WHERE = torch.ops.aten.nonzero.default
ALL = torch.ops.aten.all.default

WORKING = "working"
"""The kind of a tensor that nobody has claimed."""


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the tensors that live now, by kind, and what they were when most lived, in each phase.

    alike: what code is told that asks whether all of something is so, such as all tokens of one document.
    """

    def __init__(self, *, alike: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: Counter[str] = Counter()
        self.peaks: dict[str, Counter[str]] = {}
        self._phase, self._kind, self._alike = "", WORKING, alike
        self._kinds: weakref.WeakKeyDictionary[torch.UntypedStorage, str] = weakref.WeakKeyDictionary()
        self._answers: weakref.WeakKeyDictionary[torch.UntypedStorage, bool] = weakref.WeakKeyDictionary()
        self._live: dict[int, tuple[str, int]] = {}
        self._number = 0
        self._numbers: weakref.WeakKeyDictionary[torch.UntypedStorage, int] = weakref.WeakKeyDictionary()

    def begin(self, phase: str, kind: str = WORKING) -> None:
        """What is counted from now on belongs to this phase, and is of this kind until it is claimed."""
        self._phase, self._kind = phase, kind
        self._note()

    def claim(self, tensor: Tensor, kind: str, *, anew: bool = False) -> None:
        """A tensor is of this kind, unless somebody said otherwise before, and it is not to be said `anew`."""
        number = self._count(tensor)
        was, size = self._live[number]
        if anew or was == WORKING:
            self._live[number] = (kind, size)
            self.now[was] -= size
            self.now[kind] += size

    def _count(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        if (number := self._numbers.get(storage)) is not None:
            return number
        self._number = number = self._number + 1
        self._numbers[storage] = number
        self._live[number] = (self._kind, storage.nbytes())
        self.now[self._kind] += storage.nbytes()
        weakref.finalize(storage, self._free, number).atexit = False
        self._note()
        return number

    def _free(self, number: int) -> None:
        kind, size = self._live.pop(number)
        self.now[kind] -= size

    def _note(self) -> None:
        if self.now.total() >= self.peaks.get(self._phase, Counter()).total():
            self.peaks[self._phase] = self.now.copy()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is ASKED:
            return self._answers.get(args[0].untyped_storage(), _one(args[0].dtype))
        if func is WHERE:
            made = args[0].new_empty((args[0].numel(), args[0].ndim), dtype=torch.int64)
        else:
            made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        if func is ALL:
            self._answers[made.untyped_storage()] = self._alike
        return made


def _one(dtype: torch.dtype) -> bool | int | float:
    return True if dtype == torch.bool else 1.0 if dtype.is_floating_point else 1


@contextmanager
def without_numbers(ledger: Ledger) -> Iterator[None]:
    """Tensors that are made inside have shapes and no numbers, and are counted."""
    # At work, not at import: it brings a compiler's symbols, which take two seconds.
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True), ledger:
        yield
