"""Byte-level BPE: training, reading, and encoding documents so that their text can never turn into control tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from hornbook.errors import InputError

END_OF_TEXT = "<|endoftext|>"
"""Stands before every document; so it both begins a text and, as what comes after one, ends it."""
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
PAD = "<|pad|>"
SPECIAL = (END_OF_TEXT, TURN_START, TURN_END, PAD)
"""Control tokens, ids 0 to 3. Padding has a token of its own, so that masking it never masks the end of a text."""


def train(texts: Iterable[str], *, vocabulary: int) -> Tokenizer:
    """Learn merges (Sennrich et al., arXiv 1508.07909) over UTF-8 bytes, words split as GPT-2 does; nothing is lost.

    Raises:
        InputError: `vocabulary` has no room for the 256 bytes and the control tokens.
    """
    check_room(vocabulary)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def check_room(vocabulary: int) -> None:
    """That a vocabulary has room for the bytes and the control tokens.

    Raises:
        InputError: it has not.
    """
    least = 256 + len(SPECIAL)
    if vocabulary < least:
        raise InputError(f"a vocabulary of {vocabulary} is too small", hint=f"bytes and control tokens take {least}")


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`, as transformers reads them."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def load(path: Path) -> Tokenizer:
    """The tokenizer of a folder.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    file = path / "tokenizer.json"
    if not file.is_file():
        raise InputError(f"{path} has no tokenizer.json", hint="give a folder with a Hugging Face `tokenizer.json`")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exception, whatever is wrong
        raise InputError(f"{file} is not a tokenizer: {error}") from error


def read_config(path: Path) -> dict[str, Any] | None:
    """What a folder's `tokenizer_config.json` says; None where it has none.

    Raises:
        InputError: it is no JSON object.
    """
    file = path / "tokenizer_config.json"
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{file}: holds no JSON object")
    return config


def named_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """The text of each special token that a `tokenizer_config.json` names: `eos_token` and its like."""
    tokens = {key: config.get(key) for key in ("bos_token", "eos_token", "pad_token")}
    texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in tokens.items()}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def control_tokens(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Every text that the tokenizer takes for a control token, and ours."""
    special = (token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special)
    return tuple(dict.fromkeys((*SPECIAL, *special)))


def separator_id(tokenizer: Tokenizer, path: Path) -> int:
    """The id of the token that stands between documents: the folder's eos token, or ours.

    Raises:
        InputError: the tokenizer names none.
    """
    config = read_config(path)
    text = END_OF_TEXT if config is None else named_tokens(config).get("eos_token")
    found = tokenizer.token_to_id(text) if text else None
    if found is None:
        raise InputError(
            f"{path} has no token to end a text with", hint='tokenizer_config.json names it as "eos_token"'
        )
    return int(found)


def begin_id(tokenizer: Tokenizer, path: Path) -> int:
    """The id of the token that a text begins with: the folder's bos token, or what stands between documents."""
    text = named_tokens(read_config(path) or {}).get("bos_token")
    found = tokenizer.token_to_id(text) if text else None
    return separator_id(tokenizer, path) if found is None else int(found)


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of plain texts; control tokens written out in a text are encoded as the characters they are."""
    tokenizer.encode_special_tokens = True
    encoded = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    tokenizer.encode_special_tokens = False
    return [encoding.ids for encoding in encoded]
