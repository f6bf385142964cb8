"""crawl: bring in the raw input, from a web site, from files, or from the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections import Counter, defaultdict, deque
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from protego import Protego

from hornbook.config import Count, Positive
from hornbook.errors import EmptyInput, HornbookError, InputError, MissingExtra, UsageError
from hornbook.run import Run
from hornbook.text.archives.bodies import Undecodable, parse_response
from hornbook.text.archives.warc import Page
from hornbook.text.archives.writer import ArchiveWriter, Exchange, lasting, read_exchanges, response_block
from hornbook.text.document import Document, document_id, write_documents
from hornbook.text.files import Place, find_places, hash_file, is_remote, kind_of, list_files, size_of
from hornbook.text.local_server import serving
from hornbook.text.pages.extract import links, normal_url

MAKES = "crawl"
ARCHIVE = "crawl.warc.gz"
FAILURES = "failures.jsonl"
SOURCES = "sources.json"
ACCEPT = "text/html, text/plain;q=0.9, */*;q=0.1"
PAGES = ("", ".html", ".htm", ".txt", ".md")
"""Kinds of files that are pages of a site where a URL names them; a URL of another kind names a file to take."""

ROBOTS_REDIRECTS = 5
"""From a robots.txt to where it is (RFC 9309, 2.3.1.2)."""


@dataclass(frozen=True)
class Crawl:
    """Gather pages from a site into a WARC file, or take files that are there."""

    source: str
    """URLs to start from (separated by spaces), or a file, folder or glob, or a Hugging Face dataset `owner/name`."""
    _: KW_ONLY
    server: str = ""
    """Command that serves the site while it is crawled, such as `python -m pydoc -n localhost -p 7464`."""
    include: tuple[str, ...] = ()
    """Globs of the URLs to follow links to; without any, all on the same host."""
    exclude: tuple[str, ...] = ()
    """Globs of URLs not to follow links to."""
    pages: Count = 1000
    """Pages to fetch, at most (rows, for a dataset)."""
    page_megabytes: Positive = 10.0
    """Size of one page, at most."""
    total_megabytes: Positive = 1000.0
    """Size of all pages, at most."""
    rate: Positive = 1.0
    """Pages a second, at most; a site's Crawl-delay slows it further."""
    timeout: Positive = 30.0
    """Seconds for one page."""
    agent: str = "hornbook"
    """How the crawler names itself, to the site and in its robots.txt."""

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise UsageError("source is empty", hint="`.` is the folder that you are in")


def fingerprint(config: Crawl) -> object:
    """The files a source stands for and their hashes: other files are another run."""
    if _urls(config) or _dataset(config):
        return None
    return [(name, hash_file(place)) for name, place in find_places(config.source)]


def crawl(config: Crawl, run: Run) -> None:
    """Gather the input into `crawl.warc.gz`, `sources.json` or `documents.parquet`."""
    if urls := _urls(config):
        Site(config, run, urls).crawl()
    elif name := _dataset(config):
        _take_dataset(name, config, run)
    else:
        _take_files(config, run)


def _urls(config: Crawl) -> list[str]:
    words = config.source.split()
    are_urls = bool(words) and all(re.match(r"https?://", word) and kind_of(word) in PAGES for word in words)
    return [_start(word) for word in words] if are_urls else []


def _start(word: str) -> str:
    if not (url := normal_url(word)):
        raise UsageError(f"source: {word} is no URL", hint="one looks like https://example.org/page")
    return url


def _dataset(config: Crawl) -> str:
    if config.source.startswith("hf:"):
        return config.source[3:]
    is_name = re.fullmatch(r"[\w.-]+/[\w.-]+", config.source) and not Path(config.source).exists()
    return config.source if is_name and Path(config.source).suffix == "" else ""


# -- files and datasets ---------------------------------------------------------------------------------------------


def _take_files(config: Crawl, run: Run) -> None:
    """Name the files and their hashes; nothing is copied.

    A path that was given from where one is, is stored as it is from the run's folder: so `curate` may be called from
    anywhere, and what is moved together stays together.
    """
    rows = []
    files = find_places(config.source)
    with run.progress("crawl", total=len(files), unit="files") as bar:
        for name, place in files:
            path = _seen_from(run.out.parent, place)
            rows.append({"name": name, "path": path, "size": size_of(place), "sha256": hash_file(place)})
            bar.advance()
    if ignored := 0 if is_remote(config.source) else len(list_files(config.source)) - len(files):
        run.say(f"{ignored:,} files in {config.source} are of no kind that can be read, and are left out")
        run.count(files_left_out=ignored)
    (run.out / SOURCES).write_text(json.dumps(rows, indent=1) + "\n")
    run.count(files=len(rows), bytes=sum(int(str(row["size"])) for row in rows))
    run.contents(_hash([(row["name"], row["sha256"]) for row in rows]))


