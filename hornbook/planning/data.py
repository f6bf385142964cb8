"""What there is to learn from: how much, in which language, how often the same, and how far from what a base knows."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tokenizers import Tokenizer

from hornbook.errors import EmptyInput, InputError
from hornbook.judge.score import bits_per_byte
from hornbook.learn.chat import encode_conversation
from hornbook.learn.examples import Example
from hornbook.learn.faults import BadRow, Fault
from hornbook.learn.records import Record, read_records
from hornbook.learn.rows import Conversation, conversation
from hornbook.model.transformer import Transformer
from hornbook.text import bpe
from hornbook.text.archives.warc import Page
from hornbook.text.contamination import Index, overlaps, read_texts
from hornbook.text.document import Document, Malformed, order_key
from hornbook.text.duplicates.exact import fingerprint
from hornbook.text.duplicates.minhash import band_keys, signatures
from hornbook.text.files import find_files, kind_of
from hornbook.text.language import CUTOFF, UNKNOWN, identify
from hornbook.text.pages.extract import page_document
from hornbook.text.read import read_file

Kind = Literal["documents", "conversations"]
SAMPLE = 4_000_000
"""Bytes of text that languages, tokens and near duplicates are counted on; all of it is read for the rest."""
SCORED = 60_000
"""Bytes that a base predicts, of the data and of general text."""
EXAMPLES = 256
"""Conversations that are encoded as they will be learned, at most."""
UNCUT = 2**31
"""Tokens of each, at most."""
BANDS, ROWS_A_BAND = 14, 8
"""Of signatures: texts that share 3 of 4 runs of words are found 4 times in 5 (arXiv 2406.17557 has the same)."""
ROWS = (".jsonl", ".ndjson", ".json", ".parquet")
"""Files of rows, each a conversation or a document."""
GENERAL = Path(__file__).with_name("general.txt")
"""Plain English that a base is sure to find ordinary, where no other general text is given."""


Row = tuple[str, Conversation | None]
"""A text, and the conversation whose it is."""
Encode = Callable[[Conversation], Example | BadRow]


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a survey found."""

    kind: Kind
    files: int
    documents: int
    """Or conversations."""
    bytes: int
    """Of their text in UTF-8."""
    bytes_per_token: float
    general_bytes_per_token: float
    """The same tokenizer, on general text."""
    longest: int
    """Tokens of the longest of those that were sampled."""
    languages: Mapping[str, float]
    """Share of the text, by ISO 639-1."""
    exact_duplicates: float
    """Share of the documents whose text was there before."""
    near_duplicates: float
    """The same, of texts that are nearly so, in the sample."""
    words: int
    """Different words that make up 95 in 100 of the sample's: how narrow it is."""
    malformed: int
    examples: tuple[Example, ...] = ()
    """Some of the conversations as they will be learned, none of them cut."""
    leaks: Mapping[str, int] = field(default_factory=dict)
    """Documents that share a run of 13 words with an evaluation set, by its name."""
    bits_per_byte: float | None = None
    """That the base needs for it; None without weights."""
    general_bits_per_byte: float | None = None

    @property
    def tokens(self) -> int:
        """Of conversations with what the chat template puts around them."""
        if self.examples:
            return round(self.documents * sum(len(one.tokens) - 1 for one in self.examples) / len(self.examples))
        return round(self.bytes / self.bytes_per_token)

    @property
    def learned(self) -> float:
        """Share of the tokens that are: of conversations the answers."""
        size = sum(len(one.tokens) - 1 for one in self.examples)
        return sum(int(one.answer.sum()) for one in self.examples) / size if size else 1.0

    @property
    def language(self) -> str:
        return max(self.languages, key=lambda name: self.languages[name]) if self.languages else UNKNOWN

    @property
    def fertility(self) -> float:
        """Tokens for a byte of it, over those for a byte of general text."""
        return self.general_bytes_per_token / self.bytes_per_token


def survey(
    source: Path,
    *,
    tokenizer: Tokenizer | None,
    general: str,
    against: Mapping[str, Path] | None = None,
    score: Callable[[Sequence[str]], float] | None = None,
    encode: Encode | None = None,
) -> Data:
    """Read it once.

    tokenizer: of the base; without one, tokens are those of a small one, learned from the sample.
    score: bits per byte of some texts.
    encode: a conversation as the base will learn it; without it, by our own template.

    Raises:
        UsageError: there is nothing.
        InputError: nothing of it can be read.
        EmptyInput: it holds no text.
    """
    found = _Reading({name: Index.build({name: read_texts(path)}) for name, path in (against or {}).items()})
    for row in found.rows(source):
        found.take(row)
    if not found.size:
        raise EmptyInput(f"{source} holds no text to learn from", hint="a folder of .txt, .md, .jsonl, .parquet, ...")
    sample = sorted(found.sample, key=lambda one: one[0], reverse=True)
    texts = [text for _, _, (text, _) in sample]
    tokenizer = tokenizer or bpe.train(texts, vocabulary=_vocabulary(found.size))
    ids = bpe.encode_texts(tokenizer, texts)
    plain = bpe.encode_texts(tokenizer, [general])[0]
    kind: Kind = "conversations" if 2 * found.conversations > found.documents else "documents"
    return Data(
        kind=kind,
        files=found.files,
        documents=found.documents,
        bytes=found.size,
        bytes_per_token=_size(texts) / max(1, sum(map(len, ids))),
        general_bytes_per_token=_size([general]) / max(1, len(plain)),
        longest=max(map(len, ids)),
        languages=_languages(texts),
        exact_duplicates=1 - len(found.seen) / found.documents,
        near_duplicates=_near(texts),
        words=_words(texts),
        malformed=found.malformed,
        examples=_examples([said for _, _, (_, said) in sample], tokenizer, encode) if kind == "conversations" else (),
        leaks=dict(found.leaks),
        bits_per_byte=score(_first(texts, SCORED)) if score else None,
        general_bits_per_byte=score([general]) if score else None,
    )


