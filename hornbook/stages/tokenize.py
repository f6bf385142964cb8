"""Corpus -> tokens: a tokenizer, and the corpus as token shards with an index of documents."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from tokenizers import Tokenizer

from hornbook.config import Bounds, Count, Positive, Takes, Unhashed
from hornbook.errors import EmptyInput, UsageError
from hornbook.manifest import Input
from hornbook.run import Run
from hornbook.text import bpe, shards
from hornbook.text.encode import Choice, Encoding, Sampling, held_out_texts, read_texts, write_sample
from hornbook.text.engine import Local, Workplace
from hornbook.text.extension import extended, fertility
from hornbook.text.parts import Part, cut

MAKES = "tokens"
TOKENIZER = "tokenizer"
FERTILITY = 1_000_000
"""Characters of held-out text that fertility is measured on."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


@dataclass(frozen=True)
class Tokenize:
    """Train or take a tokenizer and write the corpus as token shards.

    The tokenizer is byte-level BPE, learned from documents that are not held out. Which documents are held out, and
    which the tokenizer learns from, depends on each document's id alone. Memory does not grow with the corpus, and a
    killed run goes on with the parts that are not done.
    """

    corpus: Annotated[Path, Takes("corpus")]
    """Run of `curate`."""
    _: KW_ONLY
    vocabulary: Count = 16384
    """Number of token types to learn."""
    tokenizer: Annotated[Path | None, Takes("")] = None
    """Run or folder with a `tokenizer.json` to use instead of learning one."""
    extend: Count | None = None
    """Pieces to learn from the corpus and add to that tokenizer, as for a language that it cuts into small ones."""
    held_out: Annotated[float, Bounds(least=0, below=1)] = 0.02
    """Fraction of documents kept for validation."""
    sample_megabytes: Positive = 100.0
    """Text that the tokenizer learns from, at most."""
    seed: int = 0
    """Chooses held-out documents and the tokenizer's sample."""
    workers: Annotated[Count | None, Unhashed()] = None
    """Processes; the result is the same for any number. By default, one a core."""

    def __post_init__(self) -> None:
        if self.extend is not None and self.tokenizer is None:
            raise UsageError("extend needs a tokenizer to add pieces to", hint='tokenizer = "path/to/a/model"')


def tokenize(config: Tokenize, run: Run) -> None:
    parts = cut(run.input("corpus").files("documents*.parquet"))
    if not parts:
        raise EmptyInput(f"{run.input('corpus').path} holds no documents")
    if config.tokenizer is None:
        bpe.check_room(config.vocabulary)
    workers = config.workers or max(1, min(os.cpu_count() or 1, len(parts)))
    place = Workplace(Local(workers), run.scratch / "work")
    place.folder.mkdir(exist_ok=True)
    choice = _choice(config, run, place, parts)
    tokenizer = _tokenizer(config, run, place, parts, choice)
    encoding = Encoding(
        tokenizer=place.folder / TOKENIZER,
        separator=bpe.separator_id(tokenizer, run.out),
        vocabulary=tokenizer.get_vocab_size(),
        choice=choice,
        out=place.folder / "tokens",
    )
    told = list(_phase(run, place, "encode", encoding.write, parts))
    with run.progress("tokenize write", total=len(parts), unit="parts") as bar:
        rows = _gathered(encoding, parts, bar.advance)
        shards.write(run.out, rows, separator=encoding.separator, vocabulary=encoding.vocabulary)
    _tell(run, told, tokenizer)
    if config.extend:
        before = bpe.load(run.input("tokenizer").path)
        run.result(fertility=_fertility(held_out_texts(parts, choice, most=FERTILITY), before, tokenizer))


def _phase(run: Run, place: Workplace, name: str, work: Any, parts: Sequence[Part]) -> Iterator[Any]:
    sizes = iter([part.bytes / 1e6 for part in parts])
    with run.progress(f"tokenize {name}", total=sum(part.bytes for part in parts) / 1e6, unit="MB") as bar:
        yield from place.phase(name, work, parts, lambda: bar.advance(next(sizes)))


