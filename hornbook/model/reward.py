"""A reward model: the decoder with a head that gives one number instead of a vocabulary's.

In files it is Hugging Face's `...ForSequenceClassification` with one label: `score.weight` [1, D] beside the decoder's
tensors, which have the names of their family. A conversation's reward is the score of its last token (arXiv 2203.02155,
section 3.5), so whoever reads the folder gives it the whole conversation as the chat template writes it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hornbook.errors import InputError
from hornbook.model.architecture import Architecture
from hornbook.model.cache import Cache
from hornbook.model.configuration import family_of, to_config
from hornbook.model.contents import is_classifier, load_config
from hornbook.model.folder import copy_files, write_json, write_shards
from hornbook.model.quantizing import quantization_config
from hornbook.model.transformer import Transformer, fill
from hornbook.model.weights import SHARD_BYTES, TOKENIZER_FILES, file_tensors, load_decoder

LABEL = "reward"


class RewardModel(Transformer):
    """A decoder whose head gives a token's score. There is no head over the vocabulary, and so none to tie."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(replace(architecture, tie_word_embeddings=True))
        self.score = nn.Linear(architecture.hidden_size, 1, bias=False)

    def scores(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [...], in single precision at least: rewards are told apart by small differences."""
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.to(dtype), self.score.weight.to(dtype)).squeeze(-1)

    def forward(self, tokens: Tensor, *, documents: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """int64[B, T] -> the score of every token given those before it, [B, T]; see `hidden`."""
        return self.scores(self.hidden(tokens, documents=documents, cache=cache))


def reward_model(model: Transformer, *, seed: int) -> RewardModel:
    """A reward model with the layers of a language model (the same tensors) and a new head."""
    with torch.device("meta"):
        made = RewardModel(model.architecture)
    made.model = model.model
    made.score.to_empty(device=next(model.parameters()).device)
    fill("score.weight", made.score.weight.data, seed=seed, architecture=made.architecture)
    return made


def save_reward_model(
    folder: Path,
    model: RewardModel,
    *,
    tokenizer: Path | None = None,
    pad: int | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a folder that transformers loads as a sequence classifier; the same model gives the same bytes.

    pad: transformers looks for the last token that is another; without it, it takes one conversation at a time.
    Raises InputError where an adapter is still attached.
    """
    tensors = file_tensors(model)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        **to_config(model.architecture),
        "architectures": [family_of(model.architecture).classifier_name],
        "id2label": {"0": LABEL},
        "label2id": {LABEL: 0},
        "pad_token_id": pad,
        "dtype": str(model.score.weight.dtype).removeprefix("torch."),
        **quantization_config(model),
    }
    write_json(folder / "config.json", config)
    write_shards(folder, tensors, most=shard_bytes)
    if tokenizer is not None:
        copy_files(tokenizer, folder, TOKENIZER_FILES)


def load_reward_model(folder: Path, *, dtype: torch.dtype = torch.float32) -> RewardModel:
    """Read the folder of a reward model, ours or another's.

    Raises:
        InputError: it is not one, with file and key or tensor.
    """
    config = load_config(folder)
    labels = config.get("id2label")
    if not is_classifier(config):
        raise InputError(f"{folder} is not a reward model", hint="hornbook reward makes one of a language model")
    if not isinstance(labels, dict) or len(labels) != 1:
        raise InputError(f"{folder / 'config.json'}: id2label = {labels!r}; a reward model has one label")
    return load_decoder(RewardModel, folder, dtype=dtype)
