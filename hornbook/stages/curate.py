"""curate: from raw input to a corpus. Every document is kept, or removed with its reason."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import orjson
import pyarrow as pa
from resiliparse.parse.lang import detect_fast

from hornbook.config import Count, NotNegative, Positive, Probability, Takes, Unhashed, check_numbers
from hornbook.errors import Damaged, EmptyInput, InputError, UsageError
from hornbook.run import Run
from hornbook.text import exact, minhash, mixture
from hornbook.text.card import Removed, card
from hornbook.text.document import (
    Document,
    Malformed,
    hash_documents,
    hash_file,
    kind_of,
    order_key,
    write_documents,
    write_rows,
)
from hornbook.text.extract import page_document, read_file, source_of
from hornbook.text.privacy import KINDS, check_kinds, mask
from hornbook.text.quality import Filter, checked, chosen
from hornbook.text.safety import blocklist, read_phrases
from hornbook.text.warc import Page

MAKES = "corpus"
BATCH = 16
"""Pages that a worker process gets at a time."""

A_WORKER = 16_000_000
"""Bytes of input that make one more process worth its start."""

TYPES = {
    ".warc": "web pages",
    ".wet": "web pages",
    ".parquet": "Parquet rows",
    ".txt": "text files",
    ".md": "text files",
}
REMOVED = pa.schema([(name, pa.string()) for name in ("id", "url", "source", "rule", "reason", "text")])
CLUSTERS = pa.schema([(name, pa.string()) for name in ("id", "survivor")])

GOPHER: dict[str, dict[str, Any]] = {
    "gopher_length": {},
    "gopher_word_length": {},
    "gopher_symbols": {},
    "gopher_bullets": {},
    "gopher_ellipses": {},
    "gopher_alphabetic": {},
    "gopher_stop_words": {},
    "gopher_repeated_lines": {},
    "gopher_repeated_paragraphs": {},
    "gopher_top_ngrams": {},
    "gopher_repeated_ngrams": {},
    "c4_lorem_ipsum": {},
}


@dataclass(frozen=True)
class Curate:
    """Turn what was gathered into a clean corpus, and keep every removed page with its reason."""

    crawl: Annotated[Path, Takes("crawl")]
    """Run of `crawl`."""
    _: KW_ONLY
    sources: dict[str, str] = field(default_factory=dict)
    """Names of sources, each with a glob of URLs or files; the first match counts. Else: the host, or the file."""
    main_content: bool = True
    """Leave out navigation, footers and the like."""
    skip: tuple[str, ...] = ()
    """CSS selectors of elements to leave out."""
    opt_out: bool = True
    """Leave out pages that ask not to be learned from (noai, noml, TDM reservation)."""
    mask: tuple[str, ...] = tuple(KINDS)
    """Kinds of personal data to mask: email, iban, credit_card, ipv4, phone."""
    filters: dict[str, dict[str, Any]] = field(default_factory=lambda: dict(GOPHER))
    """Quality rules in the order in which they are applied, each with its options."""
    blocklist: Path | None = None
    """File with words and phrases, one a line, that a document may not hold."""
    dedup: dict[str, dict[str, Any]] = field(default_factory=lambda: {"url": {}, "text": {}, "line": {}, "minhash": {}})
    """Ways of removing duplicates, in the order in which they are applied, each with its options."""
    mixture: dict[str, NotNegative] = field(default_factory=dict)
    """Weight of each source by size; without any, all is kept."""
    page_megabytes: Positive = 10.0
    """Size of one page, at most."""
    seed: int = 0
    """Chooses the documents' order."""
    workers: Annotated[Count | None, Unhashed()] = None
    """Processes; the result is the same for any number. By default, as many as the input is worth."""

    def __post_init__(self) -> None:
        check_kinds(self.mask)
        chosen(self.filters)
        _dedup(self.dedup)


@dataclass(frozen=True)
class Rules:
    """What is done to one page by itself, so that it can be sent to another process."""

    sources: Mapping[str, str]
    main_content: bool
    skip: tuple[str, ...]
    opt_out: bool
    mask: tuple[str, ...]
    filters: str
    phrases: tuple[str, ...]


