"""Attention of one layer, and who may see whom.

Shapes: B rows, T query tokens, S keys, H query heads, K key/value heads, C head size.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MATMUL_ATTENTION_LIMIT = 512
"""Up to this many keys a CPU attends in bfloat16 by two matrix products: faster there than SDPA (docs/decisions.md)."""


def causal_mask(queries: Tensor, keys: Tensor, window: int | None) -> Tensor:
    """bool, True = visible: a query position [..., T] sees key positions [S] up to itself and inside the window."""
    distance = queries[..., :, None] - keys
    visible = distance >= 0
    return visible if window is None else visible & (distance < window)


def row_mask(
    x: Tensor, documents: Tensor | None, window: int | None, prefixes: Tensor | None = None
) -> Tensor | None:
    """bool[B or 1, 1, T, T] for x [B, T, ...], or None where plain causal attention says the same.

    See `Transformer.hidden`.
    """
    if documents is not None and prefixes is not None:
        return _branched_mask(documents, window, prefixes)
    length = x.shape[1]
    one = documents is None or one_document(documents)
    if one and (window is None or length <= window):
        return None
    positions = torch.arange(length, device=x.device)
    mask = causal_mask(positions, positions, window)[None]
    if documents is not None and not one:
        mask = mask & (documents[:, :, None] == documents[:, None, :])
    return mask[:, None]


def one_document(documents: Tensor) -> bool:
    """Whether no row of int64[B, T] holds more than one."""
    return bool((documents == documents[:, :1]).all())


def _branched_mask(documents: Tensor, window: int | None, prefixes: Tensor) -> Tensor:
    columns = torch.arange(documents.shape[1], device=documents.device)
    places = row_places(documents, prefixes)
    distance = places[:, :, None] - places[:, None, :]
    before = (prefixes[..., :1] <= columns) & (columns < prefixes[..., 1:])
    visible = (distance >= 0) & (before | (documents[:, :, None] == documents[:, None, :]))
    return (visible if window is None else visible & (distance < window))[:, None]


def document_starts(documents: Tensor) -> Tensor:
    """int64[B, T]: where in its row the document of each token begins."""
    places = torch.arange(documents.shape[1], device=documents.device)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return (places * begins).cummax(1).values


def document_positions(tokens: Tensor, documents: Tensor | None, prefixes: Tensor | None = None) -> Tensor:
    """int64[T] or [B, T]: the place of each token in its document, of which a prefix is the beginning."""
    places = torch.arange(tokens.shape[1], device=tokens.device)
    if documents is None:
        return places
    inside = places - document_starts(documents)
    return inside if prefixes is None else inside + (prefixes[..., 1] - prefixes[..., 0])


def row_places(documents: Tensor, prefixes: Tensor) -> Tensor:
    """int64[B, T]: a token's place in its row, as if its document followed its prefix at once."""
    places = torch.arange(documents.shape[1], device=documents.device)
    follows = prefixes[..., 0] < prefixes[..., 1]
    return places - follows * (document_starts(documents) - prefixes[..., 1])


def compute_dtype(x: Tensor) -> torch.dtype:
    """What matrix products work in here: autocast's type where it is on, else the type of `x`."""
    kind = x.device.type
    autocast: torch.dtype = torch.get_autocast_dtype(kind)
    return autocast if torch.is_autocast_enabled(kind) else x.dtype


def plan_attention(
    mask: Tensor | None, *, queries: int, keys: int, like: Tensor, capped: bool
) -> tuple[Tensor | None, bool]:
    """(mask in the form the attention wants, whether by matmul); capped scores are by matmul, SDPA knows no cap.

    A choice by shape and type alone; rows of several documents on a CPU do not come here (`attends_by_document`).
    """
    dtype, device = compute_dtype(like), like.device
    if not capped and (device.type != "cpu" or dtype != torch.bfloat16 or keys > MATMUL_ATTENTION_LIMIT):
        return mask, False
    if mask is None and queries > 1:
        mask = torch.ones(1, 1, queries, keys, dtype=torch.bool, device=device).tril()
    if mask is None:
        return None, True
    return torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill_(~mask, -math.inf), True


def soft_cap(x: Tensor, cap: float) -> Tensor:
    """cap tanh(x / cap) (Gemma 2, arXiv 2408.00118, section 2)."""
    return (x / cap).tanh() * cap


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scale: float) -> Tensor:
    """softmax(scale Q K') V: query [B, H, T, C], key and value [B, K, S, C] -> [B, H, T, C].

    mask: bool, True = visible, [B or 1, 1, T, S]; None is causal with T = S, or T = 1 that sees every key.
    """
    causal = mask is None and query.shape[2] > 1
    grouped = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=causal, enable_gqa=grouped, scale=scale
    )


def attend_by_matmul(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, *, scale: float, softcap: float | None = None
) -> Tensor:
    """`attend` written out, the heads of a group folded together so that keys and values are never repeated.

    softcap: bounds the scores. bias: 0 where visible, -inf elsewhere, [B or 1, 1, T, S]; None: every key is visible.
    """
    rows, heads, length, size = query.shape
    groups, keys = key.shape[1:3]
    grouped = (query * scale).reshape(rows, groups, -1, size)
    scores: Tensor = grouped @ key.transpose(-1, -2)
    if softcap is not None:
        scores = soft_cap(scores, softcap)
    if bias is not None:
        # In place: the product's own gradient needs no scores, and a pass over them costs as much as the product.
        scores = scores.view(rows, groups, -1, length, keys).add_(bias[:, :, None]).view(scores.shape)
    mixed: Tensor = scores.softmax(-1) @ value
    return mixed.view(rows, heads, length, size)