def _choice(config: Tokenize, run: Run, place: Workplace, parts: Sequence[Part]) -> Choice:
    """What is held out, and the documents that the tokenizer learns from: the first, up to the size asked for."""
    choice = Choice(config.seed, config.held_out)
    if config.tokenizer and not config.extend:
        return choice
    sampling = Sampling(config.sample_megabytes * 1e6)
    for found in _phase(run, place, "sample", partial(choice.first, size=sampling.size), parts):
        sampling.take(found)
    return replace(choice, last=sampling.last)


def _tokenizer(config: Tokenize, run: Run, place: Workplace, parts: Sequence[Part], choice: Choice) -> Tokenizer:
    """The tokenizer that was given, or one learned from the sample; a copy goes among the products."""
    folder = place.folder / TOKENIZER
    if not folder.exists():
        with run.atomic(folder) as temporary:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            if config.tokenizer is None:
                bpe.save(_learned(config, run, place, parts, choice), temporary)
            else:
                run.input("tokenizer").file("tokenizer.json")
                _copy(run.input("tokenizer"), temporary)
                if config.extend:
                    texts = _sample(run, place, parts, choice)
                    run.say(f"learning {config.extend:,} more tokens")
                    larger = extended(bpe.load(temporary), texts, pieces=config.extend)
                    larger.save(str(temporary / "tokenizer.json"))
    for path in sorted(folder.iterdir()):
        shutil.copyfile(path, run.out / path.name)
    return bpe.load(run.out)


def _learned(config: Tokenize, run: Run, place: Workplace, parts: Sequence[Part], choice: Choice) -> Tokenizer:
    texts = _sample(run, place, parts, choice)
    run.say(f"learning {config.vocabulary:,} tokens from at most {config.sample_megabytes:g} MB of text")
    return bpe.train(texts, vocabulary=config.vocabulary)


def _sample(run: Run, place: Workplace, parts: Sequence[Part], choice: Choice) -> Iterator[str]:
    folder = place.folder / "texts"
    names = list(_phase(run, place, "read", partial(write_sample, choice=choice, folder=folder), parts))
    return read_texts(folder / name for name in names)


def _copy(source: Input, folder: Path) -> None:
    """The tokenizer's files at the top of a model's folder."""
    for path in source.files():
        if path.parent == source.path and path.name in TOKENIZER_FILES:
            shutil.copyfile(path, folder / path.name)


def _fertility(texts: Mapping[str, Sequence[str]], before: Tokenizer, after: Tokenizer) -> dict[str, Any]:
    """Tokens per word of held-out text of each source, with the tokenizer that was given and with the new one."""
    columns = {"before": before, "after": after}
    return {
        source: {name: fertility(tokenizer, of) for name, tokenizer in columns.items()} for source, of in texts.items()
    }


def _gathered(encoding: Encoding, parts: Sequence[Part], advance: Any) -> Iterator[shards.Row]:
    for part in parts:
        yield from shards.rows(encoding.folder(part.number))
        advance()


def _tell(run: Run, told: Sequence[dict[str, dict[str, int]]], tokenizer: Tokenizer) -> None:
    table: dict[str, dict[str, int]] = {}
    for part in told:
        for source, cell in part.items():
            into = table.setdefault(source, dict.fromkeys(cell, 0))
            for key, value in cell.items():
                into[key] += value
    total = {key: sum(cell[key] for cell in table.values()) for key in next(iter(table.values()))}
    # A separator stands before every document, and is no token of its text.
    tokens = total["train_tokens"] + total["valid_tokens"] - total["documents"]
    run.count(documents=total["documents"], tokens=tokens)
    run.result(
        vocabulary=tokenizer.get_vocab_size(),
        bytes_per_token=total["bytes"] / max(tokens, 1),
        sources=dict(sorted(table.items())),
    )
