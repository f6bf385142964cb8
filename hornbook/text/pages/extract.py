"""From an archived page to a document: encoding, main text, title, language, licence, opt-out signals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from resiliparse.parse.html import HTMLTree

from hornbook.text.archives.warc import Page
from hornbook.text.consent import opt_out
from hornbook.text.document import Document, document_id
from hornbook.text.files import stem
from hornbook.text.licences import licence_of
from hornbook.text.pages.bombs import bomb
from hornbook.text.pages.charset import in_utf8
from hornbook.text.pages.content import main_text, whole_text
from hornbook.text.pages.described import described
from hornbook.text.pages.walk import Costly, Unsure, Walked, walk

HTML = ("text/html", "application/xhtml+xml")
TEXT = ("text/plain", "text/markdown")


@dataclass(frozen=True, slots=True)
class Extract:
    """What a page says: its text, and what it says of itself (`meta` has lower-case names)."""

    text: str
    title: str
    language: str
    license: str
    date: str
    """When it was published, as it says: YYYY-MM-DD, maybe with a time."""
    canonical: str
    meta: dict[str, str]


def page_document(
    page: Page, *, source: str, main_content: bool, skip: tuple[str, ...], honour: bool, tdm_file: str = ""
) -> tuple[Document, str | None]:
    """The document of a page, and why it is removed at once, if it is: no success, no text, or opted out.

    Args:
        main_content: leave navigation, footers and the like out.
        skip: CSS selectors of elements to leave out.
        honour: remove pages that opt out of being learned from.
        tdm_file: what the site's tdmrep.json says of the page (see `consent.opt_out`).
    """
    document = Document(document_id(page.url, page.body), "", source, page.url, page.date, {"record": page.record_id})
    if "warc-truncated" in page.headers:
        document.metadata["truncated"] = page.headers["warc-truncated"]
    kind = page.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not 200 <= page.status < 300:
        return document, f"http_status: {page.status}"
    if kind and kind not in HTML + TEXT:
        return document, f"content_type: {kind[:80]}"
    html = _in_utf8(page)
    if page.kind == "conversion" or kind in TEXT:
        document.text = tidy(html.decode("utf-8", "replace"))
        return document, opt_out(page.headers, {}, tdm_file=tdm_file) if honour else None
    try:
        found = extract_html(html, main_content=main_content, skip=skip)
    except Costly as costly:
        return document, str(costly)
    document.text = found.text
    document.metadata |= {key: value for key, value in _metadata(found, html).items() if value}
    return document, opt_out(page.headers, found.meta, tdm_file=tdm_file) if honour else None


def _metadata(found: Extract, html: bytes) -> dict[str, str]:
    return {
        "title": found.title,
        "declared_language": found.language,
        "license": licence_of(links=[found.license] if found.license else [], meta=found.meta, html=html),
        "published": found.date,
        "canonical": found.canonical,
    }


def _in_utf8(page: Page) -> bytes:
    return page.body if page.kind == "conversion" else in_utf8(page.body, page.headers.get("content-type", ""))


def extract_html(html: bytes, *, main_content: bool, skip: tuple[str, ...] = ()) -> Extract:
    """Take a page's text and what it says of itself out of its HTML.

    Args:
        html: in UTF-8.
        skip: CSS selectors of elements to leave out.

    Raises:
        Costly: it would take more time than pages do.
    """
    page = walked(html, skip)
    said = described(page.said, html)
    text = main_text(page) if main_content else whole_text(page)
    return Extract(_tidied(text), said.title, said.language, said.license, said.date, said.canonical, said.meta)


def walked(html: bytes, skip: tuple[str, ...] = ()) -> Walked:
    """A page's blocks and elements; a parser makes its tree where its tags do not tell it, or elements are left out.

    Raises:
        Costly: it would take more time than pages do.
    """
    if not skip:
        try:
            return walk(html, made=False)
        except Unsure:
            pass
    if reason := bomb(html):
        raise Costly(reason)
    tree = HTMLTree.parse(html.decode("utf-8", "replace"))
    if skip and tree.document:
        for element in tree.document.query_selector_all(", ".join(skip))[:]:
            element.decompose()
    return walk(tree.document.html.encode("utf-8", "replace") if tree.document else b"", made=True)


def _attributes(tree: HTMLTree, selector: str, name: str) -> list[str]:
    """The attribute `name` of the elements that a CSS selector finds, in page order."""
    # A slice, since iterating what a query found takes more than quadratic time (a minute for 5,000 elements).
    elements = tree.document.query_selector_all(selector)[:] if tree.document else ()
    return [(element.getattr(name) or "").strip() for element in elements]


def _tidied(text: str) -> str:
    """What `tidy` makes of text whose spaces are plain and single outside of preformatted text."""
    return tidy(text) if any(odd in text for odd in ("  ", " \n", "\t", "\n\n\n")) else text.strip("\n")


def tidy(text: str) -> str:
    """Text with plain spaces, none at the ends of lines, no tabs at their starts, and single empty lines."""
    text = text.replace("\r\n", "\n").replace("\u00a0", " ").replace("\0", "")
    text = re.sub(r" *\t[\t ]*", "\t", text)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\t", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


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
    html = _in_utf8(page)
    if bomb(html):
        return []
    tree = HTMLTree.parse(html.decode("utf-8", "replace"))
    robots = zip(*(_attributes(tree, "meta[name][content]", key) for key in ("name", "content")), strict=True)
    if any(name.lower() == "robots" and "nofollow" in content.lower() for name, content in robots):
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
