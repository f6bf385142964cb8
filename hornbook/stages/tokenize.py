"""Corpus -> tokens: a tokenizer, and the corpus as token shards with an index of documents."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

from tokenizers import Tokenizer

from hornbook.config import Bounds, Count, Positive, Takes
from hornbook.errors import EmptyInput
from hornbook.run import Run
from hornbook.text import bpe, shards
from hornbook.text.document import Document, held_out, order_key, read_documents

MAKES = "tokens"
CHUNK = 256
"""Documents encoded at a time."""


@dataclass(frozen=True)
class Tokenize:
    """Train or take a tokenizer and write the corpus as token shards.

    The tokenizer is byte-level BPE, learned from documents that are not held out. Which documents are held out, and
    which the tokenizer learns from, depends on each document's id alone.
    """

    corpus: Annotated[Path, Takes("corpus")]
    """Run of `curate`."""
    _: KW_ONLY
    vocabulary: Count = 16384
    """Number of token types to learn."""
    tokenizer: Annotated[Path | None, Takes("")] = None
    """Run or folder with a `tokenizer.json` to use instead of learning one."""
    held_out: Annotated[float, Bounds(least=0, below=1)] = 0.02
    """Fraction of documents kept for validation."""
    sample_megabytes: Positive = 100.0
    """Text that the tokenizer learns from, at most."""
    seed: int = 0
    """Chooses held-out documents and the tokenizer's sample."""


def tokenize(config: Tokenize, run: Run) -> None:
    documents = [d for path in run.input("corpus").files("documents*.parquet") for d in read_documents(path)]
    if not documents:
        raise EmptyInput(f"{run.input('corpus').path} holds no documents")
    valid = {d.id for d in documents if held_out(d.id, fraction=config.held_out, seed=config.seed)}
    sample = set() if config.tokenizer else _sample(documents, valid, config)
    tokenizer = _tokenizer(config, [d.text for d in documents if d.id in sample], run)
    separator = bpe.separator_id(tokenizer, run.out)
    with run.progress("tokenize", total=len(documents), unit="documents") as bar:
        rows = []
        for row in _rows(documents, tokenizer, valid, sample):
            rows.append(row)
            bar.advance()
    shards.write(run.out, rows, separator=separator, vocabulary=tokenizer.get_vocab_size())
    _tell(run, rows, tokenizer)


def _sample(documents: Sequence[Document], valid: set[str], config: Tokenize) -> set[str]:
    """Ids of the documents that the tokenizer learns from: the first by keyed hash, up to the size asked for."""
    chosen: set[str] = set()
    left = config.sample_megabytes * 1e6
    for document in sorted(documents, key=lambda d: order_key(d.id, seed=config.seed, purpose="tokenizer")):
        left -= len(document.text.encode())
        if left < 0 and chosen:
            break
        if document.id not in valid:
            chosen.add(document.id)
    return chosen


def _tokenizer(config: Tokenize, texts: Sequence[str], run: Run) -> Tokenizer:
    if config.tokenizer is None:
        run.say(f"learning {config.vocabulary:,} tokens from {sum(map(len, texts)) / 1e6:.1f} MB of text")
        bpe.save(bpe.train(texts, vocabulary=config.vocabulary), run.out)
    else:
        source = run.input("tokenizer")
        source.file("tokenizer.json")
        for path in source.files("*.json"):
            if path.parent == source.path and path.name.startswith(("tokenizer", "special_tokens_map", "added_tokens")):
                shutil.copyfile(path, run.out / path.name)
    return bpe.load(run.out)


def _rows(
    documents: Sequence[Document], tokenizer: Tokenizer, valid: set[str], sample: set[str]
) -> Iterator[shards.Row]:
    for start in range(0, len(documents), CHUNK):
        chunk = documents[start : start + CHUNK]
        for document, tokens in zip(chunk, bpe.encode_texts(tokenizer, [d.text for d in chunk]), strict=True):
            yield shards.Row(
                id=document.id,
                source=document.source,
                split="valid" if document.id in valid else "train",
                tokens=tokens,
                bytes=len(document.text.encode()),
                sampled=document.id in sample,
            )


def _tell(run: Run, rows: Sequence[shards.Row], tokenizer: Tokenizer) -> None:
    table: dict[str, dict[str, int]] = {}
    for row in rows:
        cell = table.setdefault(row.source, {"documents": 0, "bytes": 0, "train_tokens": 0, "valid_tokens": 0})
        cell["documents"] += 1
        cell["bytes"] += row.bytes
        cell[f"{row.split}_tokens"] += len(row.tokens) + 1
    tokens = sum(len(row.tokens) for row in rows)
    run.count(documents=len(rows), tokens=tokens)
    run.result(
        vocabulary=tokenizer.get_vocab_size(),
        bytes_per_token=sum(row.bytes for row in rows) / max(tokens, 1),
        sources=dict(sorted(table.items())),
    )
