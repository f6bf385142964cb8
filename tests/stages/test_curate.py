from __future__ import annotations

import dataclasses
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from hornbook.errors import Damaged, EmptyInput, InputError, UsageError
from hornbook.execute import execute
from hornbook.manifest import Manifest, read_manifest
from hornbook.stages import load
from hornbook.stages.crawl import Crawl
from hornbook.stages.curate import Curate
from hornbook.text.archives.writer import ArchiveWriter, Exchange
from hornbook.text.document import Document, order_key, read_documents

DATA = Path(os.environ.get("HORNBOOK_DATA", Path(__file__).parents[3] / "shared" / "data"))
PLAIN: dict[str, Any] = {"filters": {"gopher_length": {"min_words": 5}}}
THINGS = ("lamp", "kettle", "ladder", "basket", "hammer", "mirror", "saddle", "candle", "bucket", "pillow")


def prose(n: int) -> str:
    one, two, three = THINGS[n % 10], THINGS[n // 10 % 10], THINGS[(3 * n + 1) % 10]
    return (
        f"The {one} of house {n} was made from {two} wood in the year {1700 + n}. "
        f"Nobody but the {three} maker knew of it, and he told {n + 2} people. "
        f"They all went to see the {one}, and they found {n * 7} {two}s beside it."
    )


def page(url: str, body: str, *, status: str = "200 OK", kind: str = "text/html", **headers: str) -> Exchange:
    named = [("Content-Type", kind), *((key.replace("_", "-"), value) for key, value in headers.items())]
    return Exchange(url, "2024-05-06T07:08:09Z", "GET / HTTP/1.1", [], f"HTTP/1.1 {status}", named, body.encode())


def html(*paragraphs: str, head: str = "") -> str:
    return f"<html><head>{head}</head><body>{''.join(f'<p>{text}</p>' for text in paragraphs)}</body></html>"


FOOTER = "All of these pages belong to the museum of household things."


@pytest.fixture
def crawled(tmp_path: Path) -> Path:
    """A folder as `crawl` makes it, of thirty good pages and some others."""
    folder = tmp_path / "crawl"
    folder.mkdir()
    with ArchiveWriter(folder / "crawl.warc.gz", software="test") as archive:
        archive.append(page("http://x.org/robots.txt", "User-agent: *", kind="text/plain"))
        for n in range(30):
            archive.append(page(f"http://x.org/{'old' if n < 10 else 'new'}/{n}", html(prose(n), FOOTER)))
        archive.append(page("https://www.x.org/new/11/", html(prose(99))))
        archive.append(page("http://x.org/copy", html(prose(12), FOOTER)))
        archive.append(page("http://x.org/near", html(f"{prose(13)} {prose(41)} {prose(52)}")))
        archive.append(page("http://x.org/nearly", html(f"{prose(13)} {prose(41)} {prose(52)} And so on.")))
        archive.append(page("http://x.org/short", html("Too short.")))
        archive.append(page("http://x.org/gone", html("Nothing."), status="404 Not Found"))
        archive.append(page("http://x.org/cat.png", "PNG", kind="image/png"))
        archive.append(page("http://x.org/no", html(prose(55), head='<meta name="robots" content="noai">')))
        archive.append(page("http://x.org/empty", html()))
        archive.append(page("http://x.org/mail", html(f"{prose(56)} Write to jo@example.org or +49 30 1234567.")))
    return folder


def curate(crawl: Path, runs: Path, **options: Any) -> Path:
    return execute(load("curate"), Curate(crawl=crawl, **options), runs=runs)


def kept(run: Path) -> dict[str, Document]:
    return {document.url or document.id: document for document in read_documents(run / "documents-00000.parquet")}


def removed(run: Path) -> dict[str, str]:
    return {row["url"] or row["id"]: row["reason"] for row in pq.read_table(run / "removed-00000.parquet").to_pylist()}


def test_every_page_is_kept_or_removed_with_its_reason(crawled: Path, tmp_path: Path) -> None:
    run = curate(crawled, tmp_path / "runs", **PLAIN)
    good, gone = kept(run), removed(run)
    assert not set(good) & set(gone)
    assert len(good) + len(gone) == 41
    assert gone["http://x.org/robots.txt"] == "content_type: robots.txt"
    assert gone["http://x.org/gone"] == "http_status: 404"
    assert gone["http://x.org/cat.png"] == "content_type: image/png"
    assert gone["http://x.org/no"] == "opt_out: meta robots says noai"
    assert gone["http://x.org/empty"] == "no_text: nothing is left after extraction"
    assert gone["http://x.org/short"] == "gopher_length: 2 words, fewer than 5"
    pairs = [("https://www.x.org/new/11/", "http://x.org/new/11"), ("http://x.org/copy", "http://x.org/new/12")]
    for one, other in [*pairs, ("http://x.org/near", "http://x.org/nearly")]:
        assert (one in gone) is not (other in gone)
    rules = [gone.get(one) or gone[other] for one, other in [*pairs, ("http://x.org/near", "http://x.org/nearly")]]
    assert [rule.partition(":")[0] for rule in rules] == ["duplicate_url", "duplicate_text", "near_duplicate"]


def test_documents_are_ordered_by_a_keyed_hash_of_their_id(crawled: Path, tmp_path: Path) -> None:
    ids = [document.id for document in kept(curate(crawled, tmp_path / "runs", seed=3, **PLAIN)).values()]
    assert ids == sorted(ids, key=lambda id: order_key(id, seed=3))


def test_any_number_of_workers_gives_the_same_bytes(crawled: Path, tmp_path: Path) -> None:
    runs = [curate(crawled, tmp_path / str(n), workers=n, **PLAIN) for n in (1, 3)]
    names = ["documents-00000.parquet", "removed-00000.parquet", "clusters.parquet", "quarantine.jsonl", "card.json"]
    assert len({run.name for run in runs}) == 1
    for name in names:
        assert len({(run / name).read_bytes() for run in runs}) == 1, name


COMMAND = """
import sys
from pathlib import Path
from hornbook.execute import execute
from hornbook.stages import load
from hornbook.stages.curate import Curate
if __name__ == "__main__":
    crawl, runs, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    execute(load("curate"), Curate(crawl=crawl, filters={}, workers=workers), runs=runs)
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `crawl` makes it, of so many archives that there is work for several processes."""
    folder = tmp_path_factory.mktemp("archives") / "crawl"
    folder.mkdir()
    for part in range(9):
        with ArchiveWriter(folder / f"{part}.warc.gz", software="test") as archive:
            for n in range(40 * part, 40 * part + 40):
                archive.append(page(f"http://x.org/{n}", html(*(prose(n + k) for k in range(20)))))
    return folder


@pytest.fixture(scope="module")
def alone(archives: Path) -> Manifest:
    """What one process makes of them."""
    assert _start(archives, archives.parent / "alone", 1).wait() == 0
    return _made(archives.parent / "alone")


def _made(runs: Path) -> Manifest:
    return read_manifest(next(runs.glob("curate-*")))


def _start(folder: Path, *words: object) -> subprocess.Popen[str]:
    script = folder.parent / "command.py"
    script.write_text(COMMAND)
    command = [sys.executable, str(script), str(folder), *map(str, words)]
    with (folder.parent / "told.txt").open("w") as told:
        return subprocess.Popen(command, stderr=told, text=True, start_new_session=True)


def _children(pid: int) -> list[str]:
    """The worker processes of a command (Linux)."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return path.read_text().split()[1:] if path.exists() else []


@pytest.mark.parametrize("made", ["judge/00003.json", "scattered-2/*.json", "write/*.json"])
def test_kill_and_run_again_with_other_workers_ends_with_the_same_bytes(
    made: str, archives: Path, alone: Manifest, tmp_path: Path
) -> None:
    killed = _start(archives, tmp_path, 2)
    while not list(tmp_path.glob(f".tmp-*/scratch/work/{made}")) and killed.poll() is None:
        time.sleep(0.005)
    workers = _children(killed.pid)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in workers):
            break
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers), "workers end with their parent"
    assert _start(archives, tmp_path, 1).wait() == 0
    again = _made(tmp_path)
    assert (again.identity, again.files) == (alone.identity, alone.files)


RAY = """
import os, sys
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
cluster = Cluster()
for _ in range(2):
    cluster.add_node(num_cpus=1, include_dashboard=False)
ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
from hornbook.execute import execute
from hornbook.stages import load
from hornbook.stages.curate import Curate
os.chdir(sys.argv[1])
execute(load("curate"), Curate(crawl=Path(sys.argv[2]), filters={}, engine="ray"), runs=Path("."))
assert len(ray.nodes()) == 2
"""


def test_ctrl_c_ends_the_run_and_not_its_workers(archives: Path, tmp_path: Path) -> None:
    process = _start(archives, tmp_path, 2)
    while len(_children(process.pid)) < 2 and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 1
    told = (archives.parent / "told.txt").read_text()
    assert "Interrupted: " in told
    assert "KeyboardInterrupt" not in told
    assert "BrokenProcessPool" not in told


def test_an_unchanged_site_that_is_crawled_again_has_the_same_contents(tmp_path: Path) -> None:
    def contents(day: int, text: str) -> tuple[str, str, dict[str, str]]:
        folder = tmp_path / f"crawl{day}{len(text)}"
        folder.mkdir()
        with ArchiveWriter(folder / "crawl.warc.gz", software="test") as archive:
            one = page("http://x.org/a", html(text), Date=f"day {day}")
            archive.append(dataclasses.replace(one, date=f"2024-05-0{day}T07:08:09Z"))
        run = curate(folder, tmp_path / "runs", filters={})
        (document,) = read_documents(run / "documents-00000.parquet")
        return read_manifest(run).contents, document.created, document.metadata

    first, again, other = contents(1, prose(1)), contents(2, prose(1)), contents(3, prose(12))
    assert first[0] == again[0] != other[0]
    assert first[1] != again[1]
    assert first[2] == again[2]


def test_personal_data_is_masked_and_told(crawled: Path, tmp_path: Path) -> None:
    run = curate(crawled, tmp_path / "runs", **PLAIN)
    document = kept(run)["http://x.org/mail"]
    assert document.text.endswith("Write to <EMAIL_ADDRESS> or <PHONE_NUMBER>.")
    assert document.metadata["masked"] == "email=1 phone=1"
    assert json.loads((run / "card.json").read_text())["masked"] == {"email": 1, "phone": 1}
    unmasked = curate(crawled, tmp_path / "runs", mask=(), **PLAIN)
    assert "jo@example.org" in kept(unmasked)["http://x.org/mail"].text


def test_lines_that_pages_share_are_dropped_and_clusters_told(crawled: Path, tmp_path: Path) -> None:
    run = curate(crawled, tmp_path / "runs", **PLAIN)
    assert sum(FOOTER in document.text for document in kept(run).values()) == 3
    (line,) = json.loads((run / "card.json").read_text())["lines"]["examples"]
    assert line == {"line": FOOTER, "times": 26}
    clusters = pq.read_table(run / "clusters.parquet").to_pylist()
    assert len(clusters) == 2
    assert len({row["survivor"] for row in clusters}) == 1


def test_dedup_can_be_chosen(crawled: Path, tmp_path: Path) -> None:
    assert len(kept(curate(crawled, tmp_path / "runs", dedup={}, **PLAIN))) == 35
    strict = {"line": {"times": 1, "min_characters": 5, "min_left": 0.99}}
    gone = removed(curate(crawled, tmp_path / "runs", dedup=strict, **PLAIN))
    assert sum(reason.startswith("duplicate_lines: ") for reason in gone.values()) > 20


def test_sources_and_their_mixture(crawled: Path, tmp_path: Path) -> None:
    sources = {"old": "*/old/*", "new": "*"}
    whole = curate(crawled, tmp_path / "runs", sources=sources, **PLAIN)
    sizes = {row["source"]: row["documents"] for row in read_manifest(whole).results["table"]}
    assert sizes == {"new": 22, "old": 10}
    mixed = curate(crawled, tmp_path / "runs", sources=sources, mixture={"old": 2.0, "new": 1.0}, **PLAIN)
    sizes = {row["source"]: row["documents"] for row in read_manifest(mixed).results["table"]}
    assert sizes["old"] == 10
    assert 1 <= sizes["new"] <= 9
    assert any(reason.startswith("mixture: ") for reason in removed(mixed).values())


def test_a_blocklist_removes(crawled: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("Household Things\n")
    options = {"blocklist": tmp_path / "list.txt", **PLAIN}
    assert len(kept(curate(crawled, tmp_path / "runs", **options))) == 3


LICENSE = '<link rel="license" href="https://creativecommons.org/licenses/by/4.0/">'


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    """A crawl of two sites that say different things of being learned from."""
    folder = tmp_path / "sites"
    folder.mkdir()
    with ArchiveWriter(folder / "sites.warc.gz", software="test") as archive:
        for n, path in enumerate(("open", "private", "licensed")):
            head = LICENSE if path == "licensed" else ""
            archive.append(page(f"http://a.org/{path}", html(prose(20 * n + 3), head=head)))
        archive.append(page("http://b.org/reserved", html(prose(71))))
        archive.append(page("http://b.org/offered", html(prose(72)), TDM_Reservation="0"))
        # Behind the pages, which makes no difference.
        rules = "User-agent: GPTBot\nDisallow: /private\n"
        archive.append(page("http://a.org/robots.txt", rules, kind="text/plain"))
        tdm = '[{"location": "/*", "tdm-reservation": 1}]'
        archive.append(page("http://b.org/.well-known/tdmrep.json", tdm, kind="application/json"))
    return folder


def test_what_sites_say_of_being_learned_from_is_asked_for(sites: Path, tmp_path: Path) -> None:
    assert len(kept(curate(sites, tmp_path / "runs", **PLAIN))) == 5
    run = curate(sites, tmp_path / "runs", robots=True, **PLAIN)
    assert set(kept(run)) == {"http://a.org/open", "http://a.org/licensed", "http://b.org/offered"}
    gone = removed(run)
    assert gone["http://a.org/private"] == "robots_opt_out: robots.txt disallows GPTBot"
    assert gone["http://b.org/reserved"].startswith("opt_out: ")
    (tmp_path / "agents.txt").write_text("OtherBot\n")
    other = curate(sites, tmp_path / "runs", robots=True, agents=tmp_path / "agents.txt", **PLAIN)
    assert "http://a.org/private" in kept(other)


def test_licences_takedown_and_domains(sites: Path, tmp_path: Path) -> None:
    run = curate(sites, tmp_path / "runs", licenses=("CC-BY-*",), **PLAIN)
    assert {url: document.metadata["license"] for url, document in kept(run).items()} == {
        "http://a.org/licensed": "CC-BY-4.0"
    }
    assert json.loads((run / "card.json").read_text())["licenses"]["CC-BY-4.0"]["documents"] == 1
    (tmp_path / "takedown.txt").write_text("http://a.org/pri*\n")
    (tmp_path / "domains.txt").write_text("b.org\n")
    lists = {"takedown": tmp_path / "takedown.txt", "domains": tmp_path / "domains.txt"}
    run = curate(sites, tmp_path / "runs", **lists, **PLAIN)
    assert set(kept(run)) == {"http://a.org/open", "http://a.org/licensed"}
    assert {reason.partition(":")[0] for reason in removed(run).values()} >= {"takedown", "domain_list"}


def test_lines_are_cut_and_personal_data_is_tagged_or_removes(crawled: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("jo@example\n")
    options = {"mask": (), "tag": ("email",), "dedup": {}, **PLAIN}
    document = kept(curate(crawled, tmp_path / "runs", **options))["http://x.org/mail"]
    ((start, end, kind),) = json.loads(document.metadata["personal_data"])
    assert (document.text.encode()[start:end], kind) == (b"jo@example.org", "email")
    options |= {"clean": {"blocklist_lines": {}, "c4_lines": {}}, "blocklist": tmp_path / "list.txt", "tag": ()}
    run = curate(crawled, tmp_path / "runs", **options)
    assert "http://x.org/mail" not in kept(run), "it has no other line"
    strict = {"filters": {"personal_data": {"kinds": ("email",)}}, "mask": (), "dedup": {}}
    assert removed(curate(crawled, tmp_path / "runs", **strict))["http://x.org/mail"].startswith("personal_data: ")


def test_evaluation_sets_and_classifiers_are_filters(crawled: Path, tmp_path: Path) -> None:
    (tmp_path / "eval.jsonl").write_text(json.dumps({"question": prose(14)}) + "\n")
    run = curate(crawled, tmp_path / "runs", decontaminate={"museum": tmp_path / "eval.jsonl"}, dedup={}, **PLAIN)
    assert removed(run)["http://x.org/new/14"].startswith("contaminated: ")
    assert json.loads((run / "card.json").read_text())["contamination"]["museum"]["texts"] == 1
    rows = [{"text": prose(n), "good": "yes"} for n in range(40)] + [
        {"text": f"Buy {THINGS[n % 10]} now, cheap {THINGS[n // 10]} for all!!! Click {n} here.", "good": "no"}
        for n in range(40)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = load("classify")
    given = stage.config(positives=str(tmp_path / "rows.jsonl"), label="good=yes", name="prose")
    model = execute(stage, given, runs=tmp_path / "runs")
    scored = {"classifiers": {"prose": model}, "dedup": {}}
    assert len(kept(curate(crawled, tmp_path / "runs", filters={"prose": {"min_score": 0.1}}, **scored))) > 30
    with pytest.raises(EmptyInput) as caught:
        curate(crawled, tmp_path / "runs", filters={"prose": {"max_score": 0.01}}, **scored)
    assert caught.value.hint.startswith("classifier prose removed 36; ")


def test_caps_and_epochs(crawled: Path, tmp_path: Path) -> None:
    sources = {"old": "*/old/*", "new": "*"}
    plain = {"sources": sources, "dedup": {}, **PLAIN}
    run = curate(crawled, tmp_path / "runs", caps={"new": 0.002}, epochs={"old": 2.0}, **plain)
    sizes = {row["source"]: row["bytes"] for row in read_manifest(run).results["table"]}
    assert 0 < sizes["new"] < 3500
    assert read_manifest(run).results["epochs"] == {"new": 1.0, "old": 2.0}


def test_croissant_and_the_summary_are_written(crawled: Path, tmp_path: Path) -> None:
    run = curate(crawled, tmp_path / "runs", **PLAIN)
    described = json.loads((run / "croissant.json").read_text())
    assert described["distribution"][0]["sha256"] == read_manifest(run).files["documents-00000.parquet"]["sha256"]
    card = json.loads((run / "card.json").read_text())
    assert card["eu_summary"]
    assert [row["filter"] for row in card["audits"]["filters"]] == ["gopher_length", "all filters"]


def test_jsonl_and_wet_and_text_and_malformed_rows(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rows = [orjson.dumps({"text": prose(n), "url": f"http://y/{n}"}) for n in range(5)] + [b"5", b"{"]
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(b"\n".join(rows)))
    (folder / "book.txt").write_text(prose(70))
    text = prose(71).encode()
    head = f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://w/\r\nContent-Length: {len(text)}\r\n"
    wet = f"{head}WARC-Record-ID: <urn:uuid:1>\r\nContent-Type: text/plain\r\n\r\n".encode() + text + b"\r\n\r\n"
    (folder / "a.warc.wet.gz").write_bytes(gzip.compress(wet))
    crawl = execute(load("crawl"), Crawl(source=str(folder)), runs=tmp_path / "runs")
    run = curate(crawl, tmp_path / "runs", **PLAIN)
    table = {row["source"]: (row["type"], row["documents"]) for row in read_manifest(run).results["table"]}
    assert table == {"rows": ("JSON rows", 5), "book": ("text files", 1), "w": ("web pages", 1)}
    quarantine = [json.loads(line) for line in (run / "quarantine.jsonl").read_text().splitlines()]
    assert [(row["file"], row["row"]) for row in quarantine] == [("rows.jsonl.gz", 6), ("rows.jsonl.gz", 7)]
    (folder / "book.txt").write_text("changed")
    with pytest.raises(Damaged, match=r"book.txt is not what it was"):
        curate(crawl, tmp_path / "other", **PLAIN)
    (folder / "book.txt").unlink()
    with pytest.raises(InputError, match=r"book.txt is gone"):
        curate(crawl, tmp_path / "other", **PLAIN)


def test_nothing_left_is_an_error_that_says_which_rules_took_it(crawled: Path, tmp_path: Path) -> None:
    with pytest.raises(EmptyInput, match="nothing is left") as caught:
        curate(crawled, tmp_path / "runs", filters={"gopher_length": {"min_words": 9999}})
    assert caught.value.hint.startswith("gopher_length removed 36; content_type removed 2; ")
    assert not list((tmp_path / "runs").glob("curate-*"))


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "crawl").mkdir()
    with pytest.raises(EmptyInput, match="holds neither an archive nor a list of files"):
        curate(tmp_path / "crawl", tmp_path / "runs")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": {"gopher": {}}}, 'there is no filter "gopher"'),
        ({"filters": {"gopher_length": {"minimum": 1}}}, 'filter gopher_length has no option "minimum"'),
        ({"dedup": {"urls": {}}}, 'dedup: there is no way "urls"'),
        ({"dedup": {"line": {"time": 1}}}, 'dedup line has no option "time"'),
        ({"mask": ("mail",)}, 'mask: there is no kind "mail"'),
        ({"mixture": {"y.org": 1.0}}, 'mixture: there is no source "y.org"'),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str, crawled: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        curate(crawled, tmp_path / "runs", **(PLAIN | options))
    assert caught.value.message == message


@pytest.mark.skipif(not (DATA / "crawl_nasty").is_dir(), reason=f"no data in {DATA}")
def test_damaged_archives_from_the_wild_are_counted(tmp_path: Path) -> None:
    crawl = execute(load("crawl"), Crawl(source=str(DATA / "crawl_nasty")), runs=tmp_path)
    run = curate(crawl, tmp_path, filters={})
    counts = read_manifest(run).counts
    assert counts["malformed"] > 15
    assert counts["documents"] > 10


# Last: its workers then find the kernels that the tests above have compiled, and compile none each for itself.
@pytest.mark.skipif(sys.platform != "linux", reason="a Ray cluster on one machine")
def test_a_ray_cluster_of_two_nodes_makes_the_same_bytes(archives: Path, alone: Manifest, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    command = [sys.executable, "-c", RAY, str(tmp_path), str(archives)]
    # Ray's workers would be nice, and wait for whoever else is at work on this machine.
    env = {**os.environ, "RAY_worker_niceness": "0"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    there = _made(tmp_path)
    assert (there.identity, there.files) == (alone.identity, alone.files)
