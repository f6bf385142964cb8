"""inspect: what the rules of a run removed and kept, a page of samples at a time; and filters tried before they run."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hornbook.config import Count, Takes
from hornbook.errors import EmptyInput, UsageError
from hornbook.manifest import Input
from hornbook.progress import progress, say
from hornbook.report import render_conversations
from hornbook.report.terminal import percent, print_line, print_sample, print_table
from hornbook.report.wording import size
from hornbook.text.archives.warc import Page
from hornbook.text.document import Document, Malformed, order_key, read_documents
from hornbook.text.files import find_files, kind_of
from hornbook.text.pages.extract import page_document
from hornbook.text.rates import wilson
from hornbook.text.read import read_file
from hornbook.text.rules.quality import Rules, checked, chosen
from hornbook.text.safety import blocklist, read_phrases
from hornbook.text.trained import filter_of, load

EXAMPLES = 3
"""Documents shown for a filter that is tried."""


@dataclass(frozen=True)
class Inspect:
    """Look at what was removed or kept, a page of samples at a time, or try filters before they run.

    With rows, the subject is a model, and what is shown is which of their tokens `sft` would train it on.

    Samples come in the order of the corpus, which a keyed hash gives: the first page is a random sample. Filters are
    tried on documents drawn in the same way.
    """

    subject: Annotated[Path, Takes("")]
    """A run's folder or name, a recipe's table (demo/curate), a file to try filters on, or a model's folder."""
    _: KW_ONLY
    rule: str | None = None
    """Show what this rule removed."""
    kept: bool = False
    """Show what was kept."""
    source: str | None = None
    """Show documents of this source only."""
    search: str | None = None
    """Show documents that hold this text only, in upper or lower case."""
    page: Count = 1
    """Page of the samples."""
    samples: Count = 10
    """Samples on a page."""
    rows: Annotated[Path | None, Takes("rows")] = None
    """Rows of conversations: show which of their tokens a model, the subject, would be trained on."""
    length: Count = 512
    """Tokens of a row of conversations, as for `sft`."""
    html: Path | None = None
    """File to write the conversations to as well, as a page."""
    filters: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Filters to try, each with its options: --filters.gopher_length.min_words 100."""
    classifiers: Annotated[dict[str, Path], Takes("classifier")] = field(default_factory=dict)
    """Runs of `classify` to try, by name; their options are those of a filter of that name."""
    blocklist: Path | None = None
    """File with words and phrases, one a line, to try."""
    documents: Count = 1000
    """Documents to try filters on, at most."""

    def __post_init__(self) -> None:
        chosen({name: options for name, options in self.filters.items() if name not in self.classifiers})
        if self.rule and self.kept:
            raise UsageError("--rule and --kept exclude each other", hint="a rule removes; what is kept, none removed")


def inspect(config: Inspect) -> None:
    """Print what the subject is about, or what filters would remove of it."""
    subject = Input(config.subject)
    if config.rows:
        return show_conversations(config, subject)
    if config.filters or config.classifiers or config.blocklist:
        return try_filters(config, subject)
    if subject.manifest is None:
        raise UsageError(
            f"{subject.path} is no run", hint="say which filters to try on it: --filters.gopher_length.min_words 100"
        )
    makes = subject.manifest.makes
    if makes not in SUBJECTS:
        raise UsageError(
            f"{subject.path} holds {makes}; there is nothing to inspect in it yet",
            hint=f"give a run that makes {' or '.join(SUBJECTS)}",
        )
    return SUBJECTS[makes](config, subject)


# -- a corpus -------------------------------------------------------------------------------------------------------


def corpus(config: Inspect, subject: Input) -> None:
    """The rules with what each removed, then a page of samples."""
    card = json.loads(subject.file("card.json").read_bytes())
    rules = card["removed"]
    if config.rule and config.rule not in rules:
        told = ", ".join(f"{rule} ({entry['documents']:,})" for rule, entry in rules.items()) or "none removed anything"
        raise UsageError(f'no rule "{config.rule}" removed anything in {subject.name}', hint=f"rules: {told}")
    if config.page == 1:
        _print_rules(subject.name, card)
    if not rules and not config.kept:
        print_line("\nNothing was removed; --kept shows what is there.")
        return
    first = (config.page - 1) * config.samples
    shown = list(islice(_matching(config, subject), first, first + config.samples + 1))
    what = "kept" if config.kept else f"removed by {config.rule}" if config.rule else "removed"
    if not shown:
        raise EmptyInput(f"{subject.name} has no sample on page {config.page} of what was {what}", hint=_hint(config))
    more = f"; more with --page {config.page + 1}" if len(shown) > config.samples else ", the last"
    print_line(f"\nPage {config.page} of what was {what}{more}")
    for number, row in enumerate(shown[: config.samples], 1 + first):
        print_sample(number, row["url"] or row["id"], row["source"], row.get("reason"), row["text"], config.search)


def _print_rules(name: str, card: Mapping[str, Any]) -> None:
    steps = card["steps"]
    read, kept = steps[0]["documents"], steps[-1]["documents"]
    print_line(f"{name}: {read:,} documents read, {kept:,} kept ({percent(kept, read)})\n")
    rows = [
        (after["step"], before["documents"] - after["documents"], before["documents"])
        for before, after in pairwise(steps)
    ]
    print_table(
        ("rule", "removed", "of all", "of what reached it"),
        [(rule, f"{gone:,}", percent(gone, read), percent(gone, reached)) for rule, gone, reached in rows if gone],
    )


def _matching(config: Inspect, subject: Input) -> Iterator[dict[str, Any]]:
    """The rows that are asked for, in their order; no more is read than is taken."""
    for name in _names(subject, "documents*.parquet" if config.kept else "removed*.parquet"):
        with pq.ParquetFile(subject.file(name)) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.filter(_mask(config, batch)).to_pylist()


def _names(subject: Input, pattern: str) -> list[str]:
    """Names of a run's files; each is checked when it is opened, and most never are."""
    return sorted(name for name in (subject.manifest.files if subject.manifest else ()) if Path(name).match(pattern))


