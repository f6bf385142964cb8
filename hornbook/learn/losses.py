"""Losses: pure functions laid out like their equations, each returning `(sum, count)`.

The training step divides the summed gradient by the count of the *whole* step, so that accumulation, padding and
packing never change it. N positions, D hidden size, V vocabulary, E examples (packed conversations).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hornbook.model.attention import soft_cap

CHUNK = 1024
"""Positions whose logits exist at one time: 1024 x 32k x 4 bytes = 131 MB."""


def cross_entropy(
    hidden: Tensor, targets: Tensor, weights: Tensor, *, head: Tensor, softcap: float | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted negative log-likelihood in nats: sum_i w_i (logsumexp_v(h_i . W_v) - h_i . W_{y_i}), and sum_i w_i.

    `hidden` [..., D], `targets` int64 [...], `weights` [...], `head` [V, D]; `softcap` c: logits z are c tanh(z / c).
    Logits are formed only where w > 0 and `CHUNK` positions at a time; their gradient is formed in the same pass (as in
    Liger, arXiv 2410.10989), so memory is that of one chunk and the backward pass costs nothing but a scaling.
    """
    chosen, target, weight = _answers(hidden, targets, weights)
    return _CrossEntropy.apply(chosen, head, target, weight, softcap), weight.sum()  # type: ignore[no-untyped-call]


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

    `examples` int64 [...] gives each position's example, `count` is how many there are; positions of weight 0
    (prompts, padding) are left out. The logits are recomputed in the backward pass.
    """
    chosen, target, weight = _answers(hidden, targets, weights)
    example = examples.reshape(-1)[weights.reshape(-1).nonzero().squeeze(1)]
    parts = [
        checkpoint(_log_probability, h, head, y, softcap, use_reentrant=False)
        for h, y in zip(torch.split(chosen, CHUNK), torch.split(target, CHUNK), strict=True)
    ]
    return weight.new_zeros(count).index_add(0, example, torch.cat(parts).to(weight.dtype) * weight)


def dpo(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, beta: float
) -> tuple[Tensor, Tensor]:
    """Direct preference optimization, eq. 7 of arXiv 2305.18290: -log sigmoid(beta (policy margin - reference margin)).

    Four [pairs] tensors of log-probabilities in nats -> (sum, count of pairs). ln 2 a pair while policy = reference.
    """
    margin = (policy_chosen - policy_rejected) - (reference_chosen - reference_rejected)
    return -F.logsigmoid(beta * margin).sum(), margin.new_tensor(margin.numel())


def _answers(hidden: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The positions with weight: hidden [N, D], targets [N], weights [N] in at least single precision."""
    kept = weights.reshape(-1).nonzero().squeeze(1)
    precise = torch.promote_types(hidden.dtype, torch.float32)
    weight = weights.reshape(-1)[kept].to(precise)
    return hidden.reshape(-1, hidden.shape[-1])[kept], targets.reshape(-1)[kept], weight


def _logits(hidden: Tensor, head: Tensor, softcap: float | None) -> Tensor:
    logits = F.linear(hidden, head)
    logits = logits if softcap is None else soft_cap(logits, softcap)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _log_probability(hidden: Tensor, head: Tensor, targets: Tensor, softcap: float | None) -> Tensor:
    logits = _logits(hidden, head, softcap)
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(1)


class _CrossEntropy(torch.autograd.Function):
    """The sum and, in the same pass, its gradients: dL/dlogits = w (softmax - onehot)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, softcap: float | None
    ) -> Tensor:
        wants_hidden, wants_head = ctx.needs_input_grad[:2]
        total = weights.new_zeros(())
        d_hidden = torch.empty_like(hidden) if wants_hidden else None
        d_head = torch.zeros_like(head, dtype=weights.dtype) if wants_head else None
        for start in range(0, len(hidden), CHUNK):
            piece = slice(start, start + CHUNK)
            h, y, w = hidden[piece], targets[piece], weights[piece]
            logits = F.linear(h, head)
            if softcap is not None:
                logits = soft_cap(logits, softcap)
            loss, d_logits = _loss_and_gradient(logits, y, w)
            if softcap is not None:
                # d(c tanh(z / c)) / dz = 1 - tanh(z / c)^2
                d_logits *= 1 - (logits / softcap).square()
            total += loss
            if d_hidden is not None:
                d_hidden[piece] = d_logits @ head.to(d_logits.dtype)
            if d_head is not None:
                d_head += d_logits.T @ h.to(d_logits.dtype)
        ctx.save_for_backward(d_hidden, None if d_head is None else d_head.to(head.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        d_hidden, d_head = ctx.saved_tensors
        return _scaled(d_hidden, scale), _scaled(d_head, scale), None, None, None


def _loss_and_gradient(logits: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Loss in single precision, gradient in the precision of the logits' matrix product."""
    precise = logits.to(weights.dtype)
    normalizer = precise.logsumexp(1)
    loss = (weights * (normalizer - precise.gather(1, targets[:, None]).squeeze(1))).sum()
    gradient = precise.sub(normalizer[:, None]).exp_()
    gradient[torch.arange(len(targets), device=targets.device), targets] -= 1
    return loss, gradient.mul_(weights[:, None]).to(logits.dtype)


def _scaled(gradient: Tensor | None, scale: Tensor) -> Tensor | None:
    # Most often the scale is exactly 1 (the step divides once, at its end): then there is nothing to compute.
    return gradient if gradient is None or scale == 1 else gradient * scale
