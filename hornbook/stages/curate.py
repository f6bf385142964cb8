"""curate: from raw input to a corpus. Every document is kept, or removed with its reason."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import pyarrow.parquet as pq

from hornbook.config import Count, NotNegative, Positive, Takes, Unhashed
from hornbook.errors import Damaged, EmptyInput, InputError, UsageError
from hornbook.manifest import Input, digest
from hornbook.run import Run
from hornbook.text import mixture
from hornbook.text.audit import as_documents, audit, built_in, read_slices
from hornbook.text.card import card
from hornbook.text.contamination import Index, read_texts
from hornbook.text.corpus import CLUSTERS, Last
from hornbook.text.croissant import File, croissant
from hornbook.text.disclosure import disclosure
from hornbook.text.document import Malformed, write_rows
from hornbook.text.duplicates.passes import Corpus, deduplicate
from hornbook.text.duplicates.ways import WAYS, Id, Way
from hornbook.text.engine import Engine, Local, Ray, Workplace
from hornbook.text.files import Place, hash_file, is_remote, kind_of, size_of
from hornbook.text.judge import Piece, Plan, edits, judge_piece, named_rules, site_files, warm
from hornbook.text.privacy import DEFAULT, check_kinds
from hornbook.text.read import pieces
from hornbook.text.robots import AGENTS, read_agents
from hornbook.text.rules.quality import checked, chosen
from hornbook.text.tally import OPT_OUTS, Tally

MAKES = "corpus"
PIECE = 32
"""Megabytes of a file that a task reads."""

BUCKET = 16_000_000
"""Bytes of input that make one more bucket: a task holds the documents of one."""

UNLAWFUL = ("blocklist", "domain_list", "abuse")
"""Rules that leave out what may be unlawful or harmful to have."""

STOP_WORDS = "the be to of and that have with a i in is it you my me we he she they for on this are was not so do at if"
"""Gopher's and the commonest others: its eight are scarce in the English of many who write in a dialect."""

FILTERS: dict[str, dict[str, Any]] = {
    "gopher_length": {},
    "gopher_word_length": {},
    "gopher_symbols": {},
    "gopher_bullets": {},
    "gopher_ellipses": {},
    "gopher_alphabetic": {"min_share": 0.6},
    "gopher_stop_words": {"stop_words": STOP_WORDS.split()},
    "gopher_repeated_lines": {},
    "gopher_repeated_paragraphs": {},
    "gopher_top_ngrams": {},
    "gopher_repeated_ngrams": {},
    "c4_lorem_ipsum": {},
    "abuse": {},
}
DEDUP: dict[str, dict[str, Any]] = {"url": {}, "text": {}, "line": {}, "minhash": {}}


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
    """Leave out pages that ask not to be learned from (noai, noml, TDM reservation, AI preferences)."""
    robots: bool = False
    """Leave out pages that robots.txt, ai.txt or tdmrep.json of their site, as the archive has them, keep from AI."""
    agents: Path | None = None
    """File of the user agents that robots.txt is asked for: a robots.json of ai.robots.txt, or one a line."""
    takedown: Path | None = None
    """File of ids, URLs, URL prefixes that end with * and domains to leave out, one a line."""
    licenses: tuple[str, ...] = ()
    """Keep only pages under these licences, such as CC-BY-4.0 or CC-BY*."""
    domains: Path | None = None
    """File of domains and URL prefixes to leave out, one a line, or as UT1 has them."""
    clean: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What is cut from texts before they are judged, in order, each with its options: c4_lines, blocklist_lines."""
    mask: tuple[str, ...] = DEFAULT
    """Kinds of personal data to mask."""
    tag: tuple[str, ...] = ()
    """Kinds of personal data to note in the metadata, where they are not masked."""
    filters: dict[str, dict[str, Any]] = field(default_factory=lambda: dict(FILTERS))
    """Quality rules in the order in which they are applied, each with its options."""
    classifiers: Annotated[dict[str, Path], Takes("classifier")] = field(default_factory=dict)
    """Runs of `classify` by name; the name is then a filter too, with the options `min_score` and `max_score`."""
    blocklist: Path | None = None
    """File with words and phrases, one a line, that a document may not hold."""
    decontaminate: dict[str, Path] = field(default_factory=dict)
    """Evaluation sets by name: documents that share a run of 13 words with one are left out."""
    dedup: dict[str, dict[str, Any]] = field(default_factory=lambda: dict(DEDUP))
    """Ways of removing duplicates, in the order in which they are applied, each with its options."""
    mixture: dict[str, NotNegative] = field(default_factory=dict)
    """Weight of each source by size; without any, all is kept."""
    epochs: dict[str, NotNegative] = field(default_factory=dict)
    """How often training may see a source, 1 by default: a source of weight may so need less of the others."""
    caps: dict[str, NotNegative] = field(default_factory=dict)
    """Megabytes of a source, at most."""
    audit: Path | None = None
    """Rows of `text`, `slice` and more, on which every filter is audited; without it, a small set of our own."""
    page_megabytes: Positive = 10.0
    """Size of one page, at most."""
    seed: int = 0
    """Chooses the documents' order."""
    engine: Annotated[Literal["local", "ray"], Unhashed()] = "local"
    """Where the work is done: processes of this machine, or a Ray cluster (RAY_ADDRESS); the result is the same."""
    workers: Annotated[Count | None, Unhashed()] = None
    """Processes; the result is the same for any number. By default, as many as the input is worth."""

    def __post_init__(self) -> None:
        check_kinds((*self.mask, *self.tag))
        edits(self.clean, self.blocklist)
        chosen({name: options for name, options in self.filters.items() if name not in self.classifiers})
        _ways(self.dedup)


