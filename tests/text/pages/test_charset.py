from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from resiliparse.parse.encoding import map_encoding_to_html5

from hornbook.text.pages.charset import MARKS, declared, decode, in_markup

DATA = Path(os.environ.get("HORNBOOK_DATA") or Path(__file__).parents[4] / "shared" / "data") / "extraction"
ODD = b'<meta http-equiv="Content-Type<meta charset="utf-8">'
"""Whose quotes do not close: we read the second meta."""


@pytest.mark.parametrize(
    ("body", "header", "text"),
    [
        ("Füße".encode("latin-1"), "text/html; charset=ISO-8859-1", "Füße"),
        ("Füße".encode(), "text/html; charset=ISO-8859-1", "Füße"),
        (b"\xef\xbb\xbfF\xc3\xbc", "text/html; charset=cp1252", "Fü"),
        ("\ufeffFüße".encode("utf-16-le"), "", "Füße"),
        ("\ufeffFüße".encode("utf-16-be"), "", "Füße"),
        ("Füße".encode("utf-16-le"), "text/html; charset=utf-16le", "Füße"),
        ("日本".encode("iso-2022-jp"), "text/html; charset=iso-2022-jp", "日本"),
        (b"<meta charset=euc-jp>" + "日本".encode("euc-jp"), "", "<meta charset=euc-jp>日本"),
        (b"<!--" + b"x" * 3000 + b"--><meta charset=cp1251>" + "да".encode("cp1251"), "", None),
        (b"\xff\xfe\xfd", "text/html; charset=nonsense", None),
        (b"", "", ""),
    ],
)
def test_decode(body: bytes, header: str, text: str | None) -> None:
    found = decode(body, header)
    assert found == text if text is not None else isinstance(found, str)


def test_what_is_declared() -> None:
    assert declared(b"<meta charset=euc-jp>", "text/html; charset=\"utf-8\"") == "utf-8"
    assert declared(b"<meta charset=euc-jp>", "text/html; charset=nonsense") == "euc_jp" or "euc-jp"
    assert in_markup(b"<?xml version='1.0' encoding='koi8-r'?><html>") == map_encoding_to_html5("koi8-r")
    assert in_markup(b"<!-- <meta charset=euc-jp> --><p title='<meta charset=euc-jp>'>") is None
    assert in_markup(b"<meta charset=utf-16>") == "utf-8"


@given(st.binary(), st.text())
def test_any_bytes_are_text(body: bytes, header: str) -> None:
    assert isinstance(decode(body, header), str)


@pytest.mark.skipif(not DATA.exists(), reason="needs HORNBOOK_DATA")
@pytest.mark.parametrize("name", ["tests1", "tests2", "test-yahoo-jp"])
def test_declarations_of_html5lib(name: str) -> None:
    for case in (DATA / "html5lib_encoding" / f"{name}.dat").read_bytes().split(b"#data\n")[1:]:
        data, _, expected = case.partition(b"\n#encoding\n")
        marked = next((encoding for mark, encoding in MARKS if data.startswith(mark)), None)
        found = marked or in_markup(data) or "cp1252"
        wanted = expected.split(b"\n")[0].decode()
        assert data == ODD or found in (wanted.lower(), map_encoding_to_html5(wanted)), data
