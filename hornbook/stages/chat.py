"""A conversation with a model, in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

from tokenizers.decoders import DecodeStream

from hornbook.config import Count, NotNegative, Probability, Takes
from hornbook.decoding import Weights, prepare
from hornbook.device import Device, choose_device
from hornbook.errors import HornbookError
from hornbook.learn.chat import encode
from hornbook.learn.templates import MARKS
from hornbook.manifest import Input
from hornbook.model.decode import Decoder
from hornbook.model.sample import generate
from hornbook.training.opening import Opened, open_model


@dataclass(frozen=True)
class Chat:
    """Talk with a model.

    One question a line; an empty line, Ctrl-D or Ctrl-C ends. From a pipe, each line of stdin is a question of its own
    conversation's next turn.
    """

    model: Annotated[Path, Takes("model")]
    """A run's folder or name, a recipe's table (demo/align), or a Hugging Face folder."""
    _: KW_ONLY
    max_new_tokens: Count = 200
    """Length of an answer, at most."""
    temperature: NotNegative = 0.0
    """0 takes the likeliest token each time; higher is more varied."""
    top_p: Probability = 0.95
    """Draw from the likeliest tokens that together have this probability."""
    seed: int = 0
    """Chooses the draws."""
    device: Device = "auto"
    """Where to compute."""
    weights: Weights = "fp32"
    """Numbers that weights are rounded to: bf16 and int8 hold them in half and a quarter of the bytes."""


def chat(config: Chat) -> None:
    opened = open_model(Input(config.model), device=choose_device(config.device))
    decoder = prepare(opened.model, config.weights)
    messages: list[dict[str, str]] = []
    for question in _questions(opened.control):
        messages.append({"role": "user", "content": question})
        answer = ""
        for piece in _answer(config, opened, decoder, messages):
            print(piece, end="", flush=True)
            answer += piece
        print()
        messages.append({"role": "assistant", "content": answer})


def _questions(control: Sequence[str]) -> Iterator[str]:
    """Lines from the terminal or a pipe, up to an empty one."""
    while True:
        try:
            print("> ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            return
        if not line.strip():
            return
        if found := [token for token in (*control, *MARKS) if token in line]:
            print(f"a question may not hold the control token {found[0]!r}; ask again", file=sys.stderr)
        else:
            yield line.strip()


def _answer(config: Chat, opened: Opened, decoder: Decoder, messages: list[dict[str, str]]) -> Iterator[str]:
    """The answer, piece by piece, as it is made."""
    prompt, _ = encode(messages, opened.tokenizer, template=opened.template, special=opened.special, prompt=True)
    room = decoder.architecture.max_position_embeddings - config.max_new_tokens
    if len(prompt) > room:
        raise HornbookError(
            f"the conversation has {len(prompt)} tokens; the model has room for {room} and an answer",
            hint="start a new one",
        )
    stream = DecodeStream(skip_special_tokens=True)
    steps = generate(
        decoder,
        [prompt],
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed + len(messages),
        stop=opened.stop,
    )
    for step in steps:
        (token,) = step.tokens
        if token not in opened.stop and (piece := stream.step(opened.tokenizer, token)):
            yield piece
