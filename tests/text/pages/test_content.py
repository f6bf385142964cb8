from __future__ import annotations

import gzip
import json
import os
import sys
from collections import Counter
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree

from hornbook.text.pages import content
from hornbook.text.pages.block_numbers import NAMES, describe
from hornbook.text.pages.content_trees import TREES
from hornbook.text.pages.extract import extract_html, walked

DATA = Path(os.environ.get("HORNBOOK_DATA") or Path(__file__).parents[4] / "shared" / "data") / "extraction"
STORY = [
    f"The {name} opened its doors in the spring, and the town came to see it. Nobody had expected so many people, "
    "and the keeper, who had made bread for fifty, sent his son to borrow what the neighbours could spare."
    for name in ("library", "mill", "school", "bakery", "museum")
]
ARABIC = (
    "افتتحت المكتبة الجديدة أبوابها في فصل الربيع، وجاء أهل "
    "المدينة كلهم لرؤيتها، ولم يتوقع أحد هذا العدد من الناس."
)
CHINESE = "新图书馆在春天开放了，全镇的人都来参观。没有人想到会来这么多人，馆长只好向邻居借面包。" * 2  # noqa: RUF001
GERMAN = "Die neue Bücherei öffnete im Frühling ihre Türen, und die ganze Stadt kam, um sie zu sehen. Niemand war müde."
NAV = "<nav><ul>" + "".join(f"<li><a href=/{at}>Section {at}</a></li>" for at in range(8)) + "</ul></nav>"
FOOT = "<footer><p>Copyright of the town paper. <a href=/terms>Terms of use</a></p></footer>"


def paragraphs(texts: list[str]) -> str:
    return "".join(f"<p>{text}</p>" for text in texts)


def around(main: str, after: str = "") -> str:
    return f"<title>News</title><body>{NAV}{main}{after}{FOOT}</body>"


def article(inner: str = "", after: str = "") -> str:
    return around(f"<article>{paragraphs(STORY[:3])}{inner}{paragraphs(STORY[3:])}</article>", after)


def text_of(html: str, main_content: bool = True) -> str:
    return extract_html(html.encode("utf-8", "replace"), main_content=main_content).text


COMMENTS = "<ul>" + "".join(f"<li class=comment><p>I was there too. {text}</p></li>" for text in STORY[:2]) + "</ul>"
CARDS = "".join(f"<div class=card><a href=/{at}><h4>Fire at the old mill {at}</h4></a></div>" for at in range(6))
TABLE = "<table><tr><th>Year</th><th>Guests</th></tr><tr><td>1901</td><td>4,000</td></tr></table>"


@pytest.mark.parametrize(
    ("html", "kept", "dropped"),
    [
        (article(), ["library", "museum"], ["Section 1", "Terms of use"]),
        (article(after=f"<aside><h3>More</h3>{CARDS}</aside>"), ["library"], ["Fire at"]),
        (article(after=f"<div id=comments class=comments>{COMMENTS}</div>"), ["library"], ["I was there"]),
        (
            article(after="<div class=cookie-banner><p>We use cookies. <button>Accept all</button></p></div>"),
            ["museum"],
            ["cookies", "Accept all"],
        ),
        (article("<h2>How it was built</h2>"), ["How it was built"], []),
        (article("<pre>def f(x):\n    return x\n\n\nprint(f(1))</pre>"), ["    return x"], []),
        (article(TABLE), ["Year\tGuests\n1901\t4,000"], []),
        (
            article("<ul><li>The first thing to see is the hall.</li><li>The second is the tower.</li></ul>"),
            ["The first thing to see is the hall.\nThe second is the tower."],
            [],
        ),
        (article("<blockquote><p>I never saw so much bread in one place, he said.</p></blockquote>"), ["so much"], []),
        (around(f"<div id=x>{paragraphs(STORY)}</div>"), ["library", "museum"], ["Section 1"]),
        (around(f"<div>{'<br><br>'.join(STORY)}</div>"), [f"{STORY[0]}\n\n{STORY[1]}"], ["Section 1"]),
        (
            around("".join(f"<div class=post><p>{text}</p></div>" for text in STORY)),
            ["library", "museum"],
            ["Section 1"],
        ),
        (around(f"<article>{paragraphs([ARABIC] * 3)}</article>"), [ARABIC], ["Section 1"]),
        (around(f"<article>{paragraphs([CHINESE] * 3)}</article>"), [CHINESE], ["Section 1"]),
        (around(f"<article>{paragraphs([GERMAN] * 3)}</article>"), [GERMAN], ["Section 1"]),
        ("<pre>one\n  two</pre>", ["one\n  two"], []),
        ("<p>Hello, world.", ["Hello, world."], []),
        (around("<div class=price>A red chair, 40 francs</div>"), ["A red chair"], []),
    ],
)
def test_what_is_main_text(html: str, kept: list[str], dropped: list[str]) -> None:
    text = text_of(html)
    assert [part for part in kept if part not in text] == []
    assert [part for part in dropped if part in text] == []


