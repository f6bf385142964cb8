from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hornbook.errors import Damaged, EmptyInput, UsageError
from hornbook.execute import execute
from hornbook.manifest import Manifest, products
from hornbook.report.terminal import EXCERPT
from hornbook.stages import load
from hornbook.stages.classify import Classify
from hornbook.stages.curate import Curate
from hornbook.stages.inspect import Inspect, inspect
from hornbook.text.archives.writer import ArchiveWriter, Exchange
from hornbook.text.card import card
from hornbook.text.corpus import REMOVED
from hornbook.text.document import Document, write_documents, write_rows
from hornbook.text.tally import Tally

Show = Callable[..., str]

KEPT = [
    Document(f"k{n}", f"A page about the {n}th oven of the bakery.", "bakery", f"http://bakery.example/{n}")
    for n in range(30)
]
SHORT = [Document(f"s{n}", f"Oven {n}.", "bakery" if n % 2 else "mill", f"http://x.example/{n}") for n in range(23)]
CURLY = [Document("c0", "x = {}; " + "more words " * 100 + "RYE bread", "mill")]


def commit(folder: Path, makes: str, **results: Any) -> Path:
    """Give a folder the manifest that makes it a run."""
    manifest = Manifest(
        name=folder.name,
        stage="curate",
        makes=makes,
        identity="0" * 64,
        contents="1" * 64,
        inputs={},
        code="",
        versions={},
        files=products(folder),
        results=results,
    )
    manifest.write(folder)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A run as curate leaves it, in two parts."""
    folder, tally = tmp_path / "curate-0f0f0f0f", Tally()
    folder.mkdir()
    removed = [(one, "gopher_length: 2 words, fewer than 50", "gopher_length") for one in SHORT]
    removed += [(one, "c4_curly_bracket: holds '{'", "c4_curly_bracket") for one in CURLY]
    for document in KEPT:
        tally.keep(document, kind="web pages")
    for document, reason, _ in removed:
        tally.remove(document, reason, kind="web pages")
    for part in (0, 1):
        write_documents(folder / f"documents-0000{part}.parquet", KEPT[15 * part :][:15])
        write_rows(folder / f"removed-0000{part}.parquet", map(row, removed[12 * part :][:12]), REMOVED)
    made = card(tally, order=["gopher_length", "c4_curly_bracket"])
    (folder / "card.json").write_text(json.dumps(made))
    return commit(folder, "corpus")


def row(one: tuple[Document, str, str]) -> dict[str, str]:
    document, reason, rule = one
    named = {name: getattr(document, name) for name in ("id", "url", "source", "text")}
    return {**named, "reason": reason, "rule": rule}


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    def shown(subject: Path, **options: Any) -> str:
        inspect(Inspect(subject, **options))
        return capsys.readouterr().out

    return shown


def test_rules_first_then_a_page_of_samples(corpus: Path, show: Show) -> None:
    told = show(corpus)
    assert told.startswith("curate-0f0f0f0f: 54 documents read, 30 kept (55.6%)\n")
    table = [line.split() for line in told.splitlines()[2:5]]
    assert table[1] == ["gopher_length", "23", "42.6%", "42.6%"]
    assert table[2] == ["c4_curly_bracket", "1", "1.9%", "3.2%"]
    assert "Page 1 of what was removed; more with --page 2" in told
    assert told.count("gopher_length: 2 words, fewer than 50") == 10
    assert "  1  http://x.example/0\n     mill · gopher_length: 2 words, fewer than 50\n     Oven 0.\n" in told


def test_pages_follow_each_other_until_the_last(corpus: Path, show: Show) -> None:
    told = [show(corpus, rule="gopher_length", page=page) for page in (1, 2, 3)]
    urls = [line.split()[1] for text in told for line in text.splitlines() if "http://" in line]
    assert urls == [one.url for one in SHORT]
    assert "documents read" not in told[1]
    assert "Page 3 of what was removed by gopher_length, the last" in told[2]
    with pytest.raises(EmptyInput, match="no sample on page 4") as caught:
        show(corpus, rule="gopher_length", page=4)
    assert caught.value.hint == "try it without --page"


def test_what_was_kept(corpus: Path, show: Show) -> None:
    told = show(corpus, kept=True, samples=2, page=8)
    assert "Page 8 of what was kept; more with --page 9" in told
    assert [line.split()[0] for line in told.splitlines() if "http://" in line] == ["15", "16"]


def test_one_source_and_one_word(corpus: Path, show: Show) -> None:
    assert show(corpus, source="mill", samples=50, page=1).count("mill · gopher_length") == 12
    told = show(corpus, search="rye BREAD")
    assert "     … " in told
    assert told.rstrip().endswith("RYE bread")
    with pytest.raises(EmptyInput) as caught:
        show(corpus, source="mill", search="no such words")
    assert caught.value.hint == "try it without --source or --search"


def test_an_unknown_rule(corpus: Path, show: Show) -> None:
    with pytest.raises(UsageError, match='no rule "gopher" removed anything') as caught:
        show(corpus, rule="gopher")
    assert caught.value.hint == "rules: gopher_length (23), c4_curly_bracket (1)"
    with pytest.raises(UsageError, match="exclude each other"):
        show(corpus, rule="gopher_length", kept=True)


def test_a_damaged_part_is_named(corpus: Path, show: Show) -> None:
    path = corpus / "removed-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert "the last" not in show(corpus)
    with pytest.raises(Damaged, match="removed-00001"):
        show(corpus, page=2)


def test_control_characters_of_a_document_do_not_reach_the_terminal(tmp_path: Path, show: Show) -> None:
    path = tmp_path / "odd.jsonl"
    bad = "\x1b[31mred\x1b]0;title\x07 \u202eabc \x9b2J [bold]x[/bold] [/]"
    path.write_text(json.dumps({"text": bad, "url": f"http://x/{bad}", "source": bad}) + "\n")
    told = show(path, filters={"gopher_length": {}})
    assert not set(told) & set("\x1b\x07\u202e\x9b")
    assert "[31mred]0;title abc 2J [bold]x[/bold] [/]" in told


def write_texts(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "url": f"http://x/{n}"}) + "\n" for n, text in enumerate(texts)))
    return path


def test_filters_are_tried_on_a_file(tmp_path: Path, show: Show) -> None:
    texts = [("word " if n % 10 else "{ ") + "word " * (n + 2) + "word." for n in range(100)]
    path = write_texts(tmp_path / "a.jsonl", texts)
    told = show(path, filters={"gopher_length": {"min_words": "28"}, "c4_curly_bracket": {}})
    lines = [line.split() for line in told.splitlines()[2:6]]
    assert told.startswith("a.jsonl: tried on 100 documents\n")
    assert lines[1] == ["gopher_length", "24", "24.0%", "16.7%", "to", "33.2%"]
    assert lines[2] == ["c4_curly_bracket", "10", "10.0%", "5.5%", "to", "17.4%"]
    assert lines[3][:5] == ["any", "of", "them", "31", "31.0%"]
    assert told.count("fewer than 28") == 3
    assert told.count("c4_curly_bracket: holds '{'") == 3


def test_a_sample_is_drawn_from_all_of_a_file_and_is_the_same_again(tmp_path: Path, show: Show) -> None:
    path = write_texts(tmp_path / "a.jsonl", [f"text {n}" for n in range(2000)])
    told = show(path, filters={"gopher_length": {}}, documents=50)
    assert "tried on 50 documents" in told
    assert told == show(path, filters={"gopher_length": {}}, documents=50)
    assert max(int(line.split("/")[-1]) for line in told.splitlines() if "http://x/" in line) > 200


def test_filters_are_tried_on_what_a_run_kept(corpus: Path, show: Show) -> None:
    told = show(corpus, filters={"gopher_length": {"min_words": 10}}, documents=20)
    assert "tried on 20 documents" in told
    assert [line.split()[1] for line in told.splitlines() if "http://" in line] == [one.url for one in KEPT[:3]]


def test_a_blocklist_and_a_trained_model_can_be_tried(tmp_path: Path, show: Show) -> None:
    good = [f"The baker of house {n} baked bread with rye and salt in a warm oven." for n in range(40)]
    bad = [f"Cheap pills number {n}, click here now and win a prize today." for n in range(40)]
    taught = write_texts(tmp_path / "good.jsonl", good), write_texts(tmp_path / "bad.jsonl", bad)
    model = execute(load("classify"), Classify(str(taught[0]), negatives=str(taught[1])), runs=tmp_path / "runs")
    (tmp_path / "words.txt").write_text("prize\n")
    path = write_texts(tmp_path / "both.jsonl", good[:9] + bad[:6])
    told = show(
        path, classifiers={"bakery": model}, filters={"bakery": {"min_score": 0.5}}, blocklist=tmp_path / "words.txt"
    )
    lines = [line.split() for line in told.splitlines()[3:6]]
    assert [line[:-4] for line in lines[:2]] == [["bakery", "6"], ["blocklist", "6"]]
    assert "Some that bakery removes" in told


def test_malformed_rows_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "A good row."}\n{"txt": 1}\n')
    inspect(Inspect(path, filters={"gopher_length": {}}))
    assert "1 malformed, left out; the first: a.jsonl row 2" in capsys.readouterr().err
    path.write_text('{"text": ""}\n')
    with pytest.raises(EmptyInput, match="holds no document with text"):
        inspect(Inspect(path, filters={"gopher_length": {}}))


@pytest.fixture
def crawled(tmp_path: Path) -> Path:
    folder = tmp_path / "crawl-0f0f0f0f"
    folder.mkdir()
    with ArchiveWriter(folder / "crawl.warc.gz", software="test") as archive:
        for n in range(4):
            body = f"<html><body><p>{'The oven was warm and the bread was good. ' * (n + 1)}</p></body></html>".encode()
            kind = [("Content-Type", "text/html" if n else "image/png")]
            date, request = "2024-01-01T00:00:00Z", "GET / HTTP/1.1"
            archive.append(Exchange(f"http://x/{n}", date, request, [], "HTTP/1.1 200 OK", kind, body))
    return commit(folder, "crawl", outcomes={"status 200": 4, "robots.txt": 1})


def test_a_crawl_tells_what_it_met_and_can_be_tried_on(crawled: Path, show: Show) -> None:
    told = show(crawled)
    assert [line.split() for line in told.splitlines()[1:3]] == [
        ["status", "200", "4", "80.0%"],
        ["robots.txt", "1", "20.0%"],
    ]
    assert "crawl.warc.gz" in told
    told = show(crawled, filters={"gopher_length": {"min_words": 20}})
    assert "tried on 3 documents" in told
    assert "18 words, fewer than 20" in told
    with pytest.raises(UsageError, match="no rule has judged it"):
        show(crawled, rule="gopher_length")


def test_what_curate_leaves_can_be_inspected(crawled: Path, tmp_path: Path, show: Show) -> None:
    config = Curate(crawled, filters={"gopher_length": {"min_words": 20}}, dedup={"url": {}})
    run = execute(load("curate"), config, runs=tmp_path / "runs")
    told = show(run)
    assert ": 4 documents read, 2 kept (50.0%)" in told
    assert "http://x/0\n     x · content_type: image/png\n     (nothing)\n" in told
    assert "gopher_length: 18 words, fewer than 20\n     The oven was warm" in show(run, rule="gopher_length")
    assert show(run, kept=True).count("http://x/") == 2


def test_a_crawl_that_lists_files(tmp_path: Path, show: Show) -> None:
    write_texts(tmp_path / "here.jsonl", ["Some words."] * 3)
    folder = tmp_path / "crawl-11111111"
    folder.mkdir()
    (folder / "sources.json").write_text(json.dumps([{"name": "here.jsonl", "path": "../here.jsonl"}]))
    commit(folder, "crawl")
    assert "here.jsonl" in show(folder)
    assert "tried on 3 documents" in show(folder, filters={"gopher_length": {}})


def test_subjects_without_anything_to_see(tmp_path: Path, show: Show) -> None:
    path = write_texts(tmp_path / "a.jsonl", ["text"])
    with pytest.raises(UsageError, match="is no run") as caught:
        show(path)
    assert "--filters.gopher_length.min_words 100" in caught.value.hint
    (tmp_path / "model").mkdir()
    with pytest.raises(UsageError, match="holds model; there is nothing to inspect in it yet"):
        show(commit(tmp_path / "model", "model"))
    with pytest.raises(UsageError, match='there is no filter "gopher"'):
        show(path, filters={"gopher": {}})
    with pytest.raises(UsageError, match="there is no file or folder"):
        show(tmp_path / "nowhere")


def test_a_long_text_is_cut(tmp_path: Path, show: Show) -> None:
    path = write_texts(tmp_path / "a.jsonl", ["a" * 3 * EXCERPT])
    assert "…" in show(path, filters={"gopher_length": {}})
