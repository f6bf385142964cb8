"""What is done to documents by themselves: text and language found, cleaned, masked, and judged by rule after rule.

A `Plan` says what, in values that can be sent to another process; `judge_piece` does it to a piece of a file. Whoever
does the work, the same pieces give the same files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from hornbook.errors import UsageError
from hornbook.text import consent, licences, robots, safety, trained
from hornbook.text.archives.warc import Page
from hornbook.text.buckets import Entry, PartWriter
from hornbook.text.contamination import Index, contaminated
from hornbook.text.document import Document, Malformed, Rows
from hornbook.text.duplicates.ways import Bucket, Way
from hornbook.text.engine import written
from hornbook.text.files import kind_of
from hornbook.text.language import identify
from hornbook.text.pages.extract import page_document, source_of
from hornbook.text.privacy import mask, tag
from hornbook.text.read import read_piece
from hornbook.text.rules import quality
from hornbook.text.rules.c4 import c4_lines
from hornbook.text.rules.quality import Filter, Rules, chosen

BATCH = 256
"""Documents that are judged at a time: enough for the kernels, few enough to hold."""

KINDS = {
    ".warc": "web pages",
    ".wet": "web pages",
    ".arc": "web pages",
    ".html": "web pages",
    ".htm": "web pages",
    ".parquet": "Parquet rows",
    ".txt": "text files",
    ".md": "text files",
}

MARKUP = (".warc", ".arc", ".html", ".htm")
"""Kinds of files that may hold HTML."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done to a document by itself. Files are given by path; tables as JSON, so that a plan can be a key."""

    folder: Path
    buckets: int
    seed: int
    sources: str
    largest_body: int
    main_content: bool
    skip: tuple[str, ...]
    opt_out: bool
    robots: Path | None
    """Files of sites that the archive holds, where they are to be asked: JSON rows of (URL, body in Latin-1)."""
    agents: tuple[str, ...]
    takedown: Path | None
    licenses: tuple[str, ...]
    domains: Path | None
    clean: str
    mask: tuple[str, ...]
    tag: tuple[str, ...]
    filters: str
    classifiers: str
    blocklist: Path | None
    decontaminate: Path | None


@dataclass(frozen=True)
class Piece:
    """A part of a file, as `read.pieces` cuts it; `number` counts the pieces of the whole input."""

    number: int
    name: str
    path: str
    start: int
    end: int


Named = tuple[str, Page | Document]


def judge_piece(plan: Plan, piece: Piece) -> dict[str, Any]:
    """Judge what is in a piece; entries go into `judged-kept` and `judged-removed` below the plan's folder."""
    rows, malformed = Rows(), list[Malformed]()
    kept, removed = (_writer(plan, piece, name) for name in ("kept", "removed"))
    for entry in _judge(plan).entries(_things(plan, piece, rows, malformed)):
        (removed if entry.reason else kept).add(entry)
    kept.flush()
    removed.flush()
    _quarantine(plan.folder / "malformed" / f"{piece.number:05}.jsonl", malformed)
    return {"rows": rows.count, "malformed": len(malformed)}


def _writer(plan: Plan, piece: Piece, name: str) -> PartWriter:
    return PartWriter(plan.folder / f"judged-{name}", f"{piece.number:05}", buckets=plan.buckets, seed=plan.seed)


def _things(plan: Plan, piece: Piece, rows: Rows, malformed: list[Malformed]) -> Iterator[Named]:
    for thing in _read(piece, plan.largest_body, rows):
        if isinstance(thing, Malformed):
            malformed.append(thing)
        else:
            yield piece.name, thing


def _read(piece: Piece, largest_body: int, rows: Rows) -> Iterator[Page | Document | Malformed]:
    return read_piece(piece.path, piece.start, piece.end, name=piece.name, largest_body=largest_body, rows=rows)


def _quarantine(path: Path, malformed: Sequence[Malformed]) -> None:
    path.parent.mkdir(exist_ok=True)
    with written(path) as temporary:
        temporary.write_bytes(b"".join(orjson.dumps(asdict(row)) + b"\n" for row in malformed))


