"""What the ways remove from a corpus on disk, held against plain statements of the same in memory."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hornbook.errors import UsageError
from hornbook.text.buckets import Entry, PartWriter
from hornbook.text.document import Document, order_key
from hornbook.text.duplicates import minhash
from hornbook.text.duplicates.passes import Corpus, deduplicate
from hornbook.text.duplicates.ways import WAYS, Id, Line, Minhash, Paragraph, Substring, Text, Url, Way
from hornbook.text.engine import Local, Workplace

WORDS = ("river", "mill", "stone", "bread", "winter", "lantern", "orchard", "saddle", "copper", "willow", "harbour")


def documents(number: int, seed: int = 0) -> list[Document]:
    """Documents of which many share ids, URLs, lines, or nearly all of their words."""
    draw = random.Random(seed)
    lines = [" ".join(draw.choices(WORDS, k=9)) for _ in range(12)]
    made = list[Document]()
    for at in range(number):
        if made and draw.random() < 0.3:
            text = made[draw.randrange(len(made))].text
            text = text if draw.random() < 0.5 else f"{text} {draw.choice(WORDS)}"
        else:
            parts = [" ".join(draw.choices(WORDS, k=12)) for _ in range(6)] + draw.sample(lines, 2)
            text = "\n".join(draw.sample(parts, len(parts)))
        id = f"d{at}" if draw.random() < 0.95 else "d0"
        made.append(Document(id, text, "s", f"https://x.org/{draw.randrange(2 * number)}"))
    return made


@contextmanager
def silent(what: str, tasks: int) -> Iterator[Any]:
    assert what
    yield lambda: None


def through(
    folder: Path, given: Sequence[Document], ways: Sequence[Way], *, buckets: int = 3, files: int = 2
) -> tuple[dict[str, str], dict[str, str]]:
    """What is left (id to text) and what is removed (id to reason, survivors by id), read from `files` pieces."""
    for piece in range(files):
        writer = PartWriter(folder / "judged-kept", f"{piece:05}", buckets=buckets, seed=0)
        for document in given[piece * len(given) // files : (piece + 1) * len(given) // files]:
            writer.add(Entry(document, "rows", ""))
        writer.flush()
    corpus = Corpus(folder, buckets, tuple(ways))
    for number in range(buckets):
        corpus.gather(number)
    deduplicate(corpus, Workplace(Local(), folder), silent)
    kept, removed, names = {}, {}, {}
    for number in range(buckets):
        bucket = corpus.bucket(number)
        names |= {(number << 32) + place: bucket.id(place) for place in range(len(bucket.texts))}
        kept |= {bucket.id(place): bucket.texts[place] for place in bucket.left()}
        removed |= {(number << 32) + place: removal for place, removal in bucket.removed.items()}
    told = {
        names[at]: removal.reason if removal.first is None else f"{removal.reason} {names[removal.first]}"
        for at, removal in removed.items()
    }
    return kept, told


def in_order(given: Sequence[Document]) -> list[Document]:
    return sorted(given, key=lambda document: (order_key(document.id, seed=0), document.id))


@pytest.mark.parametrize(("way", "key"), [(Id(), "id"), (Url(), "url"), (Text(), "text")])
def test_the_first_in_the_order_of_the_corpus_stays(way: Way, key: str, tmp_path: Path) -> None:
    given = documents(200)
    if key != "id":
        given = [Document(f"d{at}", d.text, "s", d.url) for at, d in enumerate(given)]
    first = {getattr(document, key): document.id for document in reversed(in_order(given))}
    wanted = set(first.values())
    kept, removed = through(tmp_path, given, [way])
    assert set(kept) == wanted
    assert removed
    assert all(reason.startswith(f"{way.rule}: ") and reason.split()[-1] in wanted for reason in removed.values())


def test_lines_are_dropped_as_one_would_who_reads_the_corpus_in_order(tmp_path: Path) -> None:
    given = [Document(f"d{at}", d.text, "s") for at, d in enumerate(documents(100))]
    seen: Counter[str] = Counter()

    def fresh(line: str) -> bool:
        seen[line] += 1
        return seen[line] <= 2

    wanted = {d.id: "\n".join(line for line in d.text.split("\n") if fresh(line)) for d in in_order(given)}
    kept, removed = through(tmp_path, given, [Line(times=2, min_left=0.3)])
    assert removed
    assert all(reason.endswith("characters are new, less than 30%") for reason in removed.values())
    assert kept == {id: wanted[id] for id in kept}
    assert all(len(wanted[document.id]) < 0.3 * len(document.text) for document in given if document.id in removed)


def test_near_duplicates_are_those_of_the_method_in_memory(tmp_path: Path) -> None:
    given = [Document(f"d{at}", d.text, "s") for at, d in enumerate(documents(150, seed=1))]
    ordered = in_order(given)
    for threshold in (0.0, 0.8):
        survivors = minhash.clusters([document.text for document in ordered], threshold=threshold)
        wanted = {ordered[at].id: ordered[first].id for at, first in enumerate(survivors)}
        kept, removed = through(tmp_path / str(threshold), given, [Minhash(threshold=threshold)])
        assert set(kept) == set(wanted.values())
        assert {id: reason.split()[-1] for id, reason in removed.items()} == {
            id: first for id, first in wanted.items() if id != first
        }
        assert len(removed) > 20


def test_long_substrings_are_cut_where_they_come_again(tmp_path: Path) -> None:
    draw = random.Random(3)

    def fresh(number: int) -> str:
        return " ".join(f"{draw.choice(WORDS)}{draw.randrange(999)}" for _ in range(number))

    passage = fresh(60)
    given = [Document(f"d{at}", f"{fresh(80)} {passage} {fresh(80)}", "s") for at in range(6)]
    kept, removed = through(tmp_path, given, [Substring(words=20)])
    assert not removed
    whole = [id for id, text in kept.items() if passage in text]
    assert whole == [in_order(given)[0].id]
    assert all(len(text.split()) < 200 for id, text in kept.items() if id not in whole)


@pytest.mark.parametrize("ways", [(Id(), Url(), Text(), Line(), Minhash()), (Id(), Minhash(), Paragraph(), Text())])
def test_neither_buckets_nor_pieces_make_a_difference(ways: tuple[Way, ...], tmp_path: Path) -> None:
    given = documents(120, seed=2)
    made = [
        through(tmp_path / f"{buckets}-{files}", given, ways, buckets=buckets, files=files)
        for buckets, files in ((1, 1), (3, 2), (7, 5))
    ]
    assert made[0] == made[1] == made[2]
    assert made[0][1]


def test_a_corpus_without_documents(tmp_path: Path) -> None:
    ways = [Id(), *(kind() for kind in WAYS.values())]
    assert through(tmp_path, [], ways) == ({}, {})


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Line, {"times": 0}, "times is 0; it must be at least 1"),
        (Minhash, {"threshold": 1.5}, "dedup.minhash.threshold is 1.5; it must be at least 0 and at most 1"),
        (Minhash, {"bands": 0}, "bands is 0; it must be at least 1"),
        (Substring, {"words": 1}, "words is 1; it must be at least 5"),
    ],
)
def test_an_option_out_of_its_bounds_is_named(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kind(**options)
