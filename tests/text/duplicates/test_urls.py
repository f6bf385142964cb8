from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.text.duplicates.urls import normal_form

DATA = Path(os.environ.get("HORNBOOK_DATA") or Path(__file__).parents[4] / "shared/data") / "consent"


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTPS://user:pw@www.Example.ORG:443/a/./b/../c/?#top", "http://example.org/a/c"),
        ("http://example.org", "http://example.org/"),
        ("http://example.org:8080/", "http://example.org:8080/"),
        ("http://example.org/%7euser/%e9%2f", "http://example.org/~user/%E9%2F"),
        ("http://example.org/caf\u00e9 au lait", "http://example.org/caf%C3%A9%20au%20lait"),
        ("http://example.org/?b=2&a=1&utm_source=x&fbclid=y&&a=0", "http://example.org/?a=1&a=0&b=2"),
        ("http://example.org/a;jsessionid=8F?PHPSESSID=1", "http://example.org/a"),
        ("http://example.org/?utm=1&id=2&gclid", "http://example.org/?id=2&utm=1"),
        ("http://example.org/#!/page", "http://example.org/#!/page"),
        ("http://b\u00fccher.example./", "http://xn--bcher-kva.example/"),
        ("http://b\u00fccher.example/", "http://xn--bcher-kva.example/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://[0:0::1]:80/", "http://[::1]/"),
        ("\\\\example.org", "\\\\example.org"),
        ("http:\\\\example.org\\a", "http://example.org/a"),
        (" example.org/a\n", "http://example.org/a"),
        ("www.example.org", "http://example.org/"),
        ("www.org", "http://www.org/"),
        ("pages/a.html", "pages/a.html"),
        ("DOI:10.1000/A", "doi:10.1000/A"),
        ("http:///", "http:///"),
        ("http://a b/", "http://a b/"),
        ("", ""),
    ],
)
def test_normal_form(url: str, normal: str) -> None:
    assert normal_form(url) == normal
    assert normal_form(normal) == normal


PARTS = [*":/.?#&@%[", "http", "//", "..", "%2e", "%zz", "www.", "a", "0x1", "\u00e9", "\ud800"]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PARTS)).map("".join), st.text().map("http://".__add__)))
def test_a_normal_form_is_its_own_and_nothing_is_an_error(url: str) -> None:
    assert normal_form(normal_form(url)) == normal_form(url)


def test_long_urls_take_linear_time() -> None:
    for part in ("a", "/..", "%2e/", "&a", ".", "1.", ":", "@", "[", "%", "utm_", "\u00e9", ";sid="):
        normal_form("http://example.org/" + part * 100_000)
        normal_form("http://" + part * 100_000)
        normal_form(part * 100_000)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs HORNBOOK_DATA")
def test_browsers_read_urls_so() -> None:
    """The tests of the WHATWG standard: a URL has the normal form of what a browser makes of it."""
    with gzip.open(DATA / "wpt_urltestdata.json.gz") as stream:
        cases = [case for case in json.load(stream) if isinstance(case, dict)]
    for case in cases:
        assert normal_form(normal_form(case["input"])) == normal_form(case["input"])
    whole = [case for case in cases if absolute(case["input"].strip().lower(), case)]
    assert len(whole) > 150
    assert [case for case in whole if normal_form(case["input"]) != normal_form(case["href"])] == []


def absolute(url: str, case: dict[str, str]) -> bool:
    """Whether a browser takes a URL of http or https as it is, base or not."""
    if "failure" in case or not url.startswith(("http:", "https:")):
        return False
    slashes = url.partition(":")[2].startswith(("//", "\\\\"))
    return slashes or (case["base"] or "").partition(":")[0] != url.partition(":")[0]
