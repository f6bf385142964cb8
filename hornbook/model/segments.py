"""Attention of packed rows on a CPU, document by document: what a mask would hide is never computed.

Shapes as in `attention.py`: B rows, T query tokens, S keys, H query heads, K key/value heads, C head size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor

from hornbook.model.attention import causal_mask

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Segment:
    """A document's tokens, which lie together in a row."""

    row: int
    queries: Range
    keys: tuple[Range, ...]
    """What they see of the row's keys: what comes before the document in its own order, and itself, last."""
    mask: Tensor | None
    """[1, 1, queries, keys]: 0 where visible, -inf elsewhere; None: plain causal."""

    def of_queries(self, x: Tensor) -> Tensor:
        """[B, H, T, C] -> [1, H, queries, C], a view."""
        return self._of(x, self.queries)

    def of_keys(self, x: Tensor) -> Tensor:
        """[B, K, S, C] -> [1, K, keys, C]"""
        parts = [self._of(x, part) for part in self.keys]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 2)

    def add_to_keys(self, x: Tensor, added: Tensor) -> None:
        """[1, K, keys, C] onto its places of [B, K, S, C]."""
        sizes = [end - start for start, end in self.keys]
        for part, one in zip(self.keys, torch.split(added, sizes, 2), strict=True):
            self._of(x, part).add_(one)

    def _of(self, x: Tensor, part: Range) -> Tensor:
        return x[self.row : self.row + 1, :, part[0] : part[1]]


def segments(
    documents: Tensor, prefixes: Tensor | None, *, before: int, window: int | None, dtype: torch.dtype
) -> tuple[Segment, ...]:
    """The documents of rows, int64[B, T], each with what it sees; see `Transformer.hidden`.

    before: keys at the beginning of every row that all of its documents begin with. dtype: of the queries.
    """
    found = []
    for row, start, end in _runs(documents):
        first, last = (0, 0) if prefixes is None else prefixes[row, start].tolist()
        seen = [(0, before), (first + before, last + before), (start + before, end + before)]
        keys = tuple(part for part in seen if part[0] < part[1])
        mask = _mask(end - start, sum(b - a for a, b in keys), window=window, dtype=dtype)
        found.append(Segment(row=row, queries=(start, end), keys=keys, mask=mask))
    return tuple(found)


def _runs(documents: Tensor) -> Iterator[tuple[int, int, int]]:
    """(row, start, end) of every document."""
    for row, ids in enumerate(documents.tolist()):
        sizes = [len(list(run)) for _, run in groupby(ids)]
        ends = list(accumulate(sizes))
        yield from ((row, end - size, end) for size, end in zip(sizes, ends, strict=True))


def _mask(queries: int, keys: int, *, window: int | None, dtype: torch.dtype) -> Tensor | None:
    if queries == keys and (window is None or keys <= window):
        return None
    visible = causal_mask(torch.arange(keys - queries, keys), torch.arange(keys), window)
    return torch.zeros(1, 1, queries, keys, dtype=dtype).masked_fill_(~visible, -math.inf)


def attend_by_segment(query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Segment], *, scale: float) -> Tensor:
    """`attend` where the segments say who sees whom: query [B, H, T, C], key and value [B, K, S, C] -> [B, H, T, C]."""
    mixed: Tensor = _BySegment.apply(query, key, value, parts, scale)  # type: ignore[no-untyped-call]
    return mixed


class _BySegment(torch.autograd.Function):
    """torch's flash attention, once a segment, each into its place of one result."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Segment], scale: float) -> Tensor:
        rows, heads, length, size = query.shape
        # Heads of a token beside each other, as the projection that follows reads them.
        mixed = query.new_empty(rows, length, heads, size).transpose(1, 2)
        sums = []
        for part in parts:
            given = (part.of_queries(query), part.of_keys(key), part.of_keys(value))
            one, total = _forward(*given, is_causal=part.mask is None, attn_mask=part.mask, scale=scale)
            part.of_queries(mixed).copy_(one)
            sums.append(total)
        ctx.parts, ctx.scale = parts, scale
        ctx.save_for_backward(query, key, value, mixed, *sums)
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mixed, *sums = ctx.saved_tensors
        of_query, of_key, of_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for part, total in zip(ctx.parts, sums, strict=True):
            given = (part.of_queries(query), part.of_keys(key), part.of_keys(value), part.of_queries(mixed), total)
            causal = {"is_causal": part.mask is None, "attn_mask": part.mask, "scale": ctx.scale}
            found = _backward(part.of_queries(gradients[0]), *given, dropout_p=0.0, **causal)
            part.of_queries(of_query).copy_(found[0])
            part.add_to_keys(of_key, found[1])
            part.add_to_keys(of_value, found[2])
        return of_query, of_key, of_value, None, None