def curate(config: Curate, run: Run) -> None:
    """Write `documents.parquet`, and beside it what was removed or malformed, the clusters and the card."""
    rules, dedup = _rules(config, run), _dedup(config.dedup)
    files = _files(run)
    kept, removed, malformed, types = _read(config, rules, run, files)
    kept.sort(key=lambda document: (order_key(document.id, seed=config.seed), document.id))
    deduplication = Deduplication(partial(_watched, run))
    for step in (
        partial(_sift, exact.same_id()),
        *(partial(way, deduplication) for way in dedup),
        partial(_mix, config),
    ):
        kept, gone = step(kept)
        removed += gone
    _write(run, kept, removed, malformed, deduplication)
    run.contents(hash_documents(kept))
    if not kept:
        names = ", ".join(name for name, _ in files[:3]) + (", ..." if len(files) > 3 else "")
        raise EmptyInput(f"nothing is left of {run.input('crawl').name} ({names})", hint=_blame(removed, malformed))
    order = [*config.filters, "blocklist", "duplicate_id", *(RULES[name] for name in config.dedup), "mixture"]
    made = card(kept, removed, order=order, types=types, dropped=deduplication.dropped)
    _tell(run, made, removed, malformed)


def _rules(config: Curate, run: Run) -> Rules:
    phrases = read_phrases(config.blocklist) if config.blocklist else ()
    return Rules(
        config.sources,
        config.main_content,
        config.skip,
        config.opt_out,
        config.mask,
        json.dumps(config.filters),
        phrases,
    )


# -- one page by itself ---------------------------------------------------------------------------------------------

Named = tuple[str, Page | Document | Malformed]
Judged = tuple[Document, str | None] | Malformed


def judge(rules: Rules, batch: list[Named]) -> list[Judged]:
    """Extract, mask and filter pages; the first rule that objects gives the reason."""
    return [thing if isinstance(thing, Malformed) else _judge(rules, name, thing) for name, thing in batch]


def _judge(rules: Rules, name: str, thing: Page | Document) -> tuple[Document, str | None]:
    document, reason = _document(rules, name, thing)
    if not document.text:
        return document, reason or "no_text: nothing is left after extraction"
    document.text, counts = mask(document.text, kinds=rules.mask)
    if counts:
        document.metadata["masked"] = " ".join(f"{kind}={counts[kind]}" for kind in sorted(counts))
    document.metadata["language"] = detect_fast(document.text)[0]
    objections = (check(document) for check in _filters(rules.filters, rules.phrases))
    return document, reason or next((objection for objection in objections if objection), None)


def _document(rules: Rules, name: str, thing: Page | Document) -> tuple[Document, str | None]:
    if isinstance(thing, Document):
        thing.source = source_of(thing.url, name, rules.sources) if rules.sources else thing.source
        return thing, None
    source = source_of(thing.url, name, rules.sources)
    document, reason = page_document(
        thing, source=source, main_content=rules.main_content, skip=rules.skip, honour=rules.opt_out
    )
    return document, "content_type: robots.txt" if thing.url.endswith("/robots.txt") else reason


@lru_cache(maxsize=1)
def _filters(filters: str, phrases: tuple[str, ...]) -> list[Filter]:
    listed: list[Filter] = [partial(blocklist, phrases=phrases)] if phrases else []
    return chosen(json.loads(filters)) + listed


# -- reading --------------------------------------------------------------------------------------------------------