def curate(config: Curate, run: Run) -> None:
    """Judge every document, remove duplicates, and write what is left and what is not."""
    slices = as_documents(read_slices(config.audit) if config.audit else built_in())
    files = _files(run)
    listed = list(_pieces(files))
    buckets = 1 + sum(size_of(place) for _, place in files) // BUCKET
    place = Workplace(_engine(config, len(listed)), run.scratch / "work")
    place.folder.mkdir(exist_ok=True)
    plan = _plan(config, run, place, listed, buckets)
    ways = (Id(), *_ways(config.dedup))
    with _watch(run, "kernels", 1) as advance:
        warm(plan, ways, listed)
        advance()
    rows = [result["rows"] for result in _phase(run, place, "judge", partial(judge_piece, plan), listed)]
    corpus = Corpus(place.folder, buckets, ways)
    deque(_phase(run, place, "sort", corpus.gather, range(buckets)), maxlen=0)
    sizes = deduplicate(corpus, place, partial(_watch, run))
    last = _last(config, run, place, corpus)
    tally = _write(run, last.out, config.seed, _phase(run, place, "write", last.write, range(buckets)))
    _quarantine(run, tally, place.folder / "malformed", listed, rows)
    audited = audit(named_rules(plan), slices.texts, slices.reference, toxic=slices.toxic)
    _tell(config, plan, run, tally, sizes, audited, [name for name, _ in files])


def _phase(run: Run, place: Workplace, name: str, work: Any, over: Sequence[Any]) -> Iterator[Any]:
    with _watch(run, name, len(over)) as advance:
        yield from place.phase(name, work, over, advance)


@contextmanager
def _watch(run: Run, what: str, tasks: int) -> Iterator[Any]:
    with run.progress(f"curate {what}", total=tasks, unit="tasks") as bar:
        yield bar.advance


# -- what is to be done ---------------------------------------------------------------------------------------------


def _engine(config: Curate, tasks: int) -> Engine:
    if config.engine == "ray":
        return Ray(config.workers)
    return Local(config.workers or max(1, min(os.cpu_count() or 1, tasks)))


def _ways(table: Mapping[str, Mapping[str, Any]]) -> list[Way]:
    for name in table:
        if name not in WAYS:
            raise UsageError(f'dedup: there is no way "{name}"', hint=f"there are: {', '.join(WAYS)}")
    return [WAYS[name](**checked(f"dedup {name}", WAYS[name], options)) for name, options in table.items()]


def _plan(config: Curate, run: Run, place: Workplace, listed: Sequence[Piece], buckets: int) -> Plan:
    largest = int(config.page_megabytes * 2**20)
    return Plan(
        folder=place.folder,
        buckets=buckets,
        seed=config.seed,
        sources=json.dumps(config.sources),
        largest_body=largest,
        main_content=config.main_content,
        skip=config.skip,
        opt_out=config.opt_out,
        robots=_site_files(config, run, place, listed, largest),
        agents=read_agents(config.agents) if config.agents else tuple(AGENTS),
        takedown=config.takedown,
        licenses=config.licenses,
        domains=config.domains,
        clean=json.dumps(config.clean),
        mask=config.mask,
        tag=config.tag,
        filters=json.dumps(config.filters),
        classifiers=json.dumps({name: str(run.inputs("classifiers")[name].folder()) for name in config.classifiers}),
        blocklist=config.blocklist,
        decontaminate=_evaluation_sets(run, place),
    )


