"""Questions that a text answers by itself, so that instruction and preference rows can be made from any corpus.

Each kind is a function `(document) -> questions`; a document is asked by the first kind that finds something.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hornbook.text.document import Document, order_key

SHORTEST, LONGEST = 20, 400
"""Characters of an answer that is worth learning, and of one that is read to its end."""

_DEFINITION = re.compile(r"^([A-Za-z_][\w.]*)\((.*)\)(?: -> .*)?$")
_CLASS = re.compile(r"^class (\w+)\b")
_SECTION = re.compile(r"^(?:Functions|Data|Classes|Modules|Package Contents)$")
"""Headings of a module's page: what follows belongs to the module again, not to the class above."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")
_TITLE_PREFIX = re.compile(r"^(?:Pydoc: )?(?:built-in |package |module )*")


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its answer, and the document that both come from."""

    id: str
    kind: str
    question: str
    answer: str
    document: str


@dataclass(frozen=True, slots=True)
class MinimalPair:
    """A sentence and the same sentence with two neighbouring words exchanged (BLiMP's fields)."""

    id: str
    sentence_good: str
    sentence_bad: str
    document: str


def definitions(document: Document) -> Iterator[Question]:
    """`name(arguments)` on a line and prose below it: what does `name` do?"""
    module = _name(document)
    owner = ""
    lines = [line.strip() for line in document.text.split("\n")]
    for place, line in enumerate(lines):
        if found := _CLASS.match(line):
            owner = found[1] + "."
        elif _SECTION.match(line):
            owner = ""
        elif (found := _DEFINITION.match(line)) and (answer := _paragraph(lines, place + 1)):
            name = ".".join(part for part in (module, owner + found[1]) if part)
            yield _question("definition", f"What does {name} do?", answer, document)


def titles(document: Document) -> Iterator[Question]:
    """What is the document of that title about? Its first paragraph of prose."""
    name = _name(document)
    lines = [line.strip() for line in document.text.split("\n")]
    answer = next((p for place in range(len(lines)) if (p := _paragraph(lines, place))), "")
    if name and answer:
        yield _question("title", f"What is {name}?", answer, document)


def continuations(document: Document) -> Iterator[Question]:
    """How does a sentence go on? With the next one."""
    found = sentences(document.text)
    for first, second in list(zip(found[::2], found[1::2], strict=False))[:8]:
        yield _question("continuation", f"How does this go on? {first}", second, document)


KINDS: tuple[Callable[[Document], Iterator[Question]], ...] = (definitions, titles, continuations)


def ask(document: Document) -> list[Question]:
    """The document's questions, of the first kind that finds any, each question once."""
    for kind in KINDS:
        if found := {question.question: question for question in reversed(list(kind(document)))}:
            return list(reversed(found.values()))
    return []


def rejected_answers(questions: Sequence[Question], *, seed: int) -> list[str]:
    """For at most half of the questions, the answer to another one, of about the same length: length tells nothing.

    An empty string for the others: no answer is chosen in one pair and rejected in another, or what a model learned
    first of an answer would be wrong when it comes again.
    """
    first = {question.answer: place for place, question in reversed(list(enumerate(questions)))}
    order = sorted(
        first.values(),
        key=lambda i: (len(questions[i].answer) // 16, order_key(questions[i].id, seed=seed, purpose="rejected")),
    )
    rejected = [""] * len(questions)
    for asked, other in zip(order[::2], order[1::2], strict=False):
        rejected[asked] = questions[other].answer
    return rejected


def minimal_pairs(document: Document, *, seed: int, most: int = 8) -> list[MinimalPair]:
    """Sentences of the document, each beside itself with two neighbouring words exchanged."""
    pairs = []
    for sentence in sentences(document.text):
        identity = _identity(document.id, sentence)
        words = sentence.split(" ")
        places = [
            i
            for i in range(1, len(words) - 2)
            if words[i].isalpha() and words[i + 1].isalpha() and words[i].lower() != words[i + 1].lower()
        ]
        if places:
            i = places[order_key(identity, seed=seed, purpose="swap") % len(places)]
            swapped = [*words[:i], words[i + 1], words[i], *words[i + 2 :]]
            pairs.append(MinimalPair(identity, sentence, " ".join(swapped), document.id))
    return pairs[:most]


def sentences(text: str) -> list[str]:
    """Sentences of prose: paragraphs joined to one line, cut after . ! or ?, of at least five words."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text))
    cut = (sentence for paragraph in paragraphs for sentence in _SENTENCE.split(paragraph))
    return [s for s in cut if s[-1:] in ".!?" and 5 <= len(s.split(" ")) <= 60 and _is_prose(s)]


def _paragraph(lines: Sequence[str], start: int) -> str:
    """The paragraph that begins at a line, as one line; empty if it is no prose."""
    taken = []
    for line in lines[start:]:
        if not line or line.endswith(":") or _DEFINITION.match(line):
            break
        taken.append(line)
    text = " ".join(taken)
    if len(text) > LONGEST:
        cut = [text[: found.start()] for found in _SENTENCE.finditer(text) if found.start() <= LONGEST]
        text = cut[-1] if cut else ""
    return text if len(text) >= SHORTEST and text[0].isalpha() and text[-1] in ".!?" and _is_prose(text) else ""


def _is_prose(text: str) -> bool:
    """Mostly letters and spaces, in words of the length that words have."""
    letters = sum(c.isalpha() or c == " " for c in text)
    return letters >= 0.85 * len(text) and max(map(len, text.split())) <= 32


def _name(document: Document) -> str:
    return _TITLE_PREFIX.sub("", " ".join(document.metadata.get("title", "").split()))


def _question(kind: str, question: str, answer: str, document: Document) -> Question:
    return Question(_identity(document.id, question), kind, question, answer, document.id)


def _identity(document: str, text: str) -> str:
    return hashlib.blake2b(f"{document}\0{text}".encode(), digest_size=16).hexdigest()
