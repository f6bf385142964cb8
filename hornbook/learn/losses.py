"""Losses: pure functions laid out like their equations, each returning `(sum, count)`.

The training step divides the summed gradient by the count of the *whole* step, so that accumulation, padding and
packing never change it. N positions, D hidden size, V vocabulary, E examples (packed conversations).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from hornbook.model.attention import compute_dtype, soft_cap

LOGITS_ON_CPU, LOGITS_ON_GPU = 2**22, 2**27
"""Logits that exist at one time: what the caches of a CPU hold, what keeps a GPU busy."""
FEWEST = 128
"""Positions at least: with fewer the head is read and its gradient written too often."""


def positions_at_once(head: Tensor) -> int:
    """Positions whose logits [positions, V] exist at one time, for a head [V, D]."""
    return max(FEWEST, (LOGITS_ON_CPU if head.device.type == "cpu" else LOGITS_ON_GPU) // len(head))


def cross_entropy(
    hidden: Tensor, targets: Tensor, weights: Tensor, *, head: Tensor, softcap: float | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted negative log-likelihood in nats: sum_i w_i (logsumexp_v(h_i . W_v) - h_i . W_{y_i}), and sum_i w_i.

    `hidden` [N, D], `targets` int64[N], `weights` [N], `head` [V, D]; `softcap` c: logits z are c tanh(z / c).
    Logits are formed for `positions_at_once`, and their gradient in the same pass (as in Liger, arXiv 2410.10989), so
    memory is that of one chunk and the backward pass costs nothing but a scaling.
    """
    weight = _precise(weights, hidden)
    total = _CrossEntropy.apply(*_tracked(hidden, head), targets, weight, softcap)  # type: ignore[no-untyped-call]
    return total, weight.sum()


def token_log_probabilities(
    hidden: Tensor, targets: Tensor, *, head: Tensor, temperature: float = 1.0, softcap: float | None = None
) -> tuple[Tensor, Tensor]:
    """log p(target) and the distribution's entropy, both [N] and in nats, for hidden [N, D], targets int64[N].

    p is softmax(logits / temperature), what is sampled from. The entropy has no gradient. Logits exist for
    `positions_at_once`; what the head's own gradient needs of them is kept for twice as many, else computed again.
    """
    of = _tracked(hidden, head)
    return _LogProbability.apply(*of, targets, temperature, softcap, True)  # type: ignore[no-untyped-call, no-any-return]


def sequence_log_probability(
    hidden: Tensor,
    targets: Tensor,
    weights: Tensor,
    *,
    head: Tensor,
    examples: Tensor,
    count: int,
    softcap: float | None = None,
) -> Tensor:
    """log p(answer | prompt) in nats of every packed example: [count]; differentiable.

    `examples` int64[N] gives each position's example, `count` is how many there are. Logits as in
    `token_log_probabilities`.
    """
    weight = _precise(weights, hidden)
    of = _tracked(hidden, head)
    logs, _ = _LogProbability.apply(*of, targets, 1.0, softcap, False)  # type: ignore[no-untyped-call]
    return weight.new_zeros(count).index_add(0, examples, logs.to(weight.dtype) * weight)