def _site_files(config: Curate, run: Run, place: Workplace, listed: Sequence[Piece], largest: int) -> Path | None:
    """What sites say of themselves in the archive, gathered before any page is judged."""
    if not config.robots:
        return None
    found = list(_phase(run, place, "robots.txt", partial(site_files, largest_body=largest), listed))
    path = place.folder / "sites.json"
    path.write_bytes(orjson.dumps([row for rows in found for row in rows]))
    return path


def _evaluation_sets(run: Run, place: Workplace) -> Path | None:
    sets = run.inputs("decontaminate")
    if not sets:
        return None
    Index.build({name: _texts(opened) for name, opened in sets.items()}).save(place.folder / "evaluation")
    return place.folder / "evaluation"


def _texts(opened: Input) -> Iterator[str]:
    paths = [opened.path] if opened.path.is_file() else opened.files()
    for path in paths:
        if kind_of(path):
            yield from read_texts(path)


def _last(config: Curate, run: Run, place: Workplace, corpus: Corpus) -> Last:
    """The last step, with the mixture that the sizes of the sources allow."""
    # In what survives a kill, since the folder of products is cleared when a run starts again.
    last = Last(corpus, place.folder / "last", config.seed)
    if not (config.mixture or config.epochs or config.caps):
        return last
    sizes: Counter[str] = Counter()
    for bucket in _phase(run, place, "sizes", last.sizes, range(corpus.buckets)):
        sizes.update(bucket)
    caps = {source: 1e6 * megabytes for source, megabytes in config.caps.items()}
    shares = mixture.shares(sizes, config.mixture, epochs=config.epochs, caps=caps)
    run.result(epochs={source: round(share.epochs, 4) for source, share in sorted(shares.items())})
    return replace(last, shares=shares)


# -- the input ------------------------------------------------------------------------------------------------------


def _files(run: Run) -> list[tuple[str, Place]]:
    """The files of a crawl: those in its folder, or those that it names, which must be what they were."""
    crawl = run.input("crawl")
    listed = crawl.files("sources.json")
    if not listed:
        found = [(path.name, path) for path in crawl.files() if kind_of(path) in (".warc", ".parquet")]
        if not found:
            raise EmptyInput(
                f"{crawl.path} holds neither an archive nor a list of files", hint="give a run of `hornbook crawl`"
            )
        return list(found)
    return [_unchanged(row, crawl.path) for row in json.loads(listed[0].read_text())]


def _unchanged(row: Mapping[str, Any], folder: Path) -> tuple[str, Place]:
    """A file as it was listed. What is elsewhere is only asked for its size: to hash it would be to fetch it twice."""
    place: Place = row["path"] if is_remote(row["path"]) else Path(os.path.normpath(folder / row["path"]))
    if isinstance(place, Path) and not place.is_file():
        raise InputError(
            f"{place} is gone since it was listed",
            hint="put it back, or remove the run that lists it and run `hornbook crawl` again",
        )
    if size_of(place) != row["size"] or (isinstance(place, Path) and hash_file(place) != row["sha256"]):
        raise Damaged(f"{place} is not what it was when it was listed", hint="run `hornbook crawl` again")
    return row["name"], place


def _pieces(files: Sequence[tuple[str, Place]]) -> Iterator[Piece]:
    number = 0
    for name, place in files:
        for start, end in pieces(place, megabytes=PIECE):
            yield Piece(number, name, str(place), start, end)
            number += 1


# -- what is made ---------------------------------------------------------------------------------------------------


def _write(run: Run, folder: Path, seed: int, written: Iterable[Mapping[str, Any]]) -> Tally:
    """Take the buckets' results as they come: tallies, clusters, and the sum that names the contents."""
    tally, clusters, total = Tally(), list[dict[str, str]](), 0
    for result in written:
        tally.merge(Tally.from_json(result["tally"]))
        clusters += [{"id": id, "survivor": survivor} for id, survivor in result["clusters"]]
        total += int(result["sum"], 16)
    write_rows(run.out / "clusters.parquet", clusters, CLUSTERS)
    for path in sorted(folder.glob("*.parquet")):
        _link(path, run.out / path.name)
    run.contents(digest([seed, f"{total % 2**256:064x}"]))  # the documents, and the seed that orders them
    return tally


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # not every file system has links
        shutil.copyfile(path, to)


