"""Licences: what a page says about how its text may be used, in one normal form, and a filter that keeps only such.

The normal form is SPDX's (`CC-BY-SA-4.0`, `CC0-1.0`, ISO/IEC 5962), with `reserved` for "all rights reserved" and
`custom` for a licence that is declared but not known here. Sources, from the surest to the weakest; the first that says
something counts:

1. links with rel=license (HTML, section 4.6.8; ccREL, W3C submission 2008),
2. meta elements (`dcterms.license`, `dc.rights`, `copyright`, ...),
3. JSON-LD (schema.org `license`) of the page or its article; what it says of an image is no licence of the text,
4. in the body, a licence in a sentence about the page itself ("this work is licensed under", "except where otherwise
   noted"), in an element whose class is `license`, or behind the licence's badge. A bare link, as under somebody's
   photo, is none,
5. in the last third of the page, a statement that all rights are reserved.

Where one source names several, the one with the most conditions counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from html import unescape
from itertools import islice
from typing import Any

import orjson
import re2

from hornbook.text.document import Document

RESERVED, CUSTOM = "reserved", "custom"
OPEN = ("CC0-*", "CC-PD*", "CC-BY", "CC-BY-[1-4]*", "CC-BY-SA*")
"""Licences that meet the Open Definition 2.1: to use, change and pass on, for any purpose."""

MOST = 100
"""Links and statements of a page that are looked at: no page has so many licences, and time must not grow."""

META = (
    *("dcterms.license", "dc.license", "license", "licence", "citation_license", "dc.rights.license", "dc.rights.uri"),
    *("dcterms.rights", "dc.rights", "rights", "copyright"),
)

URLS = {
    r"creativecommons\.org/publicdomain/zero/(1\.0)": "CC0-{}",
    r"creativecommons\.org/publicdomain/mark/(1\.0)": "CC-PDM-{}",
    r"creativecommons\.org/licenses/publicdomain": "CC-PDDC",
    r"opendatacommons\.org/licenses/odbl": "ODbL-1.0",
    r"opendatacommons\.org/licenses/by": "ODC-By-1.0",
    r"opendatacommons\.org/licenses/pddl": "PDDL-1.0",
    r"nationalarchives\.gov\.uk/doc/open-government-licence/version/([123])": "OGL-UK-{}.0",
    r"nationalarchives\.gov\.uk/doc/open-government-licence": "OGL-UK-3.0",
    r"gnu\.org/(?:copyleft|licenses)/fdl": "GFDL-1.3-or-later",
    r"apache\.org/licenses/license-2\.0": "Apache-2.0",
    r"(?:opensource\.org/licenses?|spdx\.org/licenses)/mit\b": "MIT",
}
NAMES = {
    name.lower(): name
    for name in (
        *("CC0-1.0", "CC-PDM-1.0", "CC-PDDC", "ODbL-1.0", "ODC-By-1.0", "PDDL-1.0", "GFDL-1.3-or-later", "Apache-2.0"),
        *("OGL-UK-1.0", "OGL-UK-2.0", "OGL-UK-3.0", "MIT", RESERVED, CUSTOM),
    )
}
CREATIVE = re.compile(r"creativecommons\.org/licenses/(by(?:-nc)?(?:-nd|-sa)?)(?:/([1-4]\.[05]))?(?:/([a-z]{2,3})\b)?")
SHORT = re.compile(r"\bcc[ -](by(?:[ -]nc)?(?:[ -](?:nd|sa))?)\b(?:[ -]v?([1-4]\.[05])(?:-([a-z]{2,3})\b)?)?")
SPELLED = re.compile(
    r"creative commons[^.;<>]{0,20}?\battribution((?:[ ,/-]{1,3}(?:non-?commercial|no-?deriv\w*|share-?alike))*)"
)
VERSION = re.compile(r"[^<>.;]{0,20}?\b([1-4]\.[05])\b")
ZERO = re.compile(r"\bcc[ -]?0\b|\bcc zero\b|public domain dedication")

RIGHTS = (
    r"all rights reserved|alle rechte vorbehalten|tous droits r[ée]serv[ée]s|todos los derechos reservados"
    r"|todos os direitos reservados|tutti i diritti riservati|alle rechten voorbehouden"
    r"|wszelkie prawa zastrze[żz]one|все права защищены|всі права захищені|版权所有|版權所有|著作権所有|無断転載"
    r"|무단\s?전재"
)
ITSELF = (
    r"(?:except where|unless) (?:otherwise )?(?:noted|stated|indicated|specified)|some rights reserved"
    r"|einige rechte vorbehalten|certains droits r[ée]serv[ée]s|algunos derechos reservados"
    r"|(?:this|our) (?:text|content|work|site|web ?site|page|blog|article|post|wiki|material|document|book)s?\b"
    r"|(?:text|contents?|articles?|posts?|materials?)(?: (?:on|of) (?:this|the|our) [a-z]+)?(?: here)? (?:is|are)\b"
    r"|dieses? werk|diese[rs]? (?:seite|website|text|inhalt)|inhalte?\b|cette (?:œuvre|page)"
    r"|ce (?:site|texte|contenu)|est[ae] obra|este (?:sitio|texto|trabalho|site)|el contenido|quest.{1,3}opera"
    r"|dit werk|ten utwór|это произведение|текст доступен|本作品|本著作|本站|この\s?作品|이 저작물"
)
LICENCE = (
    r"creativecommons\.org/|creative commons|cc[ \-]by|open-government-licence|opendatacommons\.org/"
    r"|gnu\.org/licenses/fdl"
)
HINTS = r"reative ?[Cc]ommons|CC[ \-]BY|opendatacommons\.org/|open-government-licence|(?:licenses|copyleft)/fdl"
"""What a page that states a licence has in it."""

CLASS = re.compile(rb"(?i)\b(?:class|id)=[\"'](?:[\w-]{1,40} ){0,4}licen[cs]e[\"' ]")
BADGE = re.compile(r"(?i)^[^<>]{0,200}>\s{0,20}<img [^<>]{0,200}(?:creativecommons\.org|licensebuttons\.net)/l/")
TAGS = re.compile(r"<[^<>]{0,2000}>|\s+")


def licence_of(*, links: Sequence[str], meta: Mapping[str, str], html: bytes) -> str:
    """The licence of a page in its normal form, "" where it says nothing.

    Args:
        links: where the links with rel=license lead to; one to a page that is no licence known here counts only where
            there is no other.
        meta: the meta elements of the page, with lower-case names.
        html: the page, in UTF-8.
    """
    described = next(filter(None, (normal(meta[name]) for name in META if name in meta)), "")
    for found in (map(normal, links[:MOST]), [described], map(normal, islice(_json_ld(html), MOST)), _stated(html)):
        if licences := [licence for licence in found if licence]:
            return max(licences, key=_conditions)
    return CUSTOM if links else _reserved(html)


def normal(statement: str) -> str:
    """The normal form of a licence that is given by a URL, an SPDX name or in words; "" where it is none of ours."""
    said = " ".join(statement[:2000].lower().replace("_", " ").split())
    if said in NAMES:
        return NAMES[said]
    if match := CREATIVE.search(said):
        return _creative(*match.groups())
    for pattern, name in URLS.items():
        if match := re.search(pattern, said):
            return name.format(*match.groups())
    return _worded(said)


def licensed(document: Document, *, only: tuple[str, ...] = OPEN) -> str | None:
    """Only documents whose metadata name one of these licences: shell patterns, so `CC-BY-*` has `CC-BY-NC-4.0` too."""
    licence = normal(document.metadata.get("license", ""))
    if any(fnmatchcase(licence, wanted) for wanted in only if licence):
        return None
    return f"licensed: {licence or 'no licence'}, not {' or '.join(only)}"


def _worded(said: str) -> str:
    if match := SHORT.search(said):
        return _creative(*match.groups())
    if match := SPELLED.search(said):
        version = VERSION.match(said, match.end())
        codes = [code for word, code in (("non", "NC"), ("deriv", "ND"), ("share", "SA")) if word in match[1]]
        return "-".join(["CC-BY", *codes, *([version[1]] if version else [])])
    if ZERO.search(said):
        return "CC0-1.0"
    return RESERVED if _rights().search(said.encode()) else ""


def _creative(terms: str, version: str | None, country: str | None) -> str:
    """`CC-BY-SA-3.0-DE`; version 4.0 has no forms of countries."""
    port = "" if version == "4.0" else country
    return "-".join(filter(None, ("CC", terms.replace(" ", "-"), version, port))).upper()


def _conditions(licence: str) -> tuple[bool, int, str]:
    """Licences with more conditions come last, and `reserved` and `custom` after them."""
    return licence in (RESERVED, CUSTOM), sum(f"-{code}" in licence for code in ("BY", "NC", "ND", "SA")), licence


# -- within the page ------------------------------------------------------------------------------------------------

OTHER_WORKS = ("ImageObject", "VideoObject", "AudioObject", "MediaObject", "SoftwareSourceCode", "Photograph")


def _json_ld(html: bytes) -> Iterator[str]:
    """The licences that JSON-LD gives for anything but images, sounds, films and code."""
    for block in _json_ld_blocks(html) if b'"license"' in html else ():
        try:
            things = orjson.loads(block)
        except orjson.JSONDecodeError:
            continue
        graph = things.get("@graph", [things]) if isinstance(things, dict) else things
        for thing in graph if isinstance(graph, list) else ():
            yield from _licence_of_thing(thing)


def _json_ld_blocks(html: bytes) -> Iterator[bytes]:
    at = 0
    while (at := html.find(b"application/ld+json", at)) >= 0:
        start = html.find(b">", at) + 1
        end = html.find(b"</script", start)
        if not start or end < 0:
            return
        yield html[start:end]
        at = end


def _licence_of_thing(thing: Any) -> Iterator[str]:
    if not isinstance(thing, dict) or any(kind in OTHER_WORKS for kind in _listed(thing.get("@type"))):
        return
    for licence in _listed(thing.get("license")):
        value = licence.get("@id", licence.get("url", "")) if isinstance(licence, dict) else licence
        if isinstance(value, str):
            yield value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _reserved(html: bytes) -> str:
    return RESERVED if _rights().search(html[-max(len(html) // 3, 4000) :]) else ""


def _stated(data: bytes) -> Iterator[str]:
    """The licences that the body of a page states for the page."""
    if not _hints().search(data):
        return
    body = max(0, data.find(b"<body"))
    for match in islice(_licence().finditer(data, body), MOST):
        before = data[max(body, match.start() - 400) : match.start()]
        after = data[match.start() : match.start() + 300].decode("utf-8", "ignore")
        if _of_the_page(before, after) and not _in_code(data, match.start()):
            yield from filter(None, [normal(after)])


def _of_the_page(before: bytes, after: str) -> bool:
    block = re.split(rb"</?(?:p|div|li|td|figure|figcaption|section|h[1-6])\b[^>]*>", before)[-1]
    sentence = TAGS.sub(" ", unescape(block.decode("utf-8", "ignore"))).lower()[-200:]
    return bool(_itself().search(sentence.encode()) or CLASS.search(before[-200:]) or BADGE.search(after))


def _in_code(data: bytes, at: int) -> bool:
    """Whether a byte is in a comment, a script or a style sheet."""
    pairs = ((b"<!--", b"-->"), (b"<script", b"</script"), (b"<style", b"</style"))
    return any(data.rfind(start, 0, at) > data.rfind(end, 0, at) for start, end in pairs)


@lru_cache(maxsize=1)
def _hints() -> Any:
    return re2.compile(HINTS.encode())


@lru_cache(maxsize=1)
def _licence() -> Any:
    return re2.compile(f"(?i)(?:{LICENCE})".encode())


@lru_cache(maxsize=1)
def _itself() -> Any:
    return re2.compile(rf"(?i)(?:^|[^\pL])(?:{ITSELF})".encode())


@lru_cache(maxsize=1)
def _rights() -> Any:
    return re2.compile(f"(?i)(?:{RIGHTS})".encode())
