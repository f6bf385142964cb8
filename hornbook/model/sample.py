"""Decoding: a batch of prompts, one new token a step, keys and values kept.

Randomness is a function of (seed, prompt index, step), never a running stream: which prompts share a batch, and which
of them end early, changes no draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from hornbook.errors import InputError
from hornbook.model.cache import Cache
from hornbook.model.transformer import Transformer


def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: frozenset[int] = frozenset(),
    indices: Sequence[int] | None = None,
) -> Iterator[list[int | None]]:
    """One list a step: each prompt's next token, None once the prompt's completion has ended.

    A completion ends with a token of `stop` (which is yielded), after `max_new_tokens`, or where positions run out.
    temperature 0 is greedy. indices name the prompts for the randomness; None: 0, 1, 2, ...
    Raises InputError for an empty or too long prompt or a token outside the vocabulary.
    """
    check_prompts(model, prompts)
    check_options(temperature=temperature, top_p=top_p)
    limit = model.architecture.max_position_embeddings
    names = list(range(len(prompts)) if indices is None else indices)
    alive = list(range(len(prompts)))
    if not prompts or max_new_tokens < 1:
        return
    cache, logits = prefill(model, prompts, capacity=min(limit, max(map(len, prompts)) + max_new_tokens))
    for step in range(max_new_tokens):
        draws = [draw(seed, names[row], step) for row in alive]
        tokens = pick(logits, temperature=temperature, top_p=top_p, draws=draws)
        chosen: list[int | None] = [None] * len(prompts)
        for row, token in zip(alive, tokens, strict=True):
            chosen[row] = token
        yield chosen
        going = [
            i
            for i, (row, token) in enumerate(zip(alive, tokens, strict=True))
            if token not in stop and len(prompts[row]) + step + 1 < limit
        ]
        if not going or step + 1 == max_new_tokens:
            return
        if len(going) < len(alive):
            cache.select(torch.tensor(going, device=cache.lengths.device))
            alive, tokens = [alive[i] for i in going], [tokens[i] for i in going]
        logits = advance(model, cache, tokens)


def complete(
    model: Transformer,
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
            for index, token in zip(batch, step, strict=True):
                if token is not None:
                    completions[index].append(token)
    return completions


def check_prompts(model: Transformer, prompts: Sequence[Sequence[int]]) -> None:
    limit, size = model.architecture.max_position_embeddings, model.architecture.vocab_size
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
def prefill(model: Transformer, prompts: Sequence[Sequence[int]], *, capacity: int) -> tuple[Cache, Tensor]:
    """Run all prompts at once, padded on the right; the cache, and the logits [B, V] after each prompt's last token."""
    device = model.head_weight.device
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    width = int(lengths.max())
    tokens = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts], device=device)
    cache = Cache(layers=len(model.model.layers), rows=len(prompts), capacity=capacity, device=device)
    hidden = model.hidden(tokens, cache=cache)
    cache.resize(lengths)
    return cache, model.head(hidden[torch.arange(len(prompts), device=device), lengths - 1])


@torch.inference_mode()
def advance(model: Transformer, cache: Cache, tokens: Sequence[int]) -> Tensor:
    """One token a row through the model: logits [B, V]."""
    batch = torch.tensor(tokens, device=cache.lengths.device)[:, None]
    return model.head(model.hidden(batch, cache=cache)[:, -1])


@torch.inference_mode()
def pick(logits: Tensor, *, temperature: float, top_p: float, draws: Sequence[float]) -> list[int]:
    """One token a row of logits [B, V]: the best (temperature 0), else where its draw in [0, 1) falls.

    Nucleus sampling (arXiv 1904.09751): only the smallest set of best tokens whose probability reaches `top_p`.
    """
    if temperature == 0:
        return [int(token) for token in logits.argmax(-1)]
    probabilities = (logits.double() / temperature).softmax(-1)
    ordered, tokens = probabilities.sort(stable=True, dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    kept = ordered.masked_fill(before >= top_p, 0.0).cumsum(-1)
    marks = torch.tensor(draws, dtype=kept.dtype, device=kept.device)[:, None] * kept[:, -1:]
    places = torch.searchsorted(kept, marks, right=True).clamp(max=kept.shape[-1] - 1)
    return [int(token) for token in tokens.gather(-1, places)[:, 0]]


def draw(seed: int, index: int, step: int) -> float:
    """A number in [0, 1) for one prompt and step."""
    digest = blake2b(f"{seed}/{index}/{step}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
