"""Text from outside stays text, whatever it says and wherever it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from resiliparse.parse.html import HTMLTree, traverse_dom

from hornbook.report import render_recipe, render_run
from hornbook.report.wording import visible

PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></ScRiPt>",
    "<img src=x onerror=alert(1)>",
    "<img src='https://evil.example/x.png'>",
    "<svg onload=alert(1)>",
    "<svg/onload=alert(1)//",
    "</svg><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</pre></details><iframe src=https://evil.example></iframe>",
    "</textarea><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "<!--<img src=x onerror=alert(1)>",
    "]]><script>alert(1)</script>",
    "<a href=javascript:alert(1)>x</a>",
    "<a href='java&#115;cript:alert(1)'>x</a>",
    "<a href='jav\tascript:alert(1)'>x</a>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "`onerror=alert(1)`",
    '"><b onclick=alert(1)>',
    "'><b onclick=alert(1)>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "&#x3c;img src=x onerror=alert(1)&#x3e;",
    "\\u003cscript\\u003ealert(1)",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>@import 'https://evil.example/x.css'</style>",
    "<div style='background:url(https://evil.example/x)'>",
    "<object data=x.swf>",
    "<embed src=x>",
    "<form action=https://evil.example><input name=x></form>",
    "<math><mi xlink:href=javascript:alert(1)>x</mi></math>",
    "<svg><use href='https://evil.example/x.svg#a'/></svg>",
    "<svg><foreignObject><script>alert(1)</script></foreignObject></svg>",
    "{{ 7*7 }}{% for x in y %}",
    "$\\frac{1}{2}$ $x",
    "\x00\x1b[31mred\x07",
    "\u202egnp.exe",
    "\u2066a\u2069\u200b\ufeff",
)
LOADS = re.compile(r"(?i)^\s*(?:[a-z][a-z0-9+.-]*:|//)")
FORBIDDEN = {"script", "iframe", "img", "object", "embed", "base", "link", "form", "input", "foreignobject", "math"}


class Seen(HTMLParser):
    """Collects what must not be there, as Python's parser sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.metas = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.metas += tag == "meta"
        self.wrong += [tag] if tag in FORBIDDEN else []
        for name, value in attrs:
            loads = name in ("href", "src", "action", "data", "xlink:href") and LOADS.match(value or "")
            if name.startswith("on") or loads or (name == "style" and "url(" in (value or "")):
                self.wrong.append(f"{tag} {name}={value}")


def wrong_in(page: str) -> list[str]:
    """What two parsers find in a page that must not be there."""
    seen = Seen()
    seen.feed(page)
    tree: Any = HTMLTree.parse(page)
    tags: list[str] = []

    def visit(context: Any) -> None:
        tags.append(context.node.tag)
        seen.wrong.extend(f"{context.node.tag} {name}" for name in context.node.attrs if name.startswith("on"))

    traverse_dom(tree.document, visit, elements_only=True)
    extra = ["style"] * (tags.count("style") - 1) + ["meta"] * (max(tags.count("meta"), seen.metas) - 5)
    return seen.wrong + [tag for tag in tags if tag in FORBIDDEN] + extra


def test_hostile_text_stays_text(tmp_path: Path, made_recipe: Callable[..., dict[str, Path]]) -> None:
    # All payloads at once first; each alone where parsers differ most: one can hide what another does.
    runs = made_recipe(tmp_path / "all", hostile=" ".join(PAYLOADS).replace("\x00", ""))
    for rendered in (
        render_recipe("<script>alert(1)</script>", runs),
        *(render_run(folder) for folder in runs.values()),
    ):
        assert wrong_in(rendered) == []
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in rendered or "hostile" not in rendered
        assert not set("\x00\x1b\x07\u202e\u2066\u2069\u200b\ufeff") & set(rendered)


def test_hostile_names_stay_text(tmp_path: Path, made_run: Callable[..., Path]) -> None:
    name = " ".join(PAYLOADS)
    folder = made_run(tmp_path, "odd", "odd", inputs=[name], results={name: {name: [name]}}, counts={name: 1})
    assert wrong_in(render_run(folder)) == []
    assert wrong_in(render_recipe(name, {name: folder})) == []


@pytest.mark.parametrize("payload", PAYLOADS)
def test_each_payload_alone(payload: str, tmp_path: Path, made_recipe: Callable[..., dict[str, Path]]) -> None:
    runs = made_recipe(tmp_path, hostile=payload)
    some = {table: runs[table] for table in ("crawl", "curate", "instruct", "evaluate")}
    rendered = render_recipe(payload, some)
    assert wrong_in(rendered) == []
    tree: Any = HTMLTree.parse(rendered)
    assert visible(payload).strip() in tree.body.text


def test_the_page_forbids_what_it_does_not_have(page: str) -> None:
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page
    assert wrong_in(page) == []
    assert len(page.encode()) < 400_000
