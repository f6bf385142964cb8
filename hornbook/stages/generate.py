"""A prompt -> its continuation, on stdout."""

from __future__ import annotations

import sys
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

from hornbook.config import Count, NotNegative, Probability, Takes
from hornbook.decoding import Weights, prepare
from hornbook.device import Device, choose_device
from hornbook.errors import EmptyInput
from hornbook.manifest import Input
from hornbook.model.sample import complete
from hornbook.text import bpe
from hornbook.training.opening import open_model


@dataclass(frozen=True)
class Generate:
    """Continue a prompt.

    The same model, prompt and seed give the same text.
    """

    model: Annotated[Path, Takes("model")]
    """A run's folder or name, a recipe's table (demo/pretrain), or a Hugging Face folder."""
    _: KW_ONLY
    prompt: str | None = None
    """Text to go on from (default: what comes on stdin)."""
    max_new_tokens: Count = 100
    """Tokens to add, at most."""
    n: Count = 1
    """Continuations to make."""
    temperature: NotNegative = 0.8
    """0 takes the likeliest token each time; higher is more varied."""
    top_p: Probability = 0.95
    """Draw from the likeliest tokens that together have this probability."""
    seed: int = 0
    """Chooses the draws."""
    device: Device = "auto"
    """Where to compute."""
    weights: Weights = "fp32"
    """Numbers that weights are rounded to: bf16 and int8 hold them in half and a quarter of the bytes."""


def generate(config: Generate) -> None:
    prompt = sys.stdin.read() if config.prompt is None else config.prompt
    if not prompt:
        raise EmptyInput("there is no prompt", hint='--prompt "Once upon a time", or a text on stdin')
    opened = open_model(Input(config.model), device=choose_device(config.device))
    ids = [opened.separator, *bpe.encode_texts(opened.tokenizer, [prompt])[0]]
    completions = complete(
        prepare(opened.model, config.weights),
        [ids] * config.n,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed,
        stop=opened.stop,
    )
    for completion in completions:
        print(prompt + opened.tokenizer.decode(completion))
