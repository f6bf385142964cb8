"""What a payload is by its first bytes, whatever its server says of it (WHATWG MIME Sniffing, 7.1)."""

from __future__ import annotations

import re

TAGS = "!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p"
HTML = re.compile(rf"(?:\xef\xbb\xbf)?[\t\n\f\r ]{{0,4096}}<(?:!--|(?:{TAGS})[ >])".encode("latin-1"), re.IGNORECASE)
XHTML = re.compile(
    rb"(?:\xef\xbb\xbf)?<\?xml[^>]{0,400}>\s{0,64}(?:<!doctype html[^>]{0,400}>\s{0,64})?<html[\s>]", re.IGNORECASE
)


def payload_type(body: bytes) -> str:
    """`text/html` or `application/xhtml+xml`, or "" of what begins as neither: a body without its codings."""
    if HTML.match(body):
        return "text/html"
    return "application/xhtml+xml" if XHTML.match(body) else ""
