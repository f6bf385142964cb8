from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.text.archives.warc import Page
from hornbook.text.files import stem
from hornbook.text.pages.bombs import bomb
from hornbook.text.pages.extract import extract_html, links, normal_url, page_document, source_of, tidy

HTML = """<html lang="EN"><head><title> A  house </title><meta name="Robots" content="noai"><base href="/b/">
<link rel="license" href="https://creativecommons.org/licenses/by/4.0/"></head>
<body><nav><a href="x.html">Menu entry</a></nav><main><h1>A house</h1><p>It has&nbsp;four walls.</p>
<dl><dt>roof(tiles)</dt><dd>Keeps the rain out.</dd></dl><a href="y.html#part">door</a><a href="mailto:me@x.org">me</a>
</main></body></html>"""


def page(body: str | bytes = HTML, *, kind: str = "text/html", status: int = 200, **headers: str) -> Page:
    raw = body if isinstance(body, bytes) else body.encode()
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Page("http://x.org/a", "<r>", "2024", status, {"content-type": kind, **named}, raw, "response")


def judge(one: Page, honour: bool = False) -> tuple[str, str | None]:
    document, reason = page_document(one, source="s", main_content=True, skip=(), honour=honour)
    return document.text, reason


def test_a_page_becomes_text_and_what_it_says_of_itself() -> None:
    document, reason = page_document(page(), source="s", main_content=True, skip=(), honour=False)
    assert reason is None
    assert document.text.split("\n") == [
        "A house",
        "",
        "It has four walls.",
        "",
        "roof(tiles)",
        "Keeps the rain out.",
        "",
        "doorme",
    ]
    licence = "CC-BY-4.0"
    assert document.metadata == {"record": "<r>", "title": "A house", "declared_language": "en", "license": licence}


def test_selectors_leave_elements_out() -> None:
    assert "walls" not in extract_html(HTML.encode(), main_content=False, skip=("main",)).text
    assert "Menu entry" in extract_html(HTML.encode(), main_content=False).text


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (page(status=404), "http_status: 404"),
        (page(kind="image/png"), "content_type: image/png"),
        (page("<div>" * 600), "html_depth: more than 512 elements within each other"),
        (
            page("<a " + " ".join(f"a{n}=1" for n in range(5000)) + ">"),
            "html_attributes: more than 1,000 in one element",
        ),
        (page(), "opt_out: meta robots says noai"),
    ],
)
def test_pages_that_go_at_once_say_why(one: Page, reason: str) -> None:
    assert judge(one, honour=True)[1] == reason


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("Füße".encode("latin-1"), "text/html; charset=ISO-8859-1", "Füße"),
        ("Füße".encode(), "text/html", "Füße"),
        ('<meta charset="windows-1251"><p>привет</p>'.encode("cp1251"), "text/html", "привет"),
        ("日本語のテキストです。".encode("shift_jis"), "text/plain; charset=shift_jis", "日本語のテキストです。"),
        (b"\xff\xfe broken", "text/html; charset=nonsense", None),
    ],
)
def test_encodings(body: bytes, kind: str, text: str | None) -> None:
    found, reason = judge(page(body, kind=kind))
    assert reason is None
    assert text is None or found == text


@pytest.mark.parametrize(
    "bad",
    [
        "<div>" * 100_000,
        "<b>" * 100_000,
        "</i>" * 500_000 + "<i>" * 50_000,
        "<a " + "b " * 200_000 + ">",
        "".join(f"<p><b id={at}>x" for at in range(3000)),
    ],
)
def test_costly_pages_are_refused_quickly(bad: str) -> None:
    judge(page("<b>x"))
    start = time.process_time()
    assert (judge(page(bad))[1] or "").startswith("html_")
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "good", ["<br>" * 9000, "<ul>" + "<li>x" * 9000, "<p>x" * 9000, "<table>" + "<tr><td>x" * 9000]
)
def test_long_flat_pages_are_not_refused(good: str) -> None:
    assert bomb(good.encode()) is None
    assert judge(page(good))[1] is None


def test_many_elements_take_linear_time() -> None:
    start = time.process_time()
    assert len(extract_html(b'<meta name="a" content="b">' * 10_000, main_content=False).meta["a"]) == 29_998
    assert len(links(page("".join(f"<a href={n}>x</a>" for n in range(10_000))))) == 10_000
    assert time.process_time() - start < 5


def test_links_are_absolute_and_without_fragments() -> None:
    assert links(page()) == ["http://x.org/b/x.html", "http://x.org/b/y.html"]
    assert links(page('<meta name=robots content="noindex, NoFollow"><a href=x>y</a>')) == []
    assert links(page("", status=302, location="/new")) == ["http://x.org/new"]
    assert links(page("<a href=x>y</a>", kind="text/plain")) == []


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("HTTP://X.org:80", "http://x.org/"),
        ("../c?q=1#f", "http://h/c?q=1"),
        ("//other/ü", "http://other/%C3%BC"),
        ("a b%20c", "http://h/a/a%20b%20c"),
        ("javascript:alert(1)", ""),
        ("http://[::1/", ""),
        ("http://x:99999/", ""),
    ],
)
def test_normal_url(reference: str, url: str) -> None:
    assert normal_url(reference, "http://h/a/b") == url


@given(st.text())
def test_any_reference_has_a_normal_form_that_stays(reference: str) -> None:
    url = normal_url(reference, "http://h/a/b")
    assert normal_url(url) == url


@given(st.text())
def test_any_text_is_a_page(text: str) -> None:
    judge(page(text.encode("utf-8", "replace")))
    assert tidy(tidy(text)) == tidy(text)


def test_source_of() -> None:
    sources = {"domain": "*/numpy*", "general": "http*"}
    assert source_of("http://x/numpy.a", "f.warc", sources) == "domain"
    assert source_of("http://x/os", "f.warc", sources) == "general"
    assert source_of("http://x:80/os", "f.warc", {}) == "x"
    assert source_of("", "shelf/books.jsonl.gz", {}) == "books"
    assert source_of("http://[", "b.txt", {}) == "b"
    assert source_of("", ".hidden.txt", {}) == stem(".hidden.txt")
