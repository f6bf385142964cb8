"""From an archived page to a document: encoding, main text, title, language, licence, opt-out signals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5
from resiliparse.parse.html import HTMLTree, traverse_dom

from hornbook.text.consent import opt_out
from hornbook.text.document import Document, Malformed, document_id, kind_of, read_rows, stem
from hornbook.text.warc import LARGEST_BODY, Page, read_archive

DEEPEST = 512
"""Elements within elements: browsers stop at 512, and the time of main-content extraction grows with its square."""

MOST_ATTRIBUTES = 1000
LONG_TAG = re.compile(r"<[^<>]{10000,}")
HTML = ("text/html", "application/xhtml+xml")
TEXT = ("text/plain", "text/markdown")
UNNESTED = ("br>", "br ", "br/", "hr>", "hr ", "hr/", "img", "inp", "met", "lin", "li>", "li ", "p> ", "p  ")
"""Beginnings of elements that end by themselves, so that counting them would find depth where there is none."""


@dataclass(frozen=True, slots=True)
class Extract:
    """What a page says: its text, and what it says of itself (`meta` has lower-case names)."""

    text: str
    title: str
    language: str
    license: str
    meta: dict[str, str]


def read_file(path: Path, *, name: str = "", largest_body: int = LARGEST_BODY) -> Iterator[Page | Document | Malformed]:
    """Read a file of any kind that `document.find_files` finds: pages of an archive, documents of the others."""
    if kind_of(path) in (".warc", ".wet"):
        return read_archive(path, name=name, largest_body=largest_body)
    return read_rows(path, name=name)


def page_document(
    page: Page, *, source: str, main_content: bool, skip: tuple[str, ...], honour: bool
) -> tuple[Document, str | None]:
    """The document of a page, and why it is removed at once, if it is: no success, no text, or opted out.

    Args:
        main_content: leave navigation, footers and the like out.
        skip: CSS selectors of elements to leave out.
        honour: remove pages that opt out of being learned from.
    """
    document = Document(document_id(page.url, page.body), "", source, page.url, page.date, {"record": page.record_id})
    if "warc-truncated" in page.headers:
        document.metadata["truncated"] = page.headers["warc-truncated"]
    kind = page.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not 200 <= page.status < 300:
        return document, f"http_status: {page.status}"
    if kind and kind not in HTML + TEXT:
        return document, f"content_type: {kind[:80]}"
    html = _decode(page)
    if page.kind == "conversion" or kind in TEXT:
        document.text = tidy(html)
        return document, opt_out(page.headers, {}) if honour else None
    if reason := bomb(html):
        return document, reason
    found = extract_html(html, main_content=main_content, skip=skip)
    document.text = found.text
    described = {"title": found.title, "declared_language": found.language, "license": found.license}
    document.metadata |= {key: value for key, value in described.items() if value}
    return document, opt_out(page.headers, found.meta) if honour else None


def extract_html(html: str, *, main_content: bool, skip: tuple[str, ...] = ()) -> Extract:
    """Take a page's text and what it says of itself out of its HTML."""
    tree = HTMLTree.parse(html)
    text = extract_plain_text(
        tree,
        preserve_formatting=True,
        main_content=main_content,
        list_bullets=False,
        alt_texts=False,
        skip_elements=list(skip),
    )
    licences, languages = _attributes(tree, '[rel~="license"]', "href"), _attributes(tree, "html[lang]", "lang")
    return Extract(
        tidy(text),
        " ".join((tree.title or "").split()),
        languages[0].lower() if languages else "",
        licences[0] if licences else "",
        _meta(tree),
    )


def _meta(tree: HTMLTree) -> dict[str, str]:
    found: dict[str, str] = {}
    names, contents = (_attributes(tree, "meta[name][content]", key) for key in ("name", "content"))
    for name, content in zip(map(str.lower, names), contents, strict=True):
        found[name] = f"{found[name]}, {content}" if name in found else content
    return found


def _attributes(tree: HTMLTree, selector: str, name: str) -> list[str]:
    """The attribute `name` of the elements that a CSS selector finds, in page order."""
    # A slice, since iterating what a query found takes more than quadratic time (a minute for 5,000 elements).
    elements = tree.document.query_selector_all(selector)[:] if tree.document else ()
    return [(element.getattr(name) or "").strip() for element in elements]


