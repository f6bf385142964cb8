"""The tree that the tags of a page tell is the one that a parser makes."""

from __future__ import annotations

import gzip
import html
import json
import os
from html.entities import html5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree

from hornbook.text.pages.references import resolve
from hornbook.text.pages.vocabulary import DEEPEST, SPEAKS
from hornbook.text.pages.walk import Costly, Unsure, Walked, walk

DATA = Path(os.environ.get("HORNBOOK_DATA") or Path(__file__).parents[4] / "shared" / "data") / "extraction"


def parsed(page: str) -> Walked:
    """A page as a parser has written it."""
    tree = HTMLTree.parse(page)
    return walk(tree.document.html.encode("utf-8", "replace") if tree.document else b"", made=True)


def told(page: Walked, *, attributes: bool = True) -> list[Any]:
    """The blocks of a page: their text, what is counted of them, and the elements around them."""
    # Whether a full stop ends a sentence is told by what follows it in the page, be it a tag that a parser drops.
    left_out = ("start", "end", "element", "frame", "stops")
    counts = [name for name in page.blocks.dtype.names if name not in left_out]
    rows = []
    for block in page.blocks:
        around, element = list[Any](), block["element"]
        while element >= 0:
            one = page.elements[element]
            said = int(one["hints"]) & ~SPEAKS if attributes else 0
            around.append((int(one["tag"]), said, int(one["mass"])))
            element = one["parent"]
        text = page.text[block["start"] : block["end"]].tobytes()
        rows.append((text, *(int(block[name]) for name in counts), around))
    return rows


@pytest.mark.parametrize(
    "page",
    [
        "<p>one<p>two<div>three<p>four</div>five",
        "<ul><li>one<ul><li>two<li>three</ul><li>four</ul>",
        "<dl><dt>one<dd>two<dt>three</dl>",
        "<p><b>one<p>two</b> three<p>four",
        "<b><i>one</b> two</i> three",
        "<a href=x>one<a href=y>two</a>three",
        "<table><tr><td>one<td>two<tr><td><table><td>three</table>four</table>",
        "<table><caption>one<tr><th>two</table>three",
        "<table><colgroup><col><col><tbody><tr><td>one</tbody><tfoot><tr><td>two</table>",
        "<!doctype html><p>one<table><tr><td>two</table>",
        "<p>one<table><tr><td>two</table>three",
        "<select><option>one<option>two<optgroup><option>three</select>four",
        "<h1>one<h2>two</h1>three",
        "<form><div>one</form>two</div>three",
        "<button>one<button>two</button>three",
        "<head><noscript><img src=x>one</noscript></head><body class=comment>two",
        "<head><title>one</title><noscript><link rel=x></noscript></head><p>two",
        "one</body>two</html>three",
        "<svg><title>one</title><path/><svg/></svg>two<svg/>three",
        "<object>one</object>two<video><p>three</p></video>four",
        "<div><video>one</div>two",
        "<template><p>one<template></template></template>two",
        "<script>'<!--<script>' </script> one </script>two",
        "<style>p { content: '</p>' }</style><textarea><p></textarea>one",
        "<!-- > one --!>two<!-->three<!--->four<?php x ?>five</ x>six",
        "<pre>\n\n one\r\n  two</pre>three",
        "one<br>two<br><br>three</br>four",
        "a < b, c <3 &lt; d &amp; e &eacute; &#8217; &#150; &nbsp;f\u00a0g &AMP &ampx &notit; &ngE; & &#; \0h",
        "<P CLASS='Comment x' ID=a/b HIDDEN>one</P><p style=display:none>two<p style='Display:none'>three",
        "<div class=a>one<p aria-hidden=true>two</div></p>three",
        "<ruby>one<rt>two<rp>three</ruby>",
        "<p>one</div></span></b>two",
        "<li>one</ul><li>two",
        "<nobr>one<nobr>two",
        "<marquee><b>one</marquee>two",
        "<img alt='>'>one<image src=x><hr>two",
        "<x-card>one</x-card><x-carda>two</x-card>three",
        "<table><form><tr><td>one</form></table><form>two",
        "<b><b><b><b><b>one<p>two",
        "<iframe><p>one</iframe><noembed>two</noembed><xmp><b></xmp>three",
        "<body><body class=comment>one",
        "<p <b>one</p =x>two<p",
    ],
)
def test_tags_tell_the_tree_that_a_parser_makes(page: str) -> None:
    try:
        assert told(walk(page.encode(), made=False)) == told(parsed(page))
    except Unsure:
        pytest.fail("the tags were thought not to tell")


