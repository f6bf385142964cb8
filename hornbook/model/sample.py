"""Decoding: a batch of prompts, one new token a step, rows that end leave the batch.

Randomness is a function of (seed, prompt index, step), never a running stream: which prompts share a batch, and which
of them end early, changes no draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from hornbook.errors import InputError
from hornbook.model.architecture import Architecture
from hornbook.model.compiled.draw import draw_rows
from hornbook.model.decode import Decoder, decoder
from hornbook.model.transformer import Transformer


@dataclass(frozen=True)
class Step:
    """One token for each prompt that still goes on."""

    rows: list[int]
    """Which prompts, by their places in the batch."""
    tokens: list[int]
    logits: Tensor
    """[rows, V], from which the tokens were chosen."""

    temperature: float
    drawn: Tensor | None = None
    """float32[rows]: log p of the tokens, where the draw told."""

    def log_probabilities(self) -> Tensor:
        """float32[rows]: of the chosen tokens, in nats, by the model at the temperature (1 if greedy), no nucleus."""
        if self.drawn is not None:
            return self.drawn
        chosen = torch.tensor(self.tokens, device=self.logits.device)[:, None]
        return (self.logits.float() / (self.temperature or 1)).log_softmax(-1).gather(-1, chosen)[:, 0]


def generate(
    model: Transformer | Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: frozenset[int] = frozenset(),
    indices: Sequence[int] | None = None,
) -> Iterator[Step]:
    """One step a token, as long as a prompt goes on.

    A completion ends with a token of `stop` (which is yielded), after `max_new_tokens`, or where positions run out.
    temperature 0 is greedy. indices name the prompts for the randomness; None: 0, 1, 2, ... A decoder made once serves
    any number of batches; of a model one is made here.
    Raises InputError for an empty or too long prompt or a token outside the vocabulary.
    """
    check_prompts(model.architecture, prompts)
    check_options(temperature=temperature, top_p=top_p)
    limit = model.architecture.max_position_embeddings
    names = list(range(len(prompts)) if indices is None else indices)
    alive = list(range(len(prompts)))
    if not prompts or max_new_tokens < 1:
        return
    capacity = min(limit, max(map(len, prompts)) + max_new_tokens)
    rows, logits = as_decoder(model).begin(prompts, capacity=capacity)
    for step in range(max_new_tokens):
        draws = [draw(seed, names[row], step) for row in alive] if temperature else []
        tokens, logs = pick(logits, temperature=temperature, top_p=top_p, draws=draws)
        yield Step(alive, tokens, logits, temperature, logs)
        going = [
            i
            for i, (row, token) in enumerate(zip(alive, tokens, strict=True))
            if token not in stop and len(prompts[row]) + step + 1 < limit
        ]
        if not going or step + 1 == max_new_tokens:
            return
        if len(going) < len(alive):
            rows.select(going)
            alive, tokens = [alive[i] for i in going], [tokens[i] for i in going]
        logits = rows.advance(tokens)


def as_decoder(model: Transformer | Decoder) -> Decoder:
    return decoder(model) if isinstance(model, Transformer) else model


def complete(
    model: Transformer | Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: frozenset[int] = frozenset(),
    batch_size: int = 32,
) -> list[list[int]]:
    """The completion of every prompt, its stop token included, in the order of the prompts; see `generate`."""
    completions: list[list[int]] = [[] for _ in prompts]
    model = as_decoder(model)
    # Prompts of like length share a batch, so that little is padded.
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        steps = generate(
            model,
            [prompts[index] for index in batch],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop=stop,
            indices=batch,
        )
        for step in steps:
            for row, token in zip(step.rows, step.tokens, strict=True):
                completions[batch[row]].append(token)
    return completions


def check_prompts(architecture: Architecture, prompts: Sequence[Sequence[int]]) -> None:
    limit, size = architecture.max_position_embeddings, architecture.vocab_size
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise InputError(f"prompt {index} is empty", hint="begin it with the tokenizer's first token")
        if len(prompt) >= limit:
            raise InputError(f"prompt {index} has {len(prompt)} tokens; the model's {limit} positions leave no room")
        if not 0 <= min(prompt) <= max(prompt) < size:
            raise InputError(f"prompt {index} holds a token outside of the model's vocabulary of {size}")


def check_options(*, temperature: float, top_p: float) -> None:
    if not temperature >= 0:
        raise InputError(f"temperature = {temperature} must be at least 0")
    if not 0 < top_p <= 1:
        raise InputError(f"top_p = {top_p} must be above 0 and at most 1")


@torch.inference_mode()
def pick(
    logits: Tensor, *, temperature: float, top_p: float, draws: Sequence[float]
) -> tuple[list[int], Tensor | None]:
    """One token a row of logits [B, V]: the best (temperature 0), else where its draw in [0, 1) falls.

    And log p of each, float32[B], if the kernel drew them, else None.
    Nucleus sampling (arXiv 1904.09751): only the smallest set of best tokens whose probability reaches `top_p`.
    """
    if temperature == 0:
        return logits.argmax(-1).tolist(), None
    if top_p == 1 and logits.device.type == "cpu" and logits.dtype == torch.float32:
        tokens, logs = torch.empty(len(logits), dtype=torch.int64), torch.empty(len(logits))
        room = np.empty(logits.shape[1], np.float32)
        draw_rows(logits.contiguous().numpy(), temperature, np.array(draws), tokens.numpy(), logs.numpy(), room)
        if not torch.isfinite(logs).all():
            hint = "its weights are broken, or the temperature is too close to 0"
            raise InputError("the model's logits are not finite, and nothing can be drawn from them", hint=hint)
        return tokens.tolist(), logs
    if top_p == 1:
        # Without a nucleus the order is no matter, and to sort a vocabulary takes longer than all the rest.
        summed = (logits.float() / temperature).softmax(-1).cumsum(-1, dtype=torch.float64)
        return _places(summed, draws)[:, 0].tolist(), None
    probabilities = (logits.double() / temperature).softmax(-1)
    ordered, tokens = probabilities.sort(stable=True, dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    kept = ordered.masked_fill(before >= top_p, 0.0).cumsum(-1)
    return tokens.gather(-1, _places(kept, draws))[:, 0].tolist(), None


def _places(kept: Tensor, draws: Sequence[float]) -> Tensor:
    """int64[B, 1]: where each row's draw falls among its sums of probabilities [B, V], never on one of 0."""
    total = kept[:, -1:]
    marks = torch.tensor(draws, dtype=kept.dtype, device=kept.device)[:, None] * total
    return torch.searchsorted(kept, marks.minimum(total.nextafter(torch.zeros_like(total))), right=True)


def draw(seed: int, index: int, step: int) -> float:
    """A number in [0, 1) for one prompt and step."""
    digest = blake2b(f"{seed}/{index}/{step}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
