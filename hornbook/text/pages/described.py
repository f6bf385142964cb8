"""What a page says of itself in its tags: language, licence, canonical address, date and meta."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape

ATTRIBUTE = re.compile(r"""[\s"'/]([^\s=>"'/]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))""")
DATE = re.compile(r"\d{4}-[01]\d-[0-3]\d(?:[T ][\d:.]+(?:Z|[+-]\d\d:?\d\d)?)?")
JSON_DATE = re.compile(rb'"datePublished"\s{0,9}:\s{0,9}"([^"<]{8,40})"')
DATES = (
    "article:published_time",
    "datepublished",
    "og:published_time",
    "dc.date.issued",
    "dcterms.created",
    "dcterms.date",
    "dc.date",
    "pubdate",
    "publish-date",
    "publication_date",
    "sailthru.date",
    "parsely-pub-date",
    "date",
)
"""Names and properties of meta that tell when a page was published, the surest first."""


@dataclass(slots=True)
class Described:
    """`meta` has lower-case names; a name said twice has both contents."""

    title: str = ""
    language: str = ""
    license: str = ""
    canonical: str = ""
    date: str = ""
    meta: dict[str, str] = field(default_factory=dict)


def described(tags: list[str], html: bytes) -> Described:
    """Read the tags in which a page speaks of itself, a title with its text, as `walk` found them in its HTML."""
    found, dates = Described(), dict[str, list[str]]()
    for tag in tags:
        name = tag[1:6].lower()
        if name == "title":
            found.title = found.title or " ".join(unescape(tag.partition(">")[2]).split())
            continue
        said = _attributes(tag)
        if name.startswith("meta"):
            _read_meta(said, found.meta, dates)
        elif name.startswith("html"):
            found.language = found.language or said.get("lang", "").strip().lower()
        elif name.startswith("time"):
            dates.setdefault(said.get("itemprop", "").lower() or "time", []).append(said.get("datetime", ""))
        else:
            _read_link(said, found)
    found.date = _published(dates, html)
    return found


def _attributes(tag: str) -> dict[str, str]:
    """The attributes of a tag by lower-case names; of one that is there twice, the first."""
    found = {name.lower(): a or b or c for name, a, b, c in reversed(ATTRIBUTE.findall(tag))}
    return {name: unescape(value) for name, value in found.items()} if "&" in tag else found


def _read_meta(said: dict[str, str], meta: dict[str, str], dates: dict[str, list[str]]) -> None:
    if "content" not in said:
        return
    content = said["content"].strip()
    if "name" in said:
        name = said["name"].strip().lower()
        meta[name] = f"{meta[name]}, {content}" if name in meta else content
    for key in ("name", "property", "itemprop"):
        if key in said and (of := said[key].lower()) in DATES:
            dates.setdefault(of, []).append(content)


def _read_link(said: dict[str, str], found: Described) -> None:
    relations, href = said.get("rel", "").lower().split(), said.get("href", "").strip()
    if "license" in relations:
        found.license = found.license or href
    if "canonical" in relations:
        found.canonical = found.canonical or href


def _published(dates: dict[str, list[str]], html: bytes) -> str:
    """The first of the dates that looks like one, the surest first."""
    said = [*dates.get(DATES[0], ()), *dates.get(DATES[1], ()), *_in_json(html)]
    said += [date for name in (*DATES[2:], "time") for date in dates.get(name, ())]
    return next((day[0] for date in said if (day := DATE.match(date.strip()))), "")


def _in_json(html: bytes) -> list[str]:
    """What JSON-LD gives as the page's date; plain text search, since much of it on the web is no valid JSON."""
    at = html.find(b'"datePublished"')
    found = JSON_DATE.match(html, at) if at >= 0 else None
    return [found[1].decode("utf-8", "replace")] if found else []
