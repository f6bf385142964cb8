"""A one-layer model and a byte tokenizer: small enough to run, real enough to be wrong."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from hornbook.learn.batches import Batch
from hornbook.learn.turns import CONTROL
from hornbook.model.architecture import Architecture
from hornbook.model.transformer import Transformer

BYTES = pre_tokenizers.ByteLevel.alphabet()


def model(*, vocab: int = 32, layers: int = 1, seed: int = 0, tied: bool = True, exact: bool = True) -> Transformer:
    """In float64 where `exact`."""
    shape = Architecture(
        vocab_size=vocab,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=tied,
    )
    made = Transformer(shape).initialize(seed)
    return made.to(torch.float64 if exact else torch.float32)


def tokenizer() -> Tokenizer:
    """Byte-level, with a few merges, so that it matters where a text is split."""
    vocab = {token: i for i, token in enumerate([*CONTROL, *sorted(BYTES)])}
    merges = [("Ċ", "Ċ"), ("a", "s"), ("i", "s"), ("Ġ", "t"), ("a", "n"), ("u", "s"), ("us", "e"), ("use", "r")]
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(CONTROL))
    return made


def equal(a: Batch, b: Batch) -> bool:
    return a.document_ids == b.document_ids and all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("tokens", "targets", "weights", "documents")
    )