def _tracked(hidden: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    """Without what autograd is not to follow: a Function is not told of `no_grad`, and would form its gradients."""
    return (hidden, head) if torch.is_grad_enabled() else (hidden.detach(), head.detach())


def _precise(weights: Tensor, hidden: Tensor) -> Tensor:
    """In the type of the hidden states, at least in single precision."""
    return weights.to(torch.promote_types(hidden.dtype, torch.float32))


class _LogProbability(torch.autograd.Function):
    """log p_i(y_i) of each position; its gradient by the logits, onehot - p, is formed in the same pass.

    How much each counts is known in the backward pass only, and put on the small matrices there: with c for what counts
    over the temperature and d = p - onehot, the gradients are -c (d W) and -d' (c h).
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        targets: Tensor,
        temperature: float,
        softcap: float | None,
        wants_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        wants_hidden, wants_head = ctx.needs_input_grad[:2]
        dtype = compute_dtype(hidden)
        h, w = hidden.to(dtype), head.to(dtype)
        keeps = wants_head and len(h) <= 2 * positions_at_once(head)
        logs = torch.empty(len(h), dtype=torch.promote_types(hidden.dtype, torch.float32), device=h.device)
        entropy = torch.empty_like(logs) if wants_entropy else logs.new_empty(0)
        d_hidden, kept = torch.empty_like(h) if wants_hidden else None, []
        formed = partial(_logs_and_gradient, dtype=logs.dtype, softcap=softcap, temperature=temperature)
        with torch.autocast(hidden.device.type, enabled=False):
            for at in _pieces(h, head):
                into = entropy[at] if wants_entropy else None
                logs[at], d_logits = formed(h[at] @ w.T, targets[at], entropy=into)
                if d_hidden is not None:
                    torch.mm(d_logits, w, out=d_hidden[at])
                if keeps:
                    kept.append(d_logits)
        ctx.temperature, ctx.softcap, ctx.types = temperature, softcap, (hidden.dtype, head.dtype)
        ctx.save_for_backward(d_hidden, *((h, w, targets, *kept) if wants_head else (None,) * 3))
        ctx.mark_non_differentiable(entropy)
        return logs, entropy

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        d_hidden, h, w, targets, *kept = ctx.saved_tensors
        hidden_type, head_type = ctx.types
        scale = scale / -ctx.temperature
        wanted = None if d_hidden is None else (d_hidden * scale[:, None]).to(hidden_type)
        if h is None:
            return wanted, None, None, None, None, None
        d_head = torch.zeros_like(w, dtype=scale.dtype)
        formed = partial(_logs_and_gradient, dtype=scale.dtype, softcap=ctx.softcap, temperature=ctx.temperature)
        with torch.autocast(scale.device.type, enabled=False):
            for number, at in enumerate(_pieces(h, w)):
                d_logits = kept[number] if kept else formed(h[at] @ w.T, targets[at])[1]
                add_product(d_head, d_logits.T, h[at] * scale[at, None].to(h.dtype))
        return wanted, d_head.to(head_type), None, None, None, None


def _pieces(rows: Tensor, head: Tensor) -> list[slice]:
    size = positions_at_once(head)
    return [slice(start, start + size) for start in range(0, len(rows), size)]


class _CrossEntropy(torch.autograd.Function):
    """The sum and, in the same pass, its gradients: dL/dlogits = w (softmax - onehot).

    The weights are put on the small matrices: w (P W) and P' (w h) instead of (w P) W and (w P)' h.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, softcap: float | None
    ) -> Tensor:
        wants_hidden, wants_head = ctx.needs_input_grad[:2]
        total, dtype = weights.new_zeros(()), compute_dtype(hidden)
        h, w = hidden.to(dtype), head.to(dtype)
        d_hidden = torch.empty_like(h) if wants_hidden else None
        d_head = torch.zeros_like(head, dtype=weights.dtype) if wants_head else None
        with torch.autocast(hidden.device.type, enabled=False):
            for piece in _pieces(h, head):
                loss, d_logits = _loss_and_gradient(h[piece] @ w.T, targets[piece], weights[piece], softcap)
                total += loss
                if d_hidden is not None:
                    torch.mm(d_logits, w, out=d_hidden[piece])
                if d_head is not None:
                    add_product(d_head, d_logits.T, h[piece] * weights[piece, None].to(dtype))
        if d_hidden is not None:
            d_hidden = d_hidden.to(hidden.dtype).mul_(weights[:, None])
        ctx.save_for_backward(d_hidden, None if d_head is None else d_head.to(head.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        d_hidden, d_head = ctx.saved_tensors
        return _scaled(d_hidden, scale), _scaled(d_head, scale), None, None, None


def _loss_and_gradient(
    logits: Tensor, targets: Tensor, weights: Tensor, softcap: float | None
) -> tuple[Tensor, Tensor]:
    """sum_i w_i (-log p_i(y_i)) and p - onehot, the first in the weights' precision, the second in the logits'."""
    logs, gradient = _logs_and_gradient(logits, targets, softcap=softcap, dtype=weights.dtype)
    return -(weights * logs).sum(), gradient


def _logs_and_gradient(
    logits: Tensor,
    targets: Tensor,
    *,
    dtype: torch.dtype,
    softcap: float | None,
    temperature: float = 1.0,
    entropy: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """log p_i(y_i) in `dtype`, and p - onehot, times the cap's slope, in the logits'; `entropy` [N] is filled."""
    capped = logits if softcap is None else soft_cap(logits, softcap)
    z = capped.to(dtype)
    if temperature != 1:  # A pass over all logits.
        z = z / temperature
    largest, p, at = z.amax(1), z.softmax(1), targets[:, None]
    # log p(y) = z_y - z_max + log p(max): p(y) itself may be too small for a float, p(max) is at least 1 / V.
    log_most = p.amax(1).log()
    logs = z.gather(1, at)[:, 0] - largest + log_most
    if entropy is not None:
        # -sum p log p, with log p = z - z_max + log p(max): the difference first, p is not exact and z may be large.
        spread = torch.bmm(p[:, None], (z - largest[:, None])[:, :, None])[:, 0, 0]
        torch.sub(-log_most, spread, out=entropy)
    gradient = p.scatter_add_(1, at, p.new_full(at.shape, -1.0)).to(logits.dtype)
    if softcap is not None:
        # d(c tanh(z / c)) / dz = 1 - tanh(z / c)^2
        gradient *= 1 - (capped / softcap).square()
    return logs, gradient


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, inside the product where the types agree."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _scaled(gradient: Tensor | None, scale: Tensor) -> Tensor | None:
    # Most often the scale is exactly 1 (the step divides once, at its end): then there is nothing to compute.
    return gradient if gradient is None or scale == 1 else gradient * scale