@pytest.mark.parametrize(
    "page",
    [
        "<table><tr>one<td>two</table>",
        "<b><p>one</b>two",
        "<a><div>one<a>two",
        "<svg><p>one</svg>",
        "<center><font>one<center>two</font>",
        "<frameset><frame>",
        "<plaintext>one",
        "<div><svg>one</div>two",
        "<form>one <span></form>",
    ],
)
def test_what_a_parser_must_move_is_left_to_one(page: str) -> None:
    with pytest.raises(Unsure):
        walk(page.encode(), made=False)


NAMES = [
    *("p", "div", "span", "a", "b", "i", "ul", "li", "dl", "dd", "dt", "table", "tbody", "tr", "td", "th", "caption"),
    *("h1", "h2", "br", "hr", "pre", "form", "button", "select", "option", "optgroup", "object", "video", "nobr"),
    *("x-a", "head", "body", "html", "noscript", "title", "script", "template", "svg", "input", "font", "ruby", "rt"),
]
PAGES = st.lists(
    st.one_of(
        st.sampled_from(NAMES).flatmap(
            lambda name: st.sampled_from([f"<{name}>", f"<{name}>", f"</{name}>", f"<{name} class=comment>"])
        ),
        st.sampled_from(["one ", "two.", "3", " ", "\n", "&lt;", "&eacute", "<!-- x -->", "<!doctype html>", "<"]),
    ),
    max_size=25,
).map("".join)


@settings(max_examples=1000)
@given(PAGES)
def test_any_tags_tell_what_a_parser_makes_or_nothing(page: str) -> None:
    try:
        found = walk(page.encode(), made=False)
    except Unsure:
        return
    assert told(found) == told(parsed(page))


def test_reading_ends_where_elements_nest_too_deep() -> None:
    assert walk(b"<div>" * (DEEPEST - 4), made=False)
    for made in (True, False):
        with pytest.raises(Costly, match="html_depth"):
            walk(b"<div>" * DEEPEST + b"</div>" * DEEPEST, made=made)


def resolved(text: str) -> str:
    raw = np.frombuffer(text.encode(), np.uint8)
    out = np.zeros(2 * len(raw) + 8, np.uint8)
    return out[: resolve(raw, 0, len(raw), out)].tobytes().decode()


def test_references_are_those_of_the_standard() -> None:
    for name in html5:
        assert resolved(f"x&{name}y") == html.unescape(f"x&{name}y")


@given(st.text(alphabet="&#xX0129aflt;gp ", max_size=20))
def test_any_references_are_as_python_has_them(text: str) -> None:
    # Python leaves some numbers out that the standard takes for a replacement character.
    assert resolved(text) == html.unescape(text) or "&#" in text


@pytest.mark.skipif(not (DATA / "aeb.jsonl.gz").exists(), reason="needs HORNBOOK_DATA")
def test_tags_tell_the_tree_of_nearly_all_real_pages() -> None:
    with gzip.open(DATA / "aeb.jsonl.gz", "rt", encoding="utf-8") as stream:
        pages = [row["html"] for row in map(json.loads, stream) if "html" in row]
    unsure = 0
    for page in pages:
        try:
            found = walk(page.encode(), made=False)
        except Unsure:
            unsure += 1
        else:
            assert told(found, attributes=False) == told(parsed(page), attributes=False)
    assert unsure < len(pages) / 10