def _decode(page: Page) -> str:
    if page.kind == "conversion":
        return page.body.decode("utf-8", errors="replace")
    declared = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", page.headers.get("content-type", ""), re.IGNORECASE)
    encoding = map_encoding_to_html5(declared[1], fallback_utf8=False) if declared else None
    encoding = encoding or detect_encoding(page.body, from_html_meta=True) or "utf-8"
    return bytes_to_str(page.body, encoding, errors="replace")


def tidy(text: str) -> str:
    """Text with plain spaces, none at the ends of lines, no tabs at their starts, and single empty lines."""
    text = text.replace("\r\n", "\n").replace("\u00a0", " ").replace("\0", "")
    text = re.sub(r" *\t[\t ]*", "\t", text)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\t", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def bomb(html: str) -> str | None:
    """Why a page would take more time than pages do, if it would."""
    if any(len(tag[0].split()) > MOST_ATTRIBUTES for tag in LONG_TAG.finditer(html)):
        return f"html_attributes: more than {MOST_ATTRIBUTES:,} in one element"
    if _nesting(html) > DEEPEST and _depth(html) > DEEPEST:
        return f"html_depth: more than {DEEPEST:,} elements within each other"
    return None


def _nesting(html: str) -> int:
    """How deep elements nest, from above: an element that is never closed counts to the end. O(n), vectorized."""
    text = np.frombuffer(html.encode("utf-8", "replace") + b"    ", np.uint8)
    at = np.flatnonzero(text[:-4] == ord("<"))
    closing = text[at + 1] == ord("/")
    first = at + 1 + closing
    code = _code(text, first)
    letter = (text[first] | 0x20) - ord("a") < 26
    counted = letter & ~np.isin(code, _CODES)
    level = np.cumsum(np.where(counted, np.where(closing, -1, 1), 0))
    # From the lowest level before it, so that closing what was never opened hides nothing.
    return int((level - np.minimum.accumulate(np.minimum(level, 0))).max(initial=0))


def _code(text: NDArray[np.uint8], at: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Three lower-case letters as one number."""
    lower = np.where((text >= ord("A")) & (text <= ord("Z")), text | 0x20, text).astype(np.uint64)
    first, second, third = (lower[np.minimum(at + step, len(text) - 1)] for step in range(3))
    coded: NDArray[np.uint64] = first << np.uint64(16) | second << np.uint64(8) | third
    return coded


_CODES = np.array([int.from_bytes(name.encode(), "big") for name in UNNESTED], np.uint64)


def _depth(html: str) -> int:
    deepest = 0

    def see(context: object) -> None:
        nonlocal deepest
        deepest = max(deepest, getattr(context, "depth", 0))

    if body := HTMLTree.parse(html).body:
        traverse_dom(body, see, elements_only=True)
    return deepest


def source_of(url: str, name: str, sources: Mapping[str, str]) -> str:
    """The source of a document: the first whose glob matches its URL or file, else its host, else its file."""
    for source, pattern in sources.items():
        if fnmatchcase(url, pattern) or fnmatchcase(name, pattern):
            return source
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    return host or stem(name)


def links(page: Page) -> list[str]:
    """The absolute http(s) URLs that an HTML page or a redirect points to, in page order, without fragments.

    A page that says `nofollow`, and one that no page would be so costly to read, has none.
    """
    if 300 <= page.status < 400:
        return _absolute(page.url, [page.headers.get("location", "")])
    if page.headers.get("content-type", "").partition(";")[0].strip().lower() not in HTML:
        return []
    html = _decode(page)
    if bomb(html):
        return []
    tree = HTMLTree.parse(html)
    if "nofollow" in _meta(tree).get("robots", "").lower():
        return []
    bases = _absolute(page.url, _attributes(tree, "base[href]", "href")[:1])
    return _absolute(bases[0] if bases else page.url, _attributes(tree, "a[href]", "href"))


def _absolute(base: str, references: list[str]) -> list[str]:
    found = (normal_url(reference, base) for reference in references if reference.strip())
    return list(dict.fromkeys(url for url in found if url))


def normal_url(reference: str, base: str = "") -> str:
    """An http(s) URL in its normal form (RFC 3986, 6.2: lower-case host, no default port, no fragment), or ""."""
    try:
        parts = urlsplit(urljoin(base, reference.strip()))
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host:
        return ""
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme]
    place = host if port in (None, default) else f"{host}:{port}"
    return quote(urlunsplit((parts.scheme, place, parts.path or "/", parts.query, "")), safe="%/:=&?~#+!$,;'@()*[]|")
