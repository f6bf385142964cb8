from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.errors import EmptyInput, InputError
from hornbook.text.document import Document
from hornbook.text.safety import Domains, blocklist, domain_list, drop_lines, host_and_path, read_phrases

DATA = Path(os.environ.get("HORNBOOK_DATA") or Path(__file__).parents[3] / "shared" / "data")

PHRASES = ("bad word", "grob", "c++", "悪い言葉", "बुरा", "плохо")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A good word.", None),
        ("A Bad Word.", "Bad Word"),
        ("grob", "grob"),
        ("grober, ungrob, größe", None),
        ("Übergrob", None),
        ("I like c++, too", "c++"),
        ("とても悪い言葉です", "悪い言葉"),
        ("वह बुरा है", "बुरा"),
        ("बुराई", None),
        ("ПЛОХО!", "ПЛОХО"),
        ("неплохо", None),
        ("", None),
    ],
)
def test_phrases_are_found_as_whole_words_in_any_case(text: str, found: str | None) -> None:
    reason = blocklist(Document("1", text, "s"), phrases=PHRASES)
    assert reason == (None if found is None else f"blocklist: 1 hits, the first is {found!r}")


def test_some_hits_can_be_allowed() -> None:
    document = Document("1", "grob grob", "s")
    assert blocklist(document, phrases=PHRASES, max_count=2) is None
    assert blocklist(document, phrases=PHRASES, max_count=1) == "blocklist: 2 hits, the first is 'grob'"


def test_a_list_may_be_of_one_kind_of_script() -> None:
    assert blocklist(Document("1", "とても悪い言葉", "s"), phrases=("悪い言葉",))
    assert blocklist(Document("1", "grob", "s"), phrases=("grob",))
    assert blocklist(Document("1", "grob", "s"), phrases=()) is None


def test_lines_with_a_phrase_are_dropped() -> None:
    assert drop_lines("good\nso grob, so\n\n悪い言葉\nlast", phrases=PHRASES) == ("good\n\nlast", 2)
    assert drop_lines("good\n", phrases=PHRASES) == ("good\n", 0)


PIECES = ["bad", "word", "grob", "BAD", "é", "_", " ", "  ", "-", ".", "\n", "1", "漢"]
WORDS = st.lists(st.sampled_from(PIECES), max_size=40)


@settings(max_examples=200)
@given(WORDS.map("".join))
def test_hits_are_those_of_a_plain_rule(text: str) -> None:
    plain = re.findall(r"(?i)(?<!\w)(?=(bad word|grob)(?!\w))", text)
    reason = blocklist(Document("1", text, "s"), phrases=("bad word", "grob"))
    assert reason == (f"blocklist: {len(plain)} hits, the first is {plain[0]!r}" if plain else None)


@settings(max_examples=200)
@given(st.one_of(WORDS.map("".join), st.text()))
def test_dropping_lines_is_dropping_each_line_by_itself(text: str) -> None:
    lines = [line for line in text.split("\n") if not drop_lines(line, phrases=PHRASES)[1]]
    assert drop_lines(text, phrases=PHRASES) == ("\n".join(lines), text.count("\n") + 1 - len(lines))


def test_a_list_is_read_and_a_bad_one_named(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# a comment\nzwei\n\neins\neins\n")
    assert read_phrases(path) == ("eins", "zwei")
    path.write_text("# nothing\n")
    with pytest.raises(EmptyInput, match="holds no phrase"):
        read_phrases(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"blocklist .*list.txt: "):
        read_phrases(path)


# -- domains ----------------------------------------------------------------------------------------------------------

LISTED = ("example.org", "shop.example.com/toys", "www.example.net", "bücher.example", "one.example/a/b?c=1")


def _write(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("https://example.org/", "example.org"),
        ("http://WWW.Example.org:8080/a?b#c", "example.org"),
        ("https://deep.down.example.org", "example.org"),
        ("https://notexample.org/", ""),
        ("https://example.org.evil.example/", ""),
        ("https://shop.example.com/toys", "shop.example.com/toys"),
        ("https://shop.example.com/toys/1", "shop.example.com/toys"),
        ("https://shop.example.com/toys?page=2", "shop.example.com/toys"),
        ("https://shop.example.com/toystory", ""),
        ("https://shop.example.com/", ""),
        ("https://example.net/", "example.net"),
        ("https://bücher.example/x", "xn--bcher-kva.example"),
        ("https://one.example/a/b?c=1", "one.example/a/b?c=1"),
        ("https://one.example/a/b", ""),
        ("", ""),
        ("http://[", ""),
        ("no url", ""),
    ],
)
def test_hosts_domains_and_beginnings_of_urls_match(tmp_path: Path, url: str, entry: str) -> None:
    domains = Domains.read(_write(tmp_path / "list.txt", LISTED))
    assert domains.entry(url) == ((entry, "") if entry else None)
    reason = domain_list(Document("1", "", "s", url), domains=domains)
    assert reason == (f"domain_list: {entry} is listed" if entry else None)


def test_lists_with_categories_are_read(tmp_path: Path) -> None:
    rows = [{"category": "adult", "kind": "domains", "entry": "a.example"}, {"category": "press", "entry": "b.example"}]
    path = tmp_path / "list.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    everything, adult = Domains.read(path), Domains.read(path, categories=("adult",))
    assert everything.entry("https://a.example") == ("a.example", "adult")
    assert everything.entry("https://b.example") == ("b.example", "press")
    assert adult.entry("https://a.example") == ("a.example", "adult")
    assert adult.entry("https://b.example") is None
    for category, entry in (("adult", "a.example"), ("press", "b.example/x")):
        (tmp_path / "ut1" / category).mkdir(parents=True)
        _write(tmp_path / "ut1" / category / ("urls" if "/" in entry else "domains"), [entry])
    domains = Domains.read(tmp_path / "ut1")
    assert domains.entry("https://b.example/x/y") == ("b.example/x", "press")
    document = Document("1", "", "s", "https://a.example/")
    assert domain_list(document, domains=domains) == "domain_list: a.example is listed as adult"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.txt", "example.org\nnot a domain\n", "line 2: 'not a domain' is neither a domain nor a URL"),
        ("list.jsonl", '{"category": "adult"}\n', "line 1: no row of a list: 'entry'"),
        ("list.jsonl", "example.org\n", "line 1: no row of a list"),
        ("list.jsonl.gz", "no gzip", "domain list"),
    ],
)
def test_a_bad_list_of_domains_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        Domains.read(tmp_path / name)
    assert error.value.hint or "gz" in name


def test_an_empty_list_of_domains_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmptyInput, match="holds no entry"):
        Domains.read(_write(tmp_path / "list.txt", ["# nothing"]))
    with pytest.raises(InputError, match="domain list"):
        Domains.read(tmp_path / "absent.txt")


@given(st.text())
def test_any_text_can_be_asked_for(url: str) -> None:
    assert Domains.of([("example.org", "")]).entry(url) in (None, ("example.org", ""))
    host_and_path(url)


@pytest.mark.skipif(not (DATA / "consent").is_dir(), reason="no lists of domains at HORNBOOK_DATA")
def test_the_adult_list_leaves_the_press_and_sexual_education_alone() -> None:
    path = DATA / "consent" / "ut1_sample.jsonl.gz"
    everything, adult = Domains.read(path), Domains.read(path, categories=("adult",))
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    assert all(everything.entry(f"https://{row['entry']}") for row in rows)
    others = [row for row in rows if row["category"] in ("press", "sexual_education")]
    assert sum(bool(adult.entry(f"https://{row['entry']}")) for row in others) <= 0.01 * len(others)
