from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.text.duplicates.exact import digest, drop_pieces, fingerprint, piece_keys, url_key

TEXTS = st.text(
    st.one_of(
        st.sampled_from("aZ  \n\n\t.\r\v\0"),
        st.sampled_from("éÉe\u0301\u1161\u1100\u09c7\u09be\u00a0\u3000\u2028\x1f\x85ß\u017fİ가😀\U0001d49c中\ud800"),
        st.characters(),
    )
)


def plain_fingerprint(text: str) -> bytes:
    plain = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    return hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=16).digest()


def plain_pieces(text: str, paragraphs: bool) -> list[str]:
    """Lines, or runs of lines that are not empty, without white space around them."""
    lines = [line.strip() for line in text.split("\n")]
    if not paragraphs:
        return lines
    marked = "\n".join(line if line.strip() else "\0\0" for line in text.split("\n"))
    return [part.strip() for part in marked.split("\0\0") if part.strip()]


@given(TEXTS)
def test_fingerprint_is_that_of_the_rule_in_plain_python(text: str) -> None:
    assert fingerprint(text) == plain_fingerprint(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("é", "e\u0301", True),
        ("a b", "a\t\nb", True),
        ("  some\n TEXT. ", "Some text.", True),
        ("Straße", "STRASSE", True),
        ("\u09c7\u09be", "\u09cb", True),
        ("ab", "a b", False),
        ("a", "b", False),
        ("", " \n\u3000", True),
    ],
)
def test_fingerprint(one: str, other: str, same: bool) -> None:
    assert (fingerprint(one) == fingerprint(other)) is same


def test_digest_is_of_the_text_as_it_is() -> None:
    assert digest("a") == hashlib.blake2b(b"a", digest_size=16).digest()
    assert digest("\ud800") != digest("A")


def test_url_key() -> None:
    assert url_key("http://www.x.org/a/") == url_key("https://x.org/a")
    assert url_key("http://x/?a=1") != url_key("http://x/?a=2")


@pytest.mark.parametrize("other", ["example.org/b", "doi:10.1/a", "pages/a.html", "ftp://example.org/a", "", "www.a"])
def test_urls_without_a_scheme_are_not_all_the_same(other: str) -> None:
    assert url_key("example.org/a") == url_key("HTTPS://WWW.example.org/a") != url_key(other)


@pytest.mark.parametrize("paragraphs", [False, True])
@given(text=TEXTS.filter(lambda text: "\0\0" not in text), least=st.integers(0, 5))
def test_pieces_have_equal_keys_where_they_are_equal(text: str, least: int, paragraphs: bool) -> None:
    text = text.encode("utf-8", "replace").decode()
    pieces, keys = plain_pieces(text, paragraphs), piece_keys(text, least, paragraphs)
    assert len(pieces) == len(keys)
    for piece, key in zip(pieces, keys.tolist(), strict=True):
        alone = piece_keys(piece.replace("\n", " "), 0)[0].tolist()
        assert key == [0, 0] if len(piece) < max(1, least) else 0 not in key
        assert paragraphs or key in ([0, 0], alone)
    long = [(piece, key) for piece, key in zip(pieces, map(tuple, keys.tolist()), strict=True) if any(key)]
    assert len(set(long)) == len({piece for piece, _ in long}) == len({key for _, key in long})


def deduplicated(texts: list[str], *, times: int, least: int, paragraphs: bool = False) -> list[str]:
    """What the pass over a corpus does with the keys: drop pieces that were there `times` times."""
    counts, left = Counter[tuple[int, ...]](), []
    for text in texts:
        units = []
        for unit, key in enumerate(map(tuple, piece_keys(text, least, paragraphs).tolist())):
            counts[key] += any(key)
            if counts[key] > times:
                units.append(unit)
        left.append(drop_pieces(text, units, paragraphs)[0])
    return left


def test_lines_are_dropped_after_they_were_there_often_enough() -> None:
    text = "A heading line\n\nshort\nnew in {}\n\nabc\n"
    left = deduplicated([text.format(n) for n in range(3)], times=2, least=5)
    assert left[0] == left[1].replace("new in 1", "new in 0") == "A heading line\n\nshort\nnew in 0\n\nabc"
    assert left[2] == "new in 2\n\nabc"


def test_paragraphs_are_dropped_whole() -> None:
    texts = ["Same one,\n  in two lines.\n \nown", "own too\n\n Same one,\n  in two lines. \n\n\nsame line\nown"]
    assert deduplicated(texts, times=1, least=5, paragraphs=True) == [texts[0], "own too\n\nsame line\nown"]
    assert drop_pieces(texts[1], [1], True)[1] == ["Same one,\n  in two lines."]


def test_dropped_lines_are_told() -> None:
    assert drop_pieces(" one \ntwo\n one", [0, 2]) == ("two", ["one", "one"])
    assert drop_pieces("one", [0]) == ("", ["one"])


@given(st.lists(TEXTS), st.booleans())
def test_only_pieces_are_dropped_and_the_first_of_each_stays(texts: list[str], paragraphs: bool) -> None:
    left = deduplicated(texts, times=1, least=3, paragraphs=paragraphs)
    for text, rest in zip(texts, left, strict=True):
        lines = iter(text.split("\n"))
        assert all(line in lines for line in rest.split("\n") if line)
    assert deduplicated(left, times=1, least=3, paragraphs=paragraphs) == left