def _mask(config: Inspect, batch: pa.RecordBatch) -> Any:
    mask = pa.array([True]).take(pa.array([0] * len(batch)))
    if config.rule:
        mask = pc.and_(mask, pc.equal(batch["rule"], config.rule))
    if config.source:
        mask = pc.and_(mask, pc.equal(batch["source"], config.source))
    if config.search:
        mask = pc.and_(mask, pc.match_substring(batch["text"], config.search, ignore_case=True))
    return mask


def _hint(config: Inspect) -> str:
    given = {"--source": config.source, "--search": config.search, "--page": config.page if config.page > 1 else None}
    options = [option for option, value in given.items() if value]
    return f"try it without {' or '.join(options)}" if options else "nothing was"


# -- a crawl --------------------------------------------------------------------------------------------------------


def crawl(config: Inspect, subject: Input) -> None:
    """What became of the addresses that it met, and its files."""
    if config.rule or config.kept or config.source or config.search:
        raise UsageError(
            f"{subject.name} is a crawl: no rule has judged it",
            hint="try filters on it with --filters.NAME.OPTION, or give the run of `curate` that came after it",
        )
    assert subject.manifest is not None
    outcomes = subject.manifest.results.get("outcomes", {})
    total = sum(outcomes.values())
    if outcomes:
        ranked = sorted(outcomes.items(), key=lambda pair: (-pair[1], pair[0]))
        rows = [(outcome, f"{number:,}", percent(number, total)) for outcome, number in ranked]
        print_table(("outcome", "addresses", "of all"), rows)
        print_line("")
    print_table(("file", "size"), [(name, size(path.stat().st_size)) for name, path in _crawled(subject)])


def _crawled(subject: Input) -> list[tuple[str, Path]]:
    """The files of a crawl: its own, or those that it lists."""
    listed = subject.files("sources.json")
    if listed:
        rows = json.loads(listed[0].read_bytes())
        return [(row["name"], path) for row in rows if (path := subject.path / row["path"]).is_file()]
    return [(path.name, path) for path in subject.files() if kind_of(path)]


SUBJECTS: dict[str, Callable[[Inspect, Input], None]] = {"corpus": corpus, "crawl": crawl}
"""What there is to see of a run, by what it makes."""


# -- conversations --------------------------------------------------------------------------------------------------


