"""Opt-out signals: what a page says about being learned from, and what its owners have asked to be taken down.

Sources: `noai` and `noml` in X-Robots-Tag and in meta robots (DeviantArt 2022, Spawning); the TDM Reservation Protocol
(W3C community report, 2024); `Content-Usage` (draft-ietf-aipref-attach, draft-ietf-aipref-vocab). `noimageai` and
`noimageindex` are about images: a page that says them and no more may be learned from, since only text is.
What sites say in files of their own, such as robots.txt, is in `robots`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from hornbook.errors import EmptyInput, InputError
from hornbook.text.document import Document
from hornbook.text.safety import Domains, host_and_path

DIRECTIVES = ("noai", "noml")
TRAINING = ("train-genai", "train-ai", "ai-train", "genai", "ai", "bots", "tdm")
"""Names of a use that takes in the training of a language model, the narrowest first: it counts if it is stated.

`train-ai` is the draft's of today, the others were in its forerunners; `ai-train` is Cloudflare's Content-Signal.
"""


def opt_out(headers: Mapping[str, str], meta: Mapping[str, str], *, tdm_file: str = "") -> str | None:
    """Why a page may not be learned from, or None. Names in `headers` and `meta` are lower case.

    A directive to one user agent (`otherbot: noai`, or `<meta name="gptbot">`) counts like one to all: the page does
    not want to be learned from, and what is said to one crawler cannot be meant for that one's copy of it alone.
    `tdm_file` is what the site's tdmrep.json says of the page, "1", "0" or "": a header goes before it, a meta before
    both.
    """
    robots = [("X-Robots-Tag", headers.get("x-robots-tag", "")), ("meta robots", meta.get("robots", ""))]
    robots += [(f"meta {name}", value) for name, value in meta.items() if name.endswith("bot")]
    for place, value in robots:
        words = set(re.split(r"[\s,:;]+", value.lower()))
        if found := [word for word in DIRECTIVES if word in words]:
            return f"opt_out: {place} says {found[0]}"
    for name in ("content-usage", "content-signal"):
        if forbids_training(headers.get(name, "")):
            return f"opt_out: header {name} is {headers[name][:80]}"
    return _reserved(headers, meta, tdm_file)


def _reserved(headers: Mapping[str, str], meta: Mapping[str, str], tdm_file: str) -> str | None:
    """TDM Reservation Protocol, section on processing priority: what is nearer to the text supersedes the rest."""
    places = (
        ("meta", meta.get("tdm-reservation", meta.get("tdm:reservation", ""))),
        ("header", headers.get("tdm-reservation", "")),
        ("tdmrep.json", tdm_file),
    )
    place, value = next(((place, value.strip()) for place, value in places if value.strip() in ("0", "1")), ("", "0"))
    return f"opt_out: {place} tdm-reservation is 1" if value == "1" else None


def forbids_training(preferences: str) -> bool:
    """Whether a list of preferences such as `train-ai=n, search=y` is against training a language model."""
    pairs = (part.partition(";")[0].partition("=") for part in preferences.split(","))
    stated = {name.strip().lower(): value.strip().lower() for name, _, value in pairs}
    narrowest = next((stated[name] for name in TRAINING if name in stated), "")
    return narrowest in ("n", "no")


# -- taken down -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Takedown:
    """What is to be taken down: ids of documents, single URLs, domains and prefixes of URLs."""

    ids: frozenset[str]
    urls: frozenset[str]
    domains: Domains
    beginnings: tuple[str, ...] = ()
    """Of URLs, where they end inside of a part of the path: those that end with one are in `domains`."""

    @classmethod
    def read(cls, path: Path) -> Takedown:
        """Read a list, one entry a line; empty lines and lines that begin with # are left out.

        An entry is an id (32 hex digits), a domain (`example.org`, with all hosts below it), a URL, or the beginning of
        URLs, which ends with a slash or with an asterisk (`https://example.org/private/*`).

        Raises:
            InputError: the file cannot be read, or a line is none of these.
            EmptyInput: it holds no entry.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"takedown list {path}: {error}") from error
        entries = [(number, line.strip()) for number, line in enumerate(lines, 1)]
        entries = [(number, entry) for number, entry in entries if entry and not entry.startswith("#")]
        if not entries:
            raise EmptyInput(f"takedown list {path} holds no entry", hint="an id, a URL or a domain a line")
        return _takedown(path, entries)


def _takedown(path: Path, entries: list[tuple[int, str]]) -> Takedown:
    ids, urls, domains, beginnings = set[str](), set[str](), list[str](), list[str]()
    for number, entry in entries:
        host, rest = host_and_path(entry)
        if re.fullmatch(r"[0-9a-f]{32}", entry):
            ids.add(entry)
        elif not re.fullmatch(r"[^\s/]+\.[^\s/]+|\[[0-9a-f:.]+\]|localhost", host) or re.search(r"\s", entry):
            hint = "32 hex digits, example.org, https://example.org/page or https://example.org/folder/*"
            raise InputError(f"takedown list {path}, line {number}: {entry!r} is no id, URL or domain", hint=hint)
        elif rest.endswith("*") and not rest.endswith("/*"):
            beginnings.append(_url_key(host, rest.removesuffix("*")))
        elif rest in ("", "/") or rest.endswith(("/", "*")):
            domains.append(host.removeprefix("www.") + rest.rstrip("*").rstrip("/"))
        else:
            urls.add(_url_key(host, rest))
    prefixes = Domains.of((entry, "") for entry in domains)
    return Takedown(frozenset(ids), frozenset(urls), prefixes, tuple(beginnings))


def takedown(document: Document, *, listed: Takedown) -> str | None:
    """No document whose id, URL, domain or beginning of URL is on the list."""
    if document.id in listed.ids:
        return f"takedown: id {document.id}"
    host, path = host_and_path(document.url)
    key = _url_key(host, path)
    if key in listed.urls or (listed.beginnings and key.startswith(listed.beginnings)):
        return f"takedown: {document.url}"
    found = listed.domains.entry(document.url)
    return f"takedown: {found[0]}" if found else None


def _url_key(host: str, path: str) -> str:
    """URLs that differ in their scheme, `www.`, percent-encoding or a slash at the end stand for the same page."""
    return host.removeprefix("www.") + unquote(path).rstrip("/")