class _Reading:
    """Counts of all texts, and a sample of them: those with the least keyed hashes, up to SAMPLE bytes."""

    def __init__(self, indexes: Mapping[str, Index]) -> None:
        self.files = self.documents = self.conversations = self.size = self.malformed = 0
        self.seen: set[bytes] = set()
        self.leaks: Counter[str] = Counter()
        self.sample: list[tuple[int, int, Row]] = []
        self._indexes, self._sampled = indexes, 0

    def rows(self, source: Path) -> Iterator[Row]:
        # A corpus holds what was removed from it, too.
        kept = source / "documents*.parquet"
        for name, path in find_files(str(kept if any(source.glob(kept.name)) else source)):
            self.files += 1
            for thing in _rows(path, name):
                if isinstance(thing, Malformed):
                    self.malformed += 1
                else:
                    yield thing

    def take(self, row: Row) -> None:
        text, said = row
        size = len(text.encode("utf-8", "replace"))
        if not size:
            return
        self.documents += 1
        self.conversations += said is not None
        self.size += size
        self.seen.add(fingerprint(text))
        self.leaks.update(name for name, index in self._indexes.items() if overlaps(text, index))
        # The largest key is the first to go.
        heapq.heappush(self.sample, (-order_key(f"{self.documents}", seed=0), self.documents, row))
        self._sampled += size
        while self._sampled > SAMPLE and len(self.sample) > 1:
            self._sampled -= _size([heapq.heappop(self.sample)[2][0]])


def _rows(path: Path, name: str) -> Iterator[Row | Malformed]:
    """Each document or conversation of a file."""
    if kind_of(path) in ROWS:
        number = 0
        try:
            for number, record in read_records(path):
                where = f"{path.name} row {number}"
                yield _row(record, where) or Malformed(name, number, "neither text nor conversation")
        except InputError as error:
            yield Malformed(name, number + 1, error.message)
        return
    for thing in read_file(path, name=name):
        if isinstance(thing, Malformed):
            yield thing
        elif text := _text(thing):
            yield text, None


def _row(record: Record | Fault, where: str) -> Row | None:
    if isinstance(record, Fault):
        return None
    try:
        said = conversation(record, id=where, where=where)
    except Fault:
        text = record.get("text")
        return (text, None) if isinstance(text, str) else None
    return "\n".join(message["content"] for message in said.messages), said


def _examples(
    sample: Sequence[Conversation | None], tokenizer: Tokenizer, encode: Encode | None
) -> tuple[Example, ...]:
    """The first of a sample."""
    encode = encode or partial(encode_conversation, tokenizer=tokenizer, length=UNCUT)
    encoded = (encode(said) for said in sample[:EXAMPLES] if said is not None)
    return tuple(one for one in encoded if not isinstance(one, BadRow))


def _text(thing: Page | Document) -> str:
    if isinstance(thing, Document):
        return thing.text
    document, reason = page_document(thing, source="", main_content=True, skip=(), honour=False)
    return "" if reason else document.text


def _size(texts: Iterable[str]) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in texts)


def _first(texts: Sequence[str], size: int) -> list[str]:
    """Texts of so many bytes in all, the last one cut."""
    chosen, left = [], size
    for text in texts:
        if left <= 0:
            break
        chosen.append(text[:left])
        left -= len(text)
    return chosen


def _languages(texts: Sequence[str]) -> dict[str, float]:
    sizes: Counter[str] = Counter()
    for text in texts:
        found, rank = identify(text[:5000])
        sizes[found if rank <= CUTOFF else UNKNOWN] += len(text)
    return {name: size / sizes.total() for name, size in sizes.most_common()}


def _near(texts: Sequence[str]) -> float:
    keys = band_keys(signatures(texts, permutations=BANDS * ROWS_A_BAND), bands=BANDS, rows=ROWS_A_BAND)
    repeated = np.zeros(len(texts), bool)
    for band in keys.T:
        _, first = np.unique(band, return_index=True)
        again = np.ones(len(texts), bool)
        again[first] = False
        repeated |= again & (band != 0)
    return float(repeated.mean())


def _words(texts: Sequence[str]) -> int:
    counts = Counter(word for text in texts for word in text.lower().split())
    left = 0.95 * counts.total()
    for number, (_, count) in enumerate(counts.most_common(), 1):
        left -= count
        if left <= 0:
            return number
    return len(counts)


def _vocabulary(size: int) -> int:
    """Of a new tokenizer for so much text: a power of two that grows with the root of it."""
    return int(2 ** min(15, max(9, round(math.log2(math.sqrt(size) * 2)))))


def scorer(model: Transformer, tokenizer: Tokenizer, *, separator: int) -> Callable[[Sequence[str]], float]:
    """Bits per byte of texts by a model."""
    context = min(512, model.architecture.max_position_embeddings)

    def score(texts: Sequence[str]) -> float:
        ids = bpe.encode_texts(tokenizer, texts)
        documents = [(tokens, _size([text])) for tokens, text in zip(ids, texts, strict=True)]
        with torch.no_grad():
            return bits_per_byte(model, documents, separator=separator, context=context).bits_per_byte

    return score
