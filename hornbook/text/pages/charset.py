"""The encoding of a page: by its byte order mark, its bytes, its header, its markup, and at last by a guess.

The order is that of the WHATWG encoding standard but for one thing: bytes that are UTF-8, and not only ASCII, are taken
for it whatever was declared. Text in another encoding is not valid UTF-8 by chance, and wrong declarations are common.
"""

from __future__ import annotations

import codecs

import re2
from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

SEARCHED = 2**16
"""Bytes at the start of a page in which a declaration is looked for; browsers stop at 1,024, pages do not."""
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
TAGS = re2.compile(
    rb"(?is)<!---?>|<!--.*?--!?>|<(?:(meta)[\s/]|/?[a-z][^\s/>]*)((?:[^>\"']|\"[^\"]*\"|'[^']*')*)>"
)
ATTRIBUTES = re2.compile(rb"(?s)([^\s=>\"'/]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"'][^\s>]*))")
LABEL = re2.compile(rb"(?i)charset\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;\"']+))")
XML = re2.compile(rb"^\s*<\?xml[^>]*?\sencoding\s*=\s*[\"']([^\"'>]+)[\"']")


def decode(body: bytes, content_type: str = "") -> str:
    """The text of a page; `content_type` is its HTTP header."""
    return in_utf8(body, content_type).decode("utf-8", "replace")


def in_utf8(body: bytes, content_type: str = "") -> bytes:
    """A page in UTF-8; `content_type` is its HTTP header."""
    for mark, encoding in MARKS:
        if body.startswith(mark):
            return _converted(body[len(mark) :], encoding)
    # ISO-2022-JP is written in ASCII bytes; UTF-16 without a mark has a NUL in most characters.
    plain = b"\x1b" not in body and b"\0" not in body[:SEARCHED]
    if plain and _is_utf8(body):
        return body
    return _converted(body, declared(body, content_type) or detect_encoding(body, from_html_meta=False) or "utf-8")


def _is_utf8(body: bytes) -> bool:
    try:
        return body.isascii() or bool(body.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _converted(body: bytes, encoding: str) -> bytes:
    text: str = bytes_to_str(body, encoding, errors="replace")
    return text.encode("utf-8", "replace")


def declared(body: bytes, content_type: str = "") -> str | None:
    """The encoding that a page's header or, without one, its markup declares."""
    found = LABEL.search(content_type.encode("latin-1", "replace"))
    return (_known(found) if found else None) or in_markup(body[:SEARCHED])


def in_markup(head: bytes) -> str | None:
    """The encoding that `<meta charset>`, `<meta http-equiv=content-type>` or an XML declaration names."""
    for tag in TAGS.finditer(head):
        if tag[1] and (encoding := _of_meta(tag[2])):
            # A page whose ASCII can be read byte by byte is not in UTF-16, whatever it says.
            return "utf-8" if encoding.startswith("utf-16") else encoding
    xml = XML.search(head)
    return _encoding(xml[1]) if xml else None


def _of_meta(attributes: bytes) -> str | None:
    found = {name.lower(): a or b or c for name, a, b, c in ATTRIBUTES.findall(attributes)}
    if b"charset" in found:
        return _encoding(found[b"charset"])
    if found.get(b"http-equiv", b"").lower() == b"content-type" and (label := LABEL.search(found.get(b"content", b""))):
        return _known(label)
    return None


def _known(label: re2._Match[bytes]) -> str | None:
    return _encoding(label[1] or label[2] or label[3] or b"")


def _encoding(label: bytes) -> str | None:
    found: str | None = map_encoding_to_html5(label.strip().decode("latin-1"), fallback_utf8=False)
    return found
