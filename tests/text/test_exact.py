from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.text.document import Document
from hornbook.text.exact import Lines, fingerprint, same_id, same_text, same_url, url_key


def doc(id: str, text: str = "", url: str = "") -> Document:
    return Document(id, text, "s", url)


def test_the_first_of_each_text_stays() -> None:
    check = same_text()
    assert check(doc("1", "Some text.")) is None
    assert check(doc("2", "  some\n TEXT. ")) == "duplicate_text: same text as 1"
    assert check(doc("3", "Some other text.")) is None


def test_the_first_of_each_url_stays_and_documents_without_one_do() -> None:
    check = same_url()
    assert check(doc("1", url="http://www.x.org/a/")) is None
    assert check(doc("2", url="https://x.org/a")) == "duplicate_url: same URL as 1"
    assert check(doc("3")) is None
    assert check(doc("4")) is None


def test_ids_are_unique() -> None:
    check = same_id()
    assert check(doc("1")) is None
    assert check(doc("1")) == "duplicate_id: 1 was there before"


@pytest.mark.parametrize(
    ("one", "other", "same"), [("é", "e\u0301", True), ("a b", "a\t\nb", True), ("ab", "a b", False)]
)
def test_fingerprint(one: str, other: str, same: bool) -> None:
    assert (fingerprint(one) == fingerprint(other)) is same


def test_url_key_keeps_queries_apart() -> None:
    assert url_key("http://x/?a=1") != url_key("http://x/?a=2")


@pytest.mark.parametrize("other", ["example.org/b", "doi:10.1/a", "pages/a.html", "ftp://example.org/a", "", "www.a"])
def test_urls_without_a_scheme_are_not_all_the_same(other: str) -> None:
    check = same_url()
    assert check(doc("1", url="example.org/a")) is None
    assert check(doc("2", url=other)) is None
    assert check(doc("3", url="HTTPS://WWW.example.org/a")) == "duplicate_url: same URL as 1"


def test_lines_are_dropped_after_they_were_there_often_enough() -> None:
    lines = Lines(times=2, min_characters=5)
    text = "A heading line\n\nshort\nnew in {}\n\nabc\n"
    out = [lines(text.format(n)) for n in range(3)]
    assert out[0] == out[1].replace("new in 1", "new in 0") == "A heading line\n\nshort\nnew in 0\n\nabc"
    assert out[2] == "new in 2\n\nabc"
    assert lines.dropped == {"A heading line": 1, "short": 1}


@given(st.lists(st.text(max_size=60)))
def test_lines_only_ever_drop_lines(texts: list[str]) -> None:
    lines = Lines(times=1, min_characters=3)
    for text in texts:
        left = iter(text.split("\n"))
        assert all(line in left for line in lines(text).split("\n") if line)
