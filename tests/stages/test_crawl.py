from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hornbook.config import build
from hornbook.errors import EmptyInput, HornbookError, InputError, MissingExtra, UsageError
from hornbook.execute import execute
from hornbook.manifest import read_manifest
from hornbook.stages import load
from hornbook.stages.crawl import Crawl
from hornbook.stages.curate import Curate
from hornbook.text.archives.warc import read_archive
from hornbook.text.document import Malformed
from hornbook.text.local_server import serving

LINKS = {
    "/": ["/a", "/b#part", "/private/x", "/missing", "http://elsewhere.invalid/", "/old", "/slow", "/image"],
    "/a": ["/c", "/", "/huge"],
    "/b": ["/d", "/c?x=1"],
    "/old": ["/new"],
}
ROBOTS = "User-agent: *\nDisallow: /private/\n"


class Site(BaseHTTPRequestHandler):
    """A site of a few pages; `seen` is what was asked for."""

    seen: list[str]
    cookies: list[str]
    robots: tuple[int, str]
    text: str
    delay: float
    date: str

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.cookies.append(self.headers.get("Cookie", ""))
        time.sleep(self.delay)
        if self.path == "/robots.txt":
            place = {"Location": self.robots[1]} if self.robots[0] == 301 else {}
            self.answer(self.robots[0], self.robots[1].encode(), "text/plain", **place)
        elif self.path.startswith("/rules/") and (left := int(self.path[7:])):
            self.answer(301, b"", "text/plain", Location=f"/rules/{left - 1}")
        elif self.path == "/rules/0":
            self.answer(200, ROBOTS.encode(), "text/plain")
        elif self.path == "/cookie":
            self.answer(200, b'<a href="/a">', "text/html", **{"Set-Cookie": "visited=yes"})
        elif self.path == "/long":
            self.answer(200, f'<a href="/{"x" * 70_000}"></a><a href="/c">'.encode(), "text/html")
        elif self.path == "/missing":
            self.answer(404, b"no such page", "text/html")
        elif self.path == "/old":
            self.answer(301, b"", "text/html", Location="/new")
        elif self.path == "/slow":
            self.connection.close()
        elif self.path == "/huge":
            self.answer(200, b"x" * 300_000, "text/html")
        elif self.path == "/image":
            self.answer(200, b'\x89PNG <a href="/never">', "image/png")
        else:
            links = "".join(f'<a href="{link}">{link}</a> ' for link in LINKS.get(self.path, []))
            self.answer(
                200, f"<html><title>{self.path}</title><p>{self.text} {self.path}</p>{links}".encode(), "text/html"
            )

    def answer(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return self.date or super().date_time_string(timestamp)

    def log_message(self, *arguments: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def site() -> Iterator[Any]:
    fields = {"robots": (200, ROBOTS), "text": "Words of page", "delay": 0.0, "date": ""}
    handler = type("Handler", (Site,), {"seen": [], "cookies": [], **fields})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def crawl(runs: Path, **options: Any) -> Path:
    return execute(load("crawl"), Crawl(**{"rate": 1000.0} | options), runs=runs)


def urls(run: Path, site: Any) -> list[str]:
    pages = read_archive(run / "crawl.warc.gz")
    return [page.url.removeprefix(site.url) for page in pages if not isinstance(page, Malformed)]


def test_a_site_is_walked_breadth_first_and_everything_is_accounted_for(site: Any, tmp_path: Path) -> None:
    run = crawl(tmp_path, source=site.url, page_megabytes=0.1)
    order = ["/robots.txt", "/", "/a", "/b", "/missing", "/old", "/new", "/image", "/c", "/huge", "/d", "/c?x=1"]
    assert urls(run, site) == order
    manifest = read_manifest(run)
    assert manifest.results["outcomes"] == {
        "RemoteProtocolError": 1,
        "robots.txt": 1,
        "status 200": 8,
        "status 301": 1,
        "status 404": 1,
        "unreadable": 1,
    }
    assert "/private/x" not in site.seen
    assert "/never" not in site.seen
    (failure,) = (run / "failures.jsonl").read_text().splitlines()
    assert json.loads(failure)["url"] == f"{site.url}/slow"


def test_the_archive_holds_what_went_over_the_wire(site: Any, tmp_path: Path) -> None:
    run = crawl(tmp_path, source=f"{site.url}/c", agent="tester/1.0")
    text = gzip.decompress((run / "crawl.warc.gz").read_bytes()).decode()
    assert text.startswith("WARC/1.1\r\nWARC-Type: warcinfo\r\n")
    assert "GET /c HTTP/1.1\r\n" in text
    assert "\r\nUser-Agent: tester/1.0\r\n" in text
    assert "HTTP/1.0 200 OK\r\nServer: BaseHTTP" in text
    assert "WARC-IP-Address: 127.0.0.1\r\n" in text


def test_globs_and_limits(site: Any, tmp_path: Path) -> None:
    chosen = crawl(tmp_path, source=site.url, include=("*/a", "*/c", "*/b"), exclude=("*/b",))
    assert urls(chosen, site) == ["/robots.txt", "/", "/a", "/c"]
    assert urls(crawl(tmp_path, source=site.url, pages=2), site) == ["/robots.txt", "/", "/a"]
    small = crawl(tmp_path, source=f"{site.url}/huge {site.url}/a {site.url}/b", total_megabytes=0.2)
    assert urls(small, site) == ["/robots.txt", "/huge"]


def test_an_unchanged_site_has_the_same_contents_and_a_changed_one_has_not(site: Any, tmp_path: Path) -> None:
    def contents(name: str) -> str:
        return read_manifest(crawl(tmp_path / name, source=f"{site.url}/c")).contents

    first = contents("one")
    time.sleep(1.1)  # the Date header is another one
    assert contents("two") == first
    site.text = "Other words"
    assert contents("three") != first


def test_politeness(site: Any, tmp_path: Path) -> None:
    site.robots = (200, "User-agent: *\nCrawl-delay: 0.2\n")
    start = time.monotonic()
    crawl(tmp_path, source=site.url, pages=3)
    assert time.monotonic() - start > 0.5


@pytest.mark.parametrize("status", [404, 500])
def test_no_robots_txt_allows_all_and_a_broken_one_nothing(status: int, site: Any, tmp_path: Path) -> None:
    site.robots = (status, ROBOTS)
    if status == 404:
        assert "/private/x" in urls(crawl(tmp_path, source=site.url), site)
        return
    with pytest.raises(HornbookError, match=r"/robots.txt: status 500"):
        crawl(tmp_path, source=site.url)


def test_a_site_that_was_down_is_crawled_when_it_is_up(site: Any, tmp_path: Path) -> None:
    site.robots = (503, "")
    with pytest.raises(HornbookError, match=r"/robots.txt: status 503"):
        crawl(tmp_path, source=f"{site.url}/c")
    site.robots = (200, "User-agent: *\nDisallow: /")
    with pytest.raises(EmptyInput, match=r"no page was gathered \(robots.txt: 1\)"):
        crawl(tmp_path, source=f"{site.url}/c")
    site.robots = (200, ROBOTS)
    assert urls(crawl(tmp_path, source=f"{site.url}/c"), site) == ["/robots.txt", "/c"]


@pytest.mark.parametrize("redirects", range(1, 8))
def test_a_redirected_robots_txt_counts_where_it_is(redirects: int, site: Any, tmp_path: Path) -> None:
    site.robots = (301, f"/rules/{redirects - 1}")
    if redirects > 5:
        with pytest.raises(HornbookError, match=r"/robots.txt: status 301"):
            crawl(tmp_path, source=site.url)
        return
    run = crawl(tmp_path, source=f"{site.url}/a {site.url}/private/x", pages=3)
    hops = [f"/rules/{left}" for left in reversed(range(redirects))]
    assert urls(run, site) == ["/robots.txt", *hops, "/a", "/c", "/"]


def test_a_page_does_not_depend_on_the_cookies_of_others(site: Any, tmp_path: Path) -> None:
    crawl(tmp_path, source=f"{site.url}/cookie", pages=3)
    assert site.seen == ["/robots.txt", "/cookie", "/a", "/c"]
    assert set(site.cookies) == {""}


def test_a_link_that_cannot_be_asked_for_is_a_failure(site: Any, tmp_path: Path) -> None:
    run = crawl(tmp_path, source=f"{site.url}/long")
    assert urls(run, site) == ["/robots.txt", "/long", "/c"]
    assert read_manifest(run).results["outcomes"] == {"InvalidURL": 1, "status 200": 2}


def test_a_source_that_is_no_url_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"source: http://\[::1 is no URL"):
        crawl(tmp_path, source="http://[::1")


def test_no_page_is_an_error_that_says_what_came_instead(site: Any, tmp_path: Path) -> None:
    with pytest.raises(EmptyInput, match=r"no page was gathered \(status 404: 1\)"):
        crawl(tmp_path, source=f"{site.url}/missing")
    with pytest.raises(EmptyInput, match=r"no page was gathered \(robots.txt: 1\)"):
        crawl(tmp_path, source=f"{site.url}/private/y")
    with pytest.raises(HornbookError, match=r"http://127.0.0.1:1/robots.txt: ConnectError"):
        crawl(tmp_path, source="http://127.0.0.1:1/")
    assert not list(tmp_path.glob("crawl-*"))


COMMAND = """
import sys
from pathlib import Path
from hornbook.execute import execute
from hornbook.stages import load
from hornbook.stages.crawl import Crawl
print(execute(load("crawl"), Crawl(source=sys.argv[1], rate=1000.0), runs=Path(sys.argv[2])))
"""


def test_kill_and_run_again_ends_with_the_same_bytes(site: Any, tmp_path: Path) -> None:
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    site.date = "Tue, 14 Nov 2023 22:13:20 GMT"

    def start(runs: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", COMMAND, site.url, str(tmp_path / runs)]
        return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    assert start("whole").wait() == 0
    whole, asked = next((tmp_path / "whole").glob("crawl-*")), len(site.seen)
    site.seen.clear()
    site.delay = 0.3
    for pages in (4, 8):
        process = start("killed")
        while len(site.seen) < pages and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not list((tmp_path / "killed").glob("crawl-*"))
    site.delay = 0.0
    assert start("killed").wait() == 0
    killed = next((tmp_path / "killed").glob("crawl-*"))
    # At most the two pages that were under way when it was killed, and the one that failed once more each time.
    assert len(site.seen) <= asked + 4
    for name in ("crawl.warc.gz", "failures.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert read_manifest(killed).contents == read_manifest(whole).contents


def test_files_are_named_not_copied(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "x"}\n')
    (folder / "b.txt").write_text("y")
    (folder / "c.pdf").write_text("y")
    run = crawl(tmp_path / "runs", source=str(folder))
    rows = json.loads((run / "sources.json").read_text())
    assert [(row["name"], row["size"], len(row["sha256"])) for row in rows] == [("a.jsonl", 14, 64), ("b.txt", 1, 64)]
    assert [row["path"] for row in rows] == [str(folder / name) for name in ("a.jsonl", "b.txt")]
    assert read_manifest(run).counts == {"files": 2, "files_left_out": 1, "bytes": 15}
    as_glob = read_manifest(crawl(tmp_path / "globbed", source=f"{folder}/*"))
    assert as_glob.counts == {"files": 2, "files_left_out": 1, "bytes": 15}
    (folder / "b.txt").write_text("z")
    assert crawl(tmp_path / "runs", source=str(folder)) != run


def test_where_files_lie_changes_nothing_downstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        Path("a.jsonl").write_text('{"text": "x"}\n')
        run = crawl(Path("runs"), source="a.jsonl")
        found.append((run.name, (run / "manifest.json").read_bytes()))
        assert 'source = "a.jsonl"' in (run / "config.toml").read_text()
    assert found[0] == found[1]


def test_files_are_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text('{"text": "x"}\n')
    run = crawl(Path("runs"), source="a.jsonl")
    (row,) = json.loads((run / "sources.json").read_text())
    assert row["path"] == "../../a.jsonl"
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert execute(load("curate"), Curate(crawl=".." / run, filters={}), runs=Path("../runs")).is_dir()


@pytest.mark.parametrize("source", ["nothing/there/at.all", "no-such-file.jsonl", "no*.jsonl"])
def test_a_missing_file_is_named(source: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file or folder"):
        crawl(tmp_path, source=f"{tmp_path}/{source}")


def test_a_folder_with_nothing_to_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"PNG")
    with pytest.raises(InputError, match="holds no readable file"):
        crawl(tmp_path, source=str(tmp_path))


@pytest.mark.parametrize("source", ["", " "])
def test_no_source_is_not_the_whole_folder(source: str) -> None:
    with pytest.raises(UsageError, match="source is empty"):
        Crawl(source=source)


def test_a_dataset_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match="the dataset owner/name"):
        crawl(tmp_path, source="owner/name")


@pytest.mark.parametrize("option", ["pages", "rate", "timeout", "page_megabytes"])
def test_limits_are_positive(option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} is 0"):
        build(Crawl, {"source": "x", option: 0}, where="crawl")


SERVER = "python -m http.server --bind 127.0.0.1 {port}"


def free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        return server.server_port


def test_a_server_runs_in_an_empty_folder_while_it_is_crawled(tmp_path: Path) -> None:
    port = free_port()
    run = crawl(tmp_path, source=f"http://127.0.0.1:{port}/", server=SERVER.format(port=port))
    (page,) = [p for p in read_archive(run / "crawl.warc.gz") if not isinstance(p, Malformed) and p.status == 200]
    assert b"Directory listing" in page.body
    assert b"<li>" not in page.body
    with pytest.raises(HornbookError, match="ConnectError"):
        crawl(tmp_path / "later", source=f"http://127.0.0.1:{port}/")


def test_a_server_that_fails_is_quoted(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    log = tmp_path / "log"
    command = "python -c \"print('no tea'); raise SystemExit(3)\""
    with pytest.raises(InputError, match="ended with exit code 3") as caught, serving(command, url, log):
        pass
    assert caught.value.hint == "it said: no tea"
    with pytest.raises(UsageError, match="No closing quotation"), serving("python -c 'print", url, log):
        pass
    with pytest.raises(UsageError, match="no-such-program"), serving("no-such-program", url, log):
        pass
