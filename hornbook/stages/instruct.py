"""Corpus -> rows: questions with answers, pairs of answers, pairs of sentences."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

from hornbook.config import Count, Takes
from hornbook.errors import EmptyInput, InputError
from hornbook.manifest import Input
from hornbook.run import Run
from hornbook.text import bpe, shards
from hornbook.text.document import Document, order_key, read_documents
from hornbook.text.questions import MinimalPair, Question, ask, minimal_pairs, rejected_answers

MAKES = "rows"


@dataclass(frozen=True)
class Instruct:
    """Make instruction rows, preference pairs and minimal pairs from a corpus.

    A question about a document is answered by the document; the rejected answer of a pair answers another question.
    Documents held out from pretraining give the held-out rows, but for those whose answer stands in a training row too.
    """

    corpus: Annotated[Path, Takes("corpus")]
    """Run of `curate`."""
    _: KW_ONLY
    tokens: Annotated[Path, Takes("tokens")]
    """Run of `tokenize`: which documents are held out."""
    sources: tuple[str, ...] = ()
    """Only documents of these sources (default: all)."""
    repeats: Count = 2
    """An answer given to more questions than this is boilerplate: its further rows are left out."""
    rows: Count = 20000
    """At most this many rows of each kind for training."""
    seed: int = 0
    """Chooses rejected answers and the words exchanged."""


def instruct(config: Instruct, run: Run) -> None:
    _check_tokens(run.input("tokens"), run.input("corpus"))
    documents = [d for d in _documents(config, run) if not config.sources or d.source in config.sources]
    valid = set(shards.read(run.input("tokens").file, "valid").ids)
    with run.progress("instruct", total=len(documents), unit="documents") as bar:
        found: list[Question] = []
        for document in documents:
            found += ask(document)
            bar.advance()
    clean = [q for q in found if not any(token in q.question + q.answer for token in bpe.SPECIAL)]
    questions = _without_boilerplate(clean, most=config.repeats)
    known = {q.answer for q in questions if q.document not in valid}
    fresh = [q for q in questions if q.document not in valid or q.answer not in known]
    run.count(documents=len(documents), questions=len(fresh), with_control_tokens=len(found) - len(clean))
    run.count(boilerplate=len(clean) - len(questions), held_out_but_known=len(questions) - len(fresh))
    examples: dict[str, Any] = {}
    for split in shards.SPLITS:
        asked = _some([q for q in fresh if (q.document in valid) == (split == "valid")], config)
        if not asked:
            raise EmptyInput(f"no question was found in the {split} documents of {run.input('corpus').name}")
        pairs = list(_pairs(asked, config))
        _write(run.out / f"sft.{split}.jsonl", map(_conversation, asked))
        _write(run.out / f"preference.{split}.jsonl", pairs)
        run.count(**{f"{split}_conversations": len(asked), f"{split}_preferences": len(pairs)})
        examples[split] = pairs[:5]
    sentence_pairs = [pair for d in documents if d.id in valid for pair in minimal_pairs(d, seed=config.seed)]
    _write(run.out / "minimal_pairs.jsonl", map(_sentences, sentence_pairs))
    run.count(minimal_pairs=len(sentence_pairs))
    run.result(rows_by_kind=dict(sorted(Counter(q.kind for q in fresh).items())), examples=examples)


def _check_tokens(tokens: Input, corpus: Input) -> None:
    """The held-out documents must be those of this corpus."""
    made_from = tokens.manifest.inputs["corpus"]["contents"] if tokens.manifest else corpus.contents
    if made_from != corpus.contents:
        raise InputError(f"{tokens.path} was not made from {corpus.path}", hint="give the tokens of the same corpus")


def _documents(config: Instruct, run: Run) -> Iterator[Document]:
    for path in run.input("corpus").files("documents*.parquet"):
        yield from read_documents(path)


def _without_boilerplate(questions: Iterable[Question], *, most: int) -> list[Question]:
    seen: Counter[str] = Counter()
    kept = []
    for question in questions:
        seen[question.answer] += 1
        if seen[question.answer] <= most:
            kept.append(question)
    return kept


def _some(questions: list[Question], config: Instruct) -> list[Question]:
    """At most `rows` questions, in the order of a keyed hash of their ids."""
    questions.sort(key=lambda q: order_key(q.id, seed=config.seed, purpose="rows"))
    return questions[: config.rows]


def _pairs(questions: Sequence[Question], config: Instruct) -> Iterator[dict[str, Any]]:
    for question, rejected in zip(questions, rejected_answers(questions, seed=config.seed), strict=True):
        if rejected:
            yield {
                "id": question.id,
                "prompt": question.question,
                "chosen": question.answer,
                "rejected": rejected,
                "document": question.document,
            }


def _conversation(question: Question) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": question.question},
        {"role": "assistant", "content": question.answer},
    ]
    return {"id": question.id, "messages": messages, "document": question.document, "kind": question.kind}


def _sentences(pair: MinimalPair) -> dict[str, Any]:
    return {
        "UID": "exchanged_neighbours",
        "id": pair.id,
        "sentence_good": pair.sentence_good,
        "sentence_bad": pair.sentence_bad,
        "document": pair.document,
    }


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
