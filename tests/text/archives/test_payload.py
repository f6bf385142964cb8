from __future__ import annotations

import pytest

from hornbook.text.archives.payload import payload_type

HTML, XHTML = "text/html", "application/xhtml+xml"
DECLARED = b'<?xml version="1.0" encoding="utf-8"?>\n'


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!DOCTYPE html><p>x", HTML),
        (b"\xef\xbb\xbf \r\n\t<hTmL >", HTML),
        (b"<!-- a note -->", HTML),
        (b"<p>one", HTML),
        (b"<pre>", ""),
        (b"<p", ""),
        (b"", ""),
        (b"A text about <html>", ""),
        (b"%PDF-1.7", ""),
        (DECLARED + b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN"><html lang="en">', XHTML),
        (DECLARED + b"<html\nxmlns='http://www.w3.org/1999/xhtml'>", XHTML),
        (DECLARED + b"<rss>", ""),
        (b" " * 5000 + b"<html>", ""),
    ],
)
def test_a_payload_is_told_by_how_it_begins(body: bytes, kind: str) -> None:
    assert payload_type(body) == kind