def show_conversations(config: Inspect, subject: Input) -> None:
    """Conversations as the tokens that a model would see, and which of them it would be trained on."""
    from hornbook.training.showing import print_shown, read_shown

    assert config.rows is not None
    source = Input(config.rows)
    path = source.path if source.path.is_file() else source.file("sft.train.jsonl")
    first = (config.page - 1) * config.samples
    shown = read_shown(path, subject, length=config.length, first=first, samples=config.samples)
    if not shown.samples:
        raise EmptyInput(f"{path.name} has no conversation on page {config.page}", hint=f"it has {shown.conversations}")
    print_shown(shown, first=first)
    if config.html:
        config.html.write_text(render_conversations(shown))
        say(f"written to {config.html}")


# -- filters that are tried -----------------------------------------------------------------------------------------


def try_filters(config: Inspect, subject: Input) -> None:
    """How many documents each filter would remove if it were alone, with some of them."""
    documents = _drawn(config, subject)
    if not documents:
        raise EmptyInput(f"{subject.path} holds no document with text")
    verdicts = {name: rules(documents) for name, rules in _tried(config).items()}
    removed = {name: sum(reason is not None for reason in reasons) for name, reasons in verdicts.items()}
    if len(verdicts) > 1:
        removed["any of them"] = sum(any(reasons) for reasons in zip(*verdicts.values(), strict=True))
    of = len(documents)
    print_line(f"{subject.name}: tried on {of:,} documents\n")
    rows = [(name, f"{gone:,}", percent(gone, of), _interval(gone, of)) for name, gone in removed.items()]
    print_table(("filter", "removes", "rate", "95% interval"), rows)
    for name, reasons in verdicts.items():
        _print_examples(name, [(one, why) for one, why in zip(documents, reasons, strict=True) if why])


def _tried(config: Inspect) -> dict[str, Rules]:
    """Each rule by itself, by name."""
    models = {name: filter_of(load(folder)) for name, folder in config.classifiers.items()}
    rules = {name: chosen({name: options}) for name, options in config.filters.items() if name not in models}
    for name, model in models.items():
        options = checked(f"filter {name}", model, config.filters.get(name, {}))
        rules[name] = chosen({}, extra=[partial(model, **options)])
    if config.blocklist:
        rules["blocklist"] = chosen({}, extra=[partial(blocklist, phrases=read_phrases(config.blocklist))])
    return rules


def _print_examples(name: str, removed: Sequence[tuple[Document, str]]) -> None:
    if removed:
        print_line(f"\nSome that {name} removes")
    for number, (document, reason) in enumerate(removed[:EXAMPLES], 1):
        print_sample(number, document.url or document.id, document.source, reason, document.text, None)


def _drawn(config: Inspect, subject: Input) -> list[Document]:
    """Documents of a corpus in its order, or of anything else in one that a keyed hash of their places gives."""
    if subject.manifest and subject.manifest.makes == "corpus":
        paths = (subject.file(name) for name in _names(subject, "documents*.parquet"))
        return list(islice((one for path in paths for one in read_documents(path)), config.documents))
    files = _crawled(subject) if subject.manifest else find_files(str(subject.path))
    keyed = ((order_key(f"{name}/{number}", seed=0), number, thing) for name, number, thing in _things(files))
    drawn = heapq.nsmallest(config.documents, keyed, key=lambda one: one[:2])
    documents = [_document(thing) for _, _, thing in drawn]
    return [document for document in documents if document.text]


def _things(files: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, int, Page | Document]]:
    malformed: list[Malformed] = []
    with progress("inspect", total=None, unit="documents") as bar:
        for name, path in files:
            for number, thing in enumerate(read_file(path, name=name)):
                bar.advance()
                if isinstance(thing, Malformed):
                    malformed.append(thing)
                else:
                    yield name, number, thing
    if malformed:
        first = malformed[0]
        say(f"{len(malformed):,} malformed, left out; the first: {first.file} row {first.row}: {first.reason}")


def _document(thing: Page | Document) -> Document:
    if isinstance(thing, Document):
        return thing
    document, reason = page_document(thing, source="", main_content=True, skip=(), honour=False)
    return Document("", "", "") if reason else document


def _interval(part: int, whole: int) -> str:
    low, high = wilson(part, whole)
    return f"{low:.1%} to {high:.1%}"
