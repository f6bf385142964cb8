"""Conversations as tokens: which a model is trained on, which it only reads, and which are cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

from rich.text import Text
from tokenizers import Tokenizer

from hornbook.learn.chat import encode, encode_conversation
from hornbook.learn.faults import BadRow
from hornbook.learn.rows import Conversation, read_conversations
from hornbook.manifest import Input
from hornbook.progress import progress
from hornbook.report.terminal import console, print_line
from hornbook.report.wording import visible
from hornbook.training.opening import Words, open_words

Kind = Literal["", "trained", "cut"]
STYLES: dict[Kind, str] = {"": "", "trained": "black on green", "cut": "dim strike"}
BRACKETS: dict[Kind, str] = {"": "", "trained": "⟦⟧", "cut": "⟨⟩"}
"""What stands around such tokens where there are no colours."""
LONGEST_PIECE = 8
"""Tokens that may be needed for a character."""


@dataclass(frozen=True, slots=True)
class Piece:
    """As few tokens as make whole characters."""

    text: str
    ids: tuple[int, ...]
    kind: Kind


@dataclass(frozen=True, slots=True)
class Sample:
    where: str
    pieces: list[Piece]

    def count(self, kind: Kind) -> int:
        return sum(len(piece.ids) for piece in self.pieces if piece.kind == kind)

    @property
    def told(self) -> str:
        read, cut = self.count("") + self.count("trained"), self.count("cut")
        return f"{self.count('trained'):,} of {read:,} tokens trained on" + (f", {cut:,} cut off" if cut else "")


@dataclass(slots=True)
class Shown:
    """What there is to say of a file of conversations, and some of them."""

    name: str
    length: int
    samples: list[Sample] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    conversations: int = 0
    tokens: int = 0
    trained: int = 0
    rows_cut: int = 0
    tokens_cut: int = 0

    @property
    def told(self) -> str:
        lines = f"{self.conversations:,} conversations: {self.trained:,} of {self.tokens:,} tokens trained on"
        if self.rows_cut:
            lines += f"; {self.rows_cut:,} cut at length {self.length}, by {self.tokens_cut:,} tokens in all"
        return lines + (f"; {len(self.bad):,} rows that cannot be learned from" if self.bad else "")


def read_shown(path: Path, model: Input, *, length: int, first: int, samples: int) -> Shown:
    """All conversations counted, and `samples` of them, from the `first` on, as tokens.

    What is trained on is what `sft` trains on: the same rows are bad, and the same tokens are cut.
    """
    words = open_words(model.folder())
    shown = Shown(path.name, length)
    with progress("inspect", total=None, unit="rows") as bar:
        for row in read_conversations(path, control=words.control):
            bar.advance()
            if isinstance(row, BadRow):
                shown.bad.append(row)
            else:
                _count(shown, row, words, wanted=first <= shown.conversations < first + samples)
    return shown


def _count(shown: Shown, row: Conversation, words: Words, *, wanted: bool) -> None:
    example = encode_conversation(
        row, words.tokenizer, length=shown.length, template=words.template, special=words.special
    )
    if isinstance(example, BadRow):
        shown.bad.append(example)
        return
    shown.conversations += 1
    shown.tokens += len(example.tokens)
    shown.trained += int(example.answer.sum())
    shown.rows_cut += example.cut > 0
    shown.tokens_cut += example.cut
    if wanted:
        ids, _ = encode(row.messages, words.tokenizer, template=words.template, special=words.special)
        kept: list[Kind] = ["trained" if said else "" for said in example.answer]
        kinds = kept + ["cut"] * example.cut
        shown.samples.append(Sample(row.where, pieces(words.tokenizer, ids, kinds)))


def pieces(tokenizer: Tokenizer, ids: Sequence[int], kinds: Sequence[Kind]) -> list[Piece]:
    """The text of tokens, of as few at a time as make whole characters and are of one kind.

    A piece is what the text has more with it than without: some decoders drop the space before the first token.
    """
    made: list[Piece] = []
    start = 0
    for end in range(1, len(ids) + 1):
        before = ids[max(0, start - LONGEST_PIECE) : start]
        known = tokenizer.decode(list(before), skip_special_tokens=False)
        text = tokenizer.decode([*before, *ids[start:end]], skip_special_tokens=False)
        whole = not text.endswith("\ufffd") or end - start >= LONGEST_PIECE
        if whole or end == len(ids) or kinds[end] != kinds[start]:
            made.append(Piece(text[len(known) :], tuple(ids[start:end]), kinds[start]))
            start = end
    return made


def print_shown(shown: Shown, *, first: int) -> None:
    """On stdout, in colours where there are some."""
    print_line(f"{shown.name}: {shown.told}")
    for number, sample in enumerate(shown.samples, first + 1):
        print_line(f"\n{number:>3}  {sample.where}: {sample.told}\n")
        console().print(_coloured(sample.pieces, plain=console().color_system is None), soft_wrap=True)
    if shown.bad:
        print_line(f"\nThe first row that cannot be learned from: {shown.bad[0]}")


def _coloured(made: Sequence[Piece], *, plain: bool) -> Text:
    text = Text()
    for kind, group in groupby(made, key=lambda piece: piece.kind):
        said = visible("".join(piece.text for piece in group))
        opening, closing = BRACKETS[kind][:1], BRACKETS[kind][1:]
        text.append(f"{opening}{said}{closing}") if plain else text.append(said, STYLES[kind])
    return text