def _read(
    config: Curate, rules: Rules, run: Run, files: list[tuple[str, Path]]
) -> tuple[list[Document], list[Removed], list[Malformed], dict[str, str]]:
    kept, removed, malformed, types = list[Document](), list[Removed](), list[Malformed](), dict[str, str]()
    workers = config.workers or min(os.cpu_count() or 1, 1 + sum(path.stat().st_size for _, path in files) // A_WORKER)
    things = _things(files, int(config.page_megabytes * 2**20))
    manifest = run.input("crawl").manifest
    with run.progress("curate", total=manifest.counts.get("pages") if manifest else None, unit="pages") as bar:
        for name, judged in _in_order(partial(judge, rules), things, workers):
            bar.advance()
            if isinstance(judged, Malformed):
                malformed.append(judged)
                continue
            document, reason = judged
            types.setdefault(document.source, TYPES.get(kind_of(Path(name)), "JSON rows"))
            if reason is None:
                kept.append(document)
            else:
                removed.append(Removed(document, reason))
    return kept, removed, malformed, types


def _files(run: Run) -> list[tuple[str, Path]]:
    """The files of a crawl: those in its folder, or those that it names, which must be what they were."""
    crawl = run.input("crawl")
    listed = crawl.files("sources.json")
    if not listed:
        found = [(path.name, path) for path in crawl.files() if kind_of(path) in (".warc", ".parquet")]
        if not found:
            raise EmptyInput(
                f"{crawl.path} holds neither an archive nor a list of files", hint="give a run of `hornbook crawl`"
            )
        return found
    return [_unchanged(row, crawl.path) for row in json.loads(listed[0].read_text())]


def _unchanged(row: Mapping[str, Any], folder: Path) -> tuple[str, Path]:
    path = Path(os.path.normpath(folder / row["path"]))
    if not path.is_file():
        raise InputError(
            f"{path} is gone since it was listed",
            hint="put it back, or remove the run that lists it and run `hornbook crawl` again",
        )
    if path.stat().st_size != row["size"] or hash_file(path) != row["sha256"]:
        raise Damaged(f"{path} is not what it was when it was listed", hint="run `hornbook crawl` again")
    return row["name"], path


def _things(files: list[tuple[str, Path]], largest: int) -> Iterator[Named]:
    for name, path in files:
        yield from ((name, thing) for thing in read_file(path, name=name, largest_body=largest))


def _in_order(
    work: Callable[[list[Named]], list[Judged]], things: Iterator[Named], workers: int
) -> Iterator[tuple[str, Judged]]:
    """What `work` makes of each thing, in the things' order whatever the number of processes."""
    batches = iter(lambda: list(islice(things, BATCH)), [])
    if workers == 1:
        for batch in batches:
            yield from zip((name for name, _ in batch), work(batch), strict=True)
        return
    waiting: deque[tuple[list[Named], Future[list[Judged]]]] = deque()
    # Not fork: the progress line is drawn by a thread.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        try:
            for batch in batches:
                with _deaf():
                    waiting.append((batch, pool.submit(work, batch)))
                while len(waiting) > 4 * workers:
                    yield from _done(*waiting.popleft())
            while waiting:
                yield from _done(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that start meanwhile ignore Ctrl-C from their first instant: it is their parent that ends them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with_parent() -> None:
    """A killed parent tells its workers nothing, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()


def _done(batch: list[Named], future: Future[list[Judged]]) -> Iterator[tuple[str, Judged]]:
    return zip((name for name, _ in batch), future.result(), strict=True)


# -- documents beside each other ------------------------------------------------------------------------------------

Sifted = tuple[list[Document], list[Removed]]


@dataclass
class Deduplication:
    """What deduplication found out besides the documents that it removed, and how its slower ways are watched."""

    watch: Callable[[str, list[Document]], Iterable[Document]]
    clusters: list[tuple[str, str]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def _watched(run: Run, way: str, documents: list[Document]) -> Iterator[Document]:
    with run.progress(f"curate {way}", total=len(documents), unit="documents") as bar:
        for document in documents:
            yield document
            bar.advance()


def _sift(check: Filter, documents: Iterable[Document]) -> Sifted:
    kept, removed = list[Document](), list[Removed]()
    for document in documents:
        reason = check(document)
        if reason is None:
            kept.append(document)
        else:
            removed.append(Removed(document, reason))
    return kept, removed


def url(found: Deduplication, documents: list[Document]) -> Sifted:
    """Keep the first document of each URL."""
    return _sift(exact.same_url(), documents)


def text(found: Deduplication, documents: list[Document]) -> Sifted:
    """Keep the first document of each text."""
    return _sift(exact.same_text(), documents)


def line(
    found: Deduplication,
    documents: list[Document],
    *,
    times: Count = 3,
    min_characters: int = 20,
    min_left: float = 0.1,
) -> Sifted:
    """Drop longer lines after they were there `times` times, and documents of which less than `min_left` is left."""
    lines = exact.Lines(times=times, min_characters=min_characters, dropped=found.dropped)

    def check(document: Document) -> str | None:
        left = lines(document.text)
        if len(left) < min_left * len(document.text) or not left:
            return (
                f"duplicate_lines: {len(left):,} of {len(document.text):,} characters are new, less than {min_left:.0%}"
            )
        document.text = left
        return None

    return _sift(check, found.watch("line", documents))


def near(
    found: Deduplication,
    documents: list[Document],
    *,
    words: Count = 5,
    threshold: Probability = 0.8,
    bands: Count = 14,
    rows: Count = 8,
) -> Sifted:
    """Keep the first of documents that share `threshold` of their runs of `words` words."""
    sets = (minhash.shingles(document.text, words=words) for document in found.watch("minhash", documents))
    survivors = minhash.clusters(sets, threshold=threshold, bands=bands, rows=rows)
    first = {document.id: documents[survivor].id for document, survivor in zip(documents, survivors, strict=True)}
    sizes = Counter(first.values())
    found.clusters += [(id, survivor) for id, survivor in first.items() if sizes[survivor] > 1]

    def check(document: Document) -> str | None:
        survivor = first[document.id]
        return None if survivor == document.id else f"near_duplicate: at least {threshold:.0%} like {survivor}"

    return _sift(check, documents)


WAYS: dict[str, Callable[..., Sifted]] = {"url": url, "text": text, "line": line, "minhash": near}
RULES = {"url": "duplicate_url", "text": "duplicate_text", "line": "duplicate_lines", "minhash": "near_duplicate"}


def _dedup(table: Mapping[str, Mapping[str, Any]]) -> list[Callable[[Deduplication, list[Document]], Sifted]]:
    ways = list[Callable[[Deduplication, list[Document]], Sifted]]()
    for name, options in table.items():
        if name not in WAYS:
            raise UsageError(f'dedup: there is no way "{name}"', hint=f"there are: {', '.join(WAYS)}")
        fitting = checked(f"dedup {name}", WAYS[name], options)
        check_numbers(WAYS[name], fitting, inside=f"dedup.{name}.")
        ways.append(partial(WAYS[name], **fitting))
    return ways


def _mix(config: Curate, documents: list[Document]) -> Sifted:
    sizes: Counter[str] = Counter()
    for document in documents:
        sizes[document.source] += len(document.text.encode())
    share = mixture.fractions(sizes, config.mixture) if documents else {}

    def check(document: Document) -> str | None:
        fraction = share[document.source]
        inside = mixture.kept(document.id, fraction=fraction, seed=config.seed)
        return None if inside else f"mixture: {fraction:.1%} of {document.source} is kept"

    return _sift(check, documents)


# -- telling --------------------------------------------------------------------------------------------------------


def _write(
    run: Run, kept: list[Document], removed: list[Removed], malformed: list[Malformed], found: Deduplication
) -> None:
    write_documents(run.out / "documents.parquet", kept)
    write_rows(run.out / "removed.parquet", map(_removed_row, removed), REMOVED)
    write_rows(
        run.out / "clusters.parquet", ({"id": id, "survivor": survivor} for id, survivor in found.clusters), CLUSTERS
    )
    rows = [orjson.dumps(dataclasses.asdict(row)) + b"\n" for row in malformed]
    (run.out / "quarantine.jsonl").write_bytes(b"".join(rows))


def _removed_row(one: Removed) -> dict[str, str]:
    document = one.document
    return {
        "rule": one.rule,
        "reason": one.reason,
        **{name: getattr(document, name) for name in ("id", "url", "source", "text")},
    }


def _blame(removed: list[Removed], malformed: list[Malformed]) -> str:
    rules = Counter(one.rule for one in removed).most_common(5)
    told = [f"{rule} removed {count:,}" for rule, count in rules]
    told += [f"{len(malformed):,} were malformed, the first: {_place(malformed[0])}"] if malformed else []
    return "; ".join(told) or "the input holds no page and no row"


def _tell(run: Run, made: dict[str, Any], removed: list[Removed], malformed: list[Malformed]) -> None:
    made["malformed"] = [dataclasses.asdict(row) for row in malformed[:20]]
    (run.out / "card.json").write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2) + b"\n")
    documents, size, words = (sum(row[key] for row in made["table"]) for key in ("documents", "bytes", "tokens"))
    run.count(documents=documents, removed=len(removed), malformed=len(malformed), bytes=size, words=words)
    run.result(
        table=made["table"],
        removed={rule: entry["documents"] for rule, entry in made["removed"].items()},
        steps=made["steps"],
    )
    told = ", ".join(f"{rule} {count:,}" for rule, count in Counter(one.rule for one in removed).most_common(4))
    run.say(
        f"{documents:,} documents kept ({size / 1e6:.1f} MB), {len(removed):,} removed" + (f": {told}" if told else "")
    )
    if malformed:
        run.say(f"{len(malformed):,} malformed, in quarantine.jsonl; the first: {_place(malformed[0])}")


def _place(one: Malformed) -> str:
    """Where something malformed is, and what is wrong with it."""
    what = "record" if kind_of(Path(one.file)) in (".warc", ".wet") else "row"
    return f"{one.file} {what} {one.row}: {one.reason}"