def site_files(piece: Piece, *, largest_body: int) -> list[tuple[str, str]]:
    """The robots.txt, ai.txt and tdmrep.json that a piece of an archive holds: (URL, body in Latin-1)."""
    index, found = robots.RobotsIndex(), list[tuple[str, str]]()
    for thing in _read(piece, largest_body, Rows()):
        if isinstance(thing, Page) and thing.status == 200 and index.add(thing.url, thing.body):
            found.append((thing.url, thing.body[: robots.LARGEST].decode("latin-1")))
    return found


@lru_cache(maxsize=1)
def _judge(plan: Plan) -> Judge:
    return Judge(plan)


class Judge:
    """A plan with its files read and its rules made ready."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sources: dict[str, str] = json.loads(plan.sources)
        self.sites = _sites(plan.robots) if plan.robots else robots.RobotsIndex()
        self.at_once = list(_by_address(plan, self.sites))
        self.edits = edits(json.loads(plan.clean), plan.blocklist)
        self.rules = rules(plan)

    def entries(self, things: Iterable[Named]) -> Iterator[Entry]:
        """What becomes of each thing, in their order."""
        things = iter(things)
        while batch := list(islice(things, BATCH)):
            yield from self._batch(batch)

    def _batch(self, batch: list[Named]) -> list[Entry]:
        found = [self._found(name, thing) for name, thing in batch]
        asked = [(at, entry.document) for at, entry in enumerate(found) if not entry.reason]
        for _, document in asked:
            self._prepare(document)
        for (at, document), reason in zip(asked, self.rules([document for _, document in asked]), strict=True):
            if reason:
                found[at] = Entry(document, found[at].kind, reason)
        return found

    def _found(self, name: str, thing: Page | Document) -> Entry:
        document, reason = self._document(name, thing)
        reason = reason or next((told for check in self.at_once if (told := check(document))), None)
        if not reason and not document.text.strip():
            reason = "no_text: nothing is left after extraction"
        return Entry(document, KINDS.get(kind_of(name), "JSON rows"), reason or "")

    def _document(self, name: str, thing: Page | Document) -> tuple[Document, str | None]:
        if isinstance(thing, Document):
            thing.source = source_of(thing.url, name, self.sources) if self.sources else thing.source
            return thing, None
        plan, source = self.plan, source_of(thing.url, name, self.sources)
        document, reason = page_document(
            thing,
            source=source,
            main_content=plan.main_content,
            skip=plan.skip,
            honour=plan.opt_out,
            tdm_file=self.sites.tdm_file(thing.url),
        )
        return document, "content_type: robots.txt" if thing.url.endswith("/robots.txt") else reason

    def _prepare(self, document: Document) -> None:
        """Clean, mask and tag a document."""
        for name, edit in self.edits:
            document.text, cut = edit(document.text)
            if cut:
                document.metadata[f"cut_{name}"] = str(cut)
        document.text, counts = mask(document.text, kinds=self.plan.mask)
        if counts:
            document.metadata["masked"] = " ".join(f"{kind}={counts[kind]}" for kind in sorted(counts))
        if self.plan.tag and (found := tag(document.text, kinds=self.plan.tag)):
            document.metadata["personal_data"] = found
        document.metadata["language"] = identify(document.text)[0]


def warm(plan: Plan, ways: Sequence[Way], pieces: Iterable[Piece]) -> None:
    """Do all of it once to a row and, if `pieces` may hold pages, to a page: so kernels are compiled before processes
    start that use them.

    numba keeps what it compiled beside the package or in the user's cache: this takes its time once a machine, most of
    it for what reads pages.
    """
    text = "The mill stands by the river.\nIt has been there for a long time, and nobody knows why.\n" * 2
    things: list[Named] = [("", Document("", text, ""))]
    if any(kind_of(piece.name) in MARKUP for piece in pieces):
        # Text between the parts of a table: so a parser is asked too.
        body = f"<html><body><p>{text}</p><table>{text}<tr></table></body></html>".encode()
        things.append(("", Page("http://localhost/", "", "", 200, {"content-type": "text/html"}, body, "response")))
    judged = list(Judge(plan).entries(things))
    rows = pa.table({name: [""] * len(judged) for name in ("id", "url")})
    bucket = Bucket(0, rows, [entry.document.text or text for entry in judged])
    for way in ways:
        way.keys(bucket)


# -- rules that need files ------------------------------------------------------------------------------------------


def _by_address(plan: Plan, sites: robots.RobotsIndex) -> Iterator[Filter]:
    """Filters that ask where a document is from, and under what terms."""
    if plan.takedown:
        yield partial(consent.takedown, listed=consent.Takedown.read(plan.takedown))
    if plan.robots:
        yield lambda document: robots.robots_opt_out(document.url, sites, plan.agents)
    if plan.licenses:
        yield partial(licences.licensed, only=plan.licenses)
    if plan.domains:
        yield partial(safety.domain_list, domains=safety.Domains.read(plan.domains))


def _sites(path: Path) -> robots.RobotsIndex:
    index = robots.RobotsIndex()
    for url, body in orjson.loads(path.read_bytes()):
        index.add(url, body.encode("latin-1"))
    return index


def rules(plan: Plan) -> Rules:
    """The filters of a plan that look at texts, in the order in which they are applied."""
    table, folders = json.loads(plan.filters), json.loads(plan.classifiers)
    extra = [_model(name, folder, table.pop(name, {})) for name, folder in folders.items()]
    if plan.blocklist:
        extra.append(partial(safety.blocklist, phrases=safety.read_phrases(plan.blocklist)))
    if plan.decontaminate:
        extra.append(partial(contaminated, index=Index.load(plan.decontaminate)))
    return chosen(table, extra=extra)


def named_rules(plan: Plan) -> list[tuple[str, Rules]]:
    """The same filters, each by itself with its name."""
    table, folders = json.loads(plan.filters), json.loads(plan.classifiers)
    files = {"blocklist": plan.blocklist, "contaminated": plan.decontaminate}
    from_files = [name for name, path in files.items() if path]
    names = [*(name for name in table if name not in folders), *folders, *from_files]
    return list(zip(names, rules(plan).each(), strict=True))


def _model(name: str, folder: str, options: Mapping[str, Any]) -> Filter:
    ask = trained.filter_of(trained.load(Path(folder)))
    return partial(ask, **quality.checked(f"filter {name}", ask, options))


# -- what is cut from texts before they are judged ------------------------------------------------------------------

Edit = Callable[[str], tuple[str, int]]


def blocklist_lines(text: str, *, phrases: tuple[str, ...]) -> tuple[str, int]:
    """Lines that hold a word or phrase of the blocklist are cut, and the document is judged by what is left."""
    return safety.drop_lines(text, phrases=phrases)


def edits(table: Mapping[str, Mapping[str, Any]], blocklist: Path | None) -> list[tuple[str, Edit]]:
    """The edits of a table, in its order: each gives a text without some lines, and how many they were.

    Raises:
        UsageError: one is unknown, or lacks what it needs.
    """
    return [(name, _edit(name, options, blocklist)) for name, options in table.items()]


def _edit(name: str, options: Mapping[str, Any], blocklist: Path | None) -> Edit:
    if name == "c4_lines":
        return partial(_c4_lines, options=quality.checked("clean c4_lines", c4_lines, options))
    if name != "blocklist_lines":
        raise UsageError(f'clean: there is no edit "{name}"', hint="there are: c4_lines, blocklist_lines")
    if blocklist is None:
        raise UsageError("clean: blocklist_lines needs a blocklist", hint="give one: --blocklist FILE")
    return partial(blocklist_lines, phrases=safety.read_phrases(blocklist))


def _c4_lines(text: str, *, options: Mapping[str, Any]) -> tuple[str, int]:
    left, dropped = c4_lines(text, **options)
    return left, dropped.total()