def _seen_from(folder: Path, place: Place) -> str:
    keep = is_remote(place) or Path(place).is_absolute()
    return str(place) if keep else os.path.relpath(place, folder)


def _take_dataset(name: str, config: Crawl, run: Run) -> None:
    try:
        from datasets import load_dataset
    except ImportError:
        raise MissingExtra(f"the dataset {name}", extra="hub") from None
    try:
        rows = load_dataset(name, split="train", streaming=True)
        documents = [_hub_document(name, row) for row in rows.take(config.pages)]
    except (OSError, ValueError) as error:
        raise InputError(f"dataset {name}: {error}", hint="is the name right, and is there a network?") from error
    count = write_documents(run.out / "documents.parquet", documents)
    run.count(pages=count, bytes=sum(len(document.text.encode()) for document in documents))


def _hub_document(name: str, row: dict[str, object]) -> Document:
    text = row.get("text")
    if not isinstance(text, str):
        raise InputError(f"dataset {name} has no text column `text`", hint=f"its columns are: {', '.join(row)}")
    url = str(row.get("url") or "")
    return Document(document_id(url, text.encode()), text, name, url)


# -- a site ---------------------------------------------------------------------------------------------------------


class Barred(HornbookError):
    """The site's robots.txt could not be read, so that nothing may be fetched (RFC 9309, 2.3.1.4)."""