def _quarantine(run: Run, tally: Tally, folder: Path, listed: Sequence[Piece], rows: Sequence[int]) -> None:
    """Write what could not be read, with the numbers that rows have in their whole files."""
    before: Counter[str] = Counter()
    with (run.out / "quarantine.jsonl").open("wb") as stream:
        for piece, count in zip(listed, rows, strict=True):
            for line in (folder / f"{piece.number:05}.jsonl").read_bytes().splitlines():
                row = Malformed(**orjson.loads(line))
                row = replace(row, row=row.row + before[piece.name])
                tally.malformed(row)
                stream.write(orjson.dumps(asdict(row)) + b"\n")
            before[piece.name] += count


def _tell(
    config: Curate,
    plan: Plan,
    run: Run,
    tally: Tally,
    sizes: Sequence[int],
    audited: Mapping[str, Any],
    names: Sequence[str],
) -> None:
    models = sorted(rule for rule in tally.removed.entries if rule.startswith(("classifier ", "perplexity ")))
    order = [*config.filters, *models, "blocklist", "contaminated", "duplicate_id"]
    order += [WAYS[name].rule for name in config.dedup]
    made = card(
        tally,
        order=[*order, "mixture"],
        clusters=Counter(sizes),
        audits=audited,
        contamination=Index.load(plan.decontaminate).tasks if plan.decontaminate else None,
    )
    made["eu_summary"] = disclosure(tally, made, crawlers=_crawlers(run), reservations=OPT_OUTS, illegal=UNLAWFUL)
    described = croissant(made, _parquet(run.out), name=run.name, description="A corpus curated by Hornbook.")
    for name, value in (("card", made), ("croissant", described)):
        (run.out / f"{name}.json").write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    removed = {rule: entry["documents"] for rule, entry in made["removed"].items()}
    documents, malformed = tally.kept.total(), tally.unread.total()
    if not documents:
        listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise EmptyInput(f"nothing is left of {run.input('crawl').name} ({listed})", hint=_blame(tally, removed))
    run.count(documents=documents, removed=sum(removed.values()), malformed=malformed)
    run.count(bytes=tally.kept.total(1), words=tally.kept.total(2))
    run.result(table=made["table"], removed=removed, steps=made["steps"])
    told = ", ".join(f"{rule} {count:,}" for rule, count in list(removed.items())[:4])
    size = f"{tally.kept.total(1) / 1e6:.1f} MB"
    run.say(f"{documents:,} documents kept ({size}), {sum(removed.values()):,} removed" + (f": {told}" if told else ""))
    for warning in made["warnings"]:
        run.say(f"warning: {warning}")
    if malformed:
        kinds = "; ".join(f"{count:,} {kind}" for kind, (count, *_) in tally.unread.ranked()[:4])
        run.say(f"{malformed:,} set aside in quarantine.jsonl ({kinds}); the first: {_place(tally)}")


def _crawlers(run: Run) -> list[str]:
    """The name under which our crawler was known, where the input is a crawl of ours."""
    path = run.input("crawl").path / "config.toml"
    crawled = run.input("crawl").files("*.warc.gz") and path.exists()
    return [tomllib.loads(path.read_text())["crawl"]["agent"]] if crawled else []


def _parquet(folder: Path) -> list[File]:
    paths = sorted(folder.glob("documents-*.parquet"))
    return [File(path.name, path.stat().st_size, hash_file(path), pq.read_metadata(path).num_rows) for path in paths]


def _blame(tally: Tally, removed: Mapping[str, int]) -> str:
    told = [f"{rule} removed {count:,}" for rule, count in list(removed.items())[:5]]
    malformed = tally.unread.total()
    told += [f"{malformed:,} malformed, the first: {_place(tally)}"] if malformed else []
    return "; ".join(told) or "the input holds no page and no row"


def _place(tally: Tally) -> str:
    """Where the first malformed thing is, and what is wrong with it."""
    one = tally.unread_rows[0]
    what = "record" if kind_of(Path(one["file"])) in (".warc", ".wet", ".arc") else "row"
    return f"{one['file']} {what} {one['row']}: {one['reason']}"