@pytest.mark.parametrize("html", ["", " ", "<html></html>", "<script>x</script>", "<!-- x -->", "<body hidden>"])
def test_an_empty_page_has_no_text(html: str) -> None:
    assert text_of(html) == text_of(html, main_content=False) == ""


def test_all_text_is_what_a_page_shows() -> None:
    html = "<nav>menu</nav><p style='color:red; display : none'>one</p><p hidden>two</p><svg><text>x</text></svg><p>on"
    assert text_of(html, main_content=False) == "menu\n\non"


def test_scripts_that_speak_of_tags_end_where_they_end() -> None:
    assert text_of("<script>a = '<script><p>' + '<!--'</script><p>text</p>") == "text"
    assert text_of("<head><script>'<head>'</script></head><p>text</p>") == "text"


ELEMENTS = [
    *("article", "p", "div", "span", "a", "li", "ul", "td", "tr", "table"),
    *("h1", "br", "pre", "script", "b", "svg", "nav", "title", "head", "body"),
]
HTML = st.lists(
    st.one_of(
        st.sampled_from(ELEMENTS).flatmap(
            lambda name: st.sampled_from(
                [f"<{name}>", f"</{name}>", f"<{name} class='comment x' style='display:none'>", f"<{name} rel='"]
            )
        ),
        st.text(max_size=30),
        st.sampled_from([*'&<>"🙂\0', "&nbsp;", "&lt;", "<!--", "-->", "\u3000", "e\u0301", STORY[0]]),
    ),
    max_size=60,
).map("".join)


@settings(max_examples=200)
@given(HTML)
def test_text_is_made_of_the_words_of_the_page(html: str) -> None:
    tree = HTMLTree.parse(html)
    shown = Counter(unescape(tree.document.html) if tree.document else "")
    for main_content in (True, False):
        text = text_of(html, main_content)
        assert not Counter("".join(text.split())) - shown
        assert text == text.strip("\n")


def test_every_number_of_a_block_has_a_name() -> None:
    page = walked(article().encode())
    described = np.empty((len(page.blocks), len(NAMES)), np.float32)
    assert describe(page.elements, page.blocks, described) == len(NAMES) == len(set(NAMES))


def vote(words: Any, numbers: dict[str, float]) -> float:
    """What `content_trees` says a tree is, in plain Python."""
    word = next(words)
    if word.startswith("="):
        return float(word[1:])
    threshold = float(next(words))
    left, right = vote(words, numbers), vote(words, numbers)
    return left if numbers[word] <= threshold else right


def test_votes_are_those_of_the_trees() -> None:
    page = walked(article(TABLE, COMMENTS).encode())
    described = np.empty((len(page.blocks), len(NAMES)), np.float32)
    describe(page.elements, page.blocks, described)
    for row, odds in zip(described.tolist(), content.votes(page.elements, page.blocks), strict=True):
        numbers = dict(zip(NAMES, row, strict=True))
        whole = sum(vote(iter(tree.split()), numbers) for tree in TREES.strip().split("\n"))
        assert odds == whole or max(odds, whole) < content.LIKELY


@pytest.mark.skipif(not (DATA / "aeb.jsonl.gz").exists(), reason="needs HORNBOOK_DATA")
def test_f1_on_marked_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "bench"))
    monkeypatch.delitem(sys.modules, "extract", raising=False)
    from extract import scores  # type: ignore[import-not-found]

    with gzip.open(DATA / "aeb.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    found = scores((row["gold"], text_of(row["html"])) for row in rows if "html" in row)
    assert found["f1"] >= 0.96