@dataclass
class Site:
    """A breadth-first crawl of the hosts of some URLs.

    The archive in scratch is its journal: what is there is not fetched again. What failed is, and so is everything
    after an attempt that came to nothing.
    """

    config: Crawl
    run: Run
    start: list[str]
    journal: dict[str, deque[Page | str]] = field(default_factory=lambda: defaultdict(deque))
    failures: list[dict[str, str]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    robots: dict[str, Protego] = field(default_factory=dict)
    last: float = 0.0

    def crawl(self) -> None:
        try:
            self._crawl()
        except (Barred, EmptyInput):
            # Or the next attempt would read the same answers from it, and end so for ever.
            (self.run.scratch / ARCHIVE).unlink()
            raise

    def _crawl(self) -> None:
        archive, hosts = self.run.scratch / ARCHIVE, {_host(url) for url in self.start}
        with ExitStack() as stack:
            self.archive = stack.enter_context(ArchiveWriter(archive, software=self.config.agent))
            self._replay()
            stack.enter_context(serving(self.config.server, self.start[0], self.run.scratch / "server.log"))
            headers = {"User-Agent": self.config.agent, "Accept": ACCEPT, "Accept-Encoding": "gzip"}
            self.client = stack.enter_context(
                httpx.Client(headers=headers, timeout=self.config.timeout, trust_env=not self.config.server)
            )
            for host in sorted(hosts):
                self.robots[host] = self._robots(host)
            fetched = self._walk()
        shutil.copyfile(archive, self.run.out / ARCHIVE)
        self._tell(fetched)

    def _replay(self) -> None:
        for url, raw in read_exchanges(self.run.scratch / ARCHIVE):
            self.journal[url].append(self._page(url, raw))

    def _walk(self) -> int:
        """Fetch page after page, the nearest to the start first. Returns how many."""
        queue, seen = deque(self.start), set(self.start)
        fetched, size = 0, 0
        with self.run.progress("crawl", total=self.config.pages, unit="pages") as bar:
            while queue and fetched < self.config.pages and size < self.config.total_megabytes * 1e6:
                url = queue.popleft()
                if not self.robots[_host(url)].can_fetch(url, self.config.agent):
                    self.reasons["robots.txt"] += 1
                    continue
                page = self._visit(url)
                fetched += 1
                bar.advance()
                if isinstance(page, str):
                    self.reasons[page.partition(":")[0]] += 1
                    continue
                size += len(page.body)
                self.reasons[f"status {page.status}"] += 1
                new = [link for link in links(page) if link not in seen and self._wanted(link)]
                seen.update(new)
                # A redirect is the same step of the walk, so its target comes next.
                queue.extendleft(new) if 300 <= page.status < 400 else queue.extend(new)
        self.run.count(not_followed=len(queue))
        return fetched

    def _wanted(self, url: str) -> bool:
        chosen = not self.config.include or any(fnmatchcase(url, glob) for glob in self.config.include)
        return chosen and _host(url) in self.robots and not any(fnmatchcase(url, glob) for glob in self.config.exclude)

    def _visit(self, url: str) -> Page | str:
        """A page, or why there is none: from the journal, else from the network."""
        if self.journal[url]:
            return self.journal[url].popleft()
        self._wait(url)
        try:
            return self._fetch(url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = f"{type(error).__name__}: {error}"
            self.failures.append({"url": url, "reason": reason})
            return reason

    def _wait(self, url: str) -> None:
        robots = self.robots.get(_host(url))
        asked = robots.crawl_delay(self.config.agent) if robots else None
        delay = max(1 / self.config.rate, asked or 0.0)
        time.sleep(max(0.0, self.last + delay - time.monotonic()))
        self.last = time.monotonic()

    def _fetch(self, url: str) -> Page | str:
        limit, start = int(self.config.page_megabytes * 1e6), time.monotonic()
        body, truncated = bytearray(), ""
        self.client.cookies.clear()  # a page must not depend on those before it: after a kill they are not fetched
        with self.client.stream("GET", url) as response:
            address = _address(response)  # while the connection is open
            for chunk in response.iter_raw():
                body += chunk
                late = time.monotonic() - start > self.config.timeout
                truncated = "length" if len(body) > limit else "time" if late else ""
                if truncated:
                    break
            exchange = _exchange(url, response, address, bytes(body), truncated)
        self.archive.append(exchange)
        return self._page(url, response_block(exchange))

    def _page(self, url: str, raw: bytes) -> Page | str:
        limit = int(self.config.page_megabytes * 1e6)
        try:
            status, headers, body = parse_response(raw, limit)
        except Undecodable as error:
            return f"unreadable: {error}"
        return Page(url, "", "", status, headers, body, "response")

    def _robots(self, host: str) -> Protego:
        """The rules of a host. None there (4xx) allows all; none to be had (5xx, no answer) allows nothing."""
        page = self._visit(f"{host}/robots.txt")
        for _ in range(ROBOTS_REDIRECTS):
            if isinstance(page, str) or not 300 <= page.status < 400 or not (target := links(page)):
                break
            page = self._visit(target[0])
        if isinstance(page, str) or 300 <= page.status < 400 or page.status >= 500:
            why = page if isinstance(page, str) else f"status {page.status}"
            hint = "a site whose robots.txt cannot be had may not be crawled; is it up?"
            raise Barred(f"{host}/robots.txt: {why}", hint=hint)
        rules = page.body.decode("utf-8", errors="replace") if page.status == 200 else ""
        return Protego.parse(rules)

    def _tell(self, fetched: int) -> None:
        good, outcomes = self.reasons["status 200"], ", ".join(f"{r}: {n:,}" for r, n in self.reasons.most_common())
        if not good:
            hint = "start from a page that answers with 200 and that robots.txt allows"
            raise EmptyInput(f"{self.config.source}: no page was gathered ({outcomes})", hint=hint)
        (self.run.out / FAILURES).write_text("".join(json.dumps(row) + "\n" for row in self.failures))
        size, visits = 0, list[tuple[str, str]]()
        for url, raw in read_exchanges(self.run.out / ARCHIVE):
            size += len(raw)
            visits.append((url, lasting(raw)))
        self.run.count(pages=fetched, pages_ok=good, bytes=size)
        self.run.result(pages=fetched, outcomes=dict(sorted(self.reasons.items())))
        self.run.contents(_hash([visits, self.failures]))
        self.run.say(f"{fetched:,} pages, {size / 1e6:.1f} MB; {outcomes}")


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _exchange(url: str, response: httpx.Response, address: str, body: bytes, truncated: str) -> Exchange:
    request, version = response.request, response.http_version
    return Exchange(
        url,
        _now(),
        f"{request.method} {request.url.raw_path.decode()} HTTP/1.1",
        _text(request.headers),
        f"{version} {response.status_code} {response.reason_phrase}",
        _text(response.headers),
        body,
        address,
        truncated,
    )


def _address(response: httpx.Response) -> str:
    stream = response.extensions.get("network_stream")
    address = stream.get_extra_info("server_addr") if stream else None
    return str(address[0]) if address else ""


def _text(headers: httpx.Headers) -> list[tuple[str, str]]:
    # The chunks are joined before they are archived; like Common Crawl, keep the header under a name of its own.
    names = {"transfer-encoding": "X-Crawler-Transfer-Encoding"}
    pairs = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in headers.raw]
    return [(names.get(key.lower(), key), value) for key, value in pairs]


def _now() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
