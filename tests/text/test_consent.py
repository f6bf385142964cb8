from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from hornbook.errors import EmptyInput, InputError
from hornbook.text.consent import Takedown, forbids_training, opt_out, takedown
from hornbook.text.document import Document

DATA = Path(os.environ.get("HORNBOOK_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.mark.parametrize(
    ("headers", "meta", "reason"),
    [
        ({}, {}, None),
        ({"x-robots-tag": "noindex, nofollow"}, {"robots": "index"}, None),
        ({"x-robots-tag": "otherbot: NoAI"}, {}, "opt_out: X-Robots-Tag says noai"),
        ({"x-robots-tag": "noimageai"}, {"robots": "noimageindex"}, None),
        ({}, {"robots": "noindex,noml"}, "opt_out: meta robots says noml"),
        ({}, {"gptbot": "noai, noimageai"}, "opt_out: meta gptbot says noai"),
        ({}, {"description": "noai"}, None),
        ({"tdm-reservation": "1"}, {}, "opt_out: header tdm-reservation is 1"),
        ({"tdm-reservation": "0"}, {"tdm-reservation": " 1 "}, "opt_out: meta tdm-reservation is 1"),
        ({"tdm-reservation": "1"}, {"tdm-reservation": "0"}, None),
        ({"tdm-reservation": "1"}, {"tdm-reservation": "maybe"}, "opt_out: header tdm-reservation is 1"),
        ({}, {"tdm:reservation": "1"}, "opt_out: meta tdm-reservation is 1"),
        ({"content-usage": "train-ai=n"}, {}, "opt_out: header content-usage is train-ai=n"),
        ({"content-usage": "search=n"}, {}, None),
        ({"content-signal": "ai-train=no"}, {}, "opt_out: header content-signal is ai-train=no"),
        ({}, {"robots": "noaindex"}, None),
    ],
)
def test_opt_out(headers: dict[str, str], meta: dict[str, str], reason: str | None) -> None:
    assert opt_out(headers, meta) == reason


def test_the_file_of_a_site_counts_where_the_page_says_nothing() -> None:
    assert opt_out({}, {}, tdm_file="1") == "opt_out: tdmrep.json tdm-reservation is 1"
    assert opt_out({"tdm-reservation": "0"}, {}, tdm_file="1") is None
    assert opt_out({}, {}, tdm_file="0") is None


@pytest.mark.parametrize(
    ("preferences", "forbidden"),
    [
        ("train-ai=n", True),
        (" Train-AI = N ; because=law, search=y", True),
        ("train-ai=y", False),
        ("bots=n, train-ai=y", False),
        ("train-ai=y, train-genai=n", True),
        ("ai-train=no", True),
        ("ai-input=no", False),
        ("bots=n", True),
        ("", False),
        ("=,,;=n", False),
    ],
)
def test_the_narrowest_preference_counts(preferences: str, forbidden: bool) -> None:
    assert forbids_training(preferences) is forbidden


@pytest.mark.skipif(not (DATA / "consent").is_dir(), reason="no examples of TDMRep at HORNBOOK_DATA")
def test_the_examples_of_the_protocol_are_understood() -> None:
    lines = (DATA / "consent" / "tdmrep_examples.jsonl").read_text(encoding="utf-8").splitlines()
    examples = [json.loads(line)["example"] for line in lines]
    headers = [example for example in examples if example.startswith("HTTP/")]
    pages = [example for example in examples if example.startswith("<!DOCTYPE html")]
    assert headers
    assert pages
    for example in headers:
        fields = dict(line.lower().split(": ", 1) for line in example.splitlines()[1:])
        assert opt_out(fields, {}) == "opt_out: header tdm-reservation is 1"
    for example in pages:
        meta = dict(re.findall(r'<meta name="([^"]*)" content="([^"]*)"', example))
        assert opt_out({}, meta) == "opt_out: meta tdm-reservation is 1"


# -- taken down -------------------------------------------------------------------------------------------------------

ID = "0123456789abcdef0123456789abcdef"
LISTED = (
    *("# a comment", ID, "example.org", "https://www.example.com/page", "example.net/private/*", "", "a.example/x/"),
    "https://b.example/drafts*",
)


def _write(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("id", "url", "reason"),
    [
        (ID, "https://elsewhere.example/", f"takedown: id {ID}"),
        ("1", "https://example.org/any", "takedown: example.org"),
        ("1", "http://blog.example.org/any", "takedown: example.org"),
        ("1", "http://example.com/page/", "takedown: http://example.com/page/"),
        ("1", "https://www.example.com/p%61ge", "takedown: https://www.example.com/p%61ge"),
        ("1", "https://www.example.com/page/2", None),
        ("1", "https://www.example.com/page?x=1", None),
        ("1", "https://example.net/private/a/b", "takedown: example.net/private"),
        ("1", "https://b.example/drafts-2/x", "takedown: https://b.example/drafts-2/x"),
        ("1", "https://b.example/draft/x", None),
        ("1", "https://example.net/privateer", None),
        ("1", "https://a.example/x/y", "takedown: a.example/x"),
        ("1", "https://a.example/", None),
        ("1", "", None),
    ],
)
def test_listed_documents_are_taken_down(tmp_path: Path, id: str, url: str, reason: str | None) -> None:
    listed = Takedown.read(_write(tmp_path / "list.txt", LISTED))
    assert takedown(Document(id, "", "s", url), listed=listed) == reason


def test_a_bad_takedown_list_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "list.txt", ["example.org", "Please remove my page"])
    with pytest.raises(InputError, match=r"list.txt, line 2: 'Please remove my page' is no id, URL or domain") as error:
        Takedown.read(path)
    assert "https://example.org/page" in error.value.hint
    with pytest.raises(EmptyInput, match="holds no entry"):
        Takedown.read(_write(path, ["# nothing"]))
    with pytest.raises(InputError, match="takedown list"):
        Takedown.read(tmp_path / "absent.txt")
