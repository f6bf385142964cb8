from __future__ import annotations

import gzip
import itertools
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.errors import UsageError
from hornbook.text import checksums, privacy
from hornbook.text.document import Document
from hornbook.text.identifiers import AT, COLON, DIGITS, DOTS, Find
from hornbook.text.privacy import DEFAULT, KINDS, Span, check_kinds, find, mask, personal_data, places, tag

DATA = Path(os.environ.get("HORNBOOK_DATA") or Path(__file__).parents[3] / "shared" / "data")

FOUND = [
    ("email", "Write to jo.do+x@mail.example.org today."),
    ("email", "a@b.co"),
    ("email", "<a href='mailto:jo@example.org'>"),
    ("email", "jörg.müller@bücher.example"),
    ("email", "邮箱a@b.com请联系"),
    ("iban", "Account DE89 3704 0044 0532 0130 00, thanks"),
    ("iban", "IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF"),
    ("iban", "GB82WEST12345698765432"),
    ("iban", "Konto NO93 8601 1117 947"),
    ("credit_card", "paid with 4111 1111 1111 1111."),
    ("credit_card", "5500-0000-0000-0004"),
    ("credit_card", "an old card 630495060000000000"),
    ("ipv4", "from 8.8.4.4 port 53"),
    ("ipv4", "8.8.8.8, then 10.0.0.1."),
    ("ipv6", "ping 2001:4860:4860::8888 now"),
    ("ipv6", "at 2a00:1450:4001:0810:0000:0000:0000:200e/64"),
    ("phone", "call +49 30 1234567 now"),
    ("phone", "call +1 (415) 555-0132"),
    ("phone", "call (415) 555-0132 or"),
    ("phone", "415.555.0132x12"),
    ("phone", "From Paris +33 1 23 45 67 89"),
    ("phone", "Paris 01 23 45 67 89"),
    ("phone", "London 020 7946 0018"),
    ("phone", "Perth (08) 8747 6301"),
    ("phone", "Bern +41 (0)31 123 45 67"),
    ("phone", "dial 001-415-555-0132"),
    ("phone", "Tel.: 555-0132"),
    ("phone", "713 798 1626 (fax)"),
    ("phone", "電話 03 1234 5678"),
    ("us_ssn", "my social security number is 078-05-1120"),
    ("uk_nino", "National Insurance: AB 12 34 56 C"),
    ("es_nif", "DNI 12345678Z"),
    ("es_nif", "NIE X1234567L"),
    ("fr_nir", "NIR 2 55 08 14 168 025 38"),
    ("de_tax_id", "Steuer-ID 86 095 742 719"),
    ("in_aadhaar", "Aadhaar 2341 2341 2346"),
    ("br_cpf", "529.982.247-25"),
    ("br_cpf", "CPF 52998224725"),
    ("it_codice_fiscale", "codice RSSMRA85T10A562S"),
    ("pl_pesel", "PESEL 44051401359"),
    ("private_ip", "host 192.168.0.12 is up"),
    ("mac", "eth0 00:1A:2B:3C:4D:5E"),
    ("crypto", "0x52908400098527886E0F7030069857D2E4169EE7"),
    ("secret", "OPENAI_API_KEY=sk-proj-abcdefghij0123456789ABCDEFGH"),
    ("secret", "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAK\n-----END RSA PRIVATE KEY-----"),
]
LEFT = [
    "version 1.2.3 of the library, 127.0.0.1, 192.168.0.1 and 999.1.1.1",
    "version 8.1.2.3, section 9.8.7.6.5 and 1.2.3.4.5",
    "@decorator, user@localhost and icon@2x.png",
    "4111 1111 1111 1112 is no card number",
    "pi is 3.14159265358979323846",
    "DE88 1704 0044 0532 0130 00",
    "2024-05-06 07:08:09 and 1999-2004",
    "Decimal('+35236450.6')",
    "0123456789012345678901234567890",
    "ISBN 978-0-306-40615-7, ISBN 0-306-40615-2",
    "$1,234,567 of 10 000 000",
    "call of 2019-11-03, 12/11/2018 and 2010 to 2014",
    "https://example.org/a/4155550132?id=0049301234567",
    "2001:db8::1 and std::string, 12:30:45, fe80::1",
    "numbers 078-05-1120 and AB 12 34 56 C and 86 095 742 719 without a word",
    "X1234567A, 529.982.247-26",
    "the sequence 4, 8, 15, 16, 23, 42, 108",
    "1024x768, 3840 x 2160, 10.5281/zenodo",
]


@pytest.mark.parametrize(("kind", "text"), FOUND)
def test_personal_data_is_masked_and_counted(kind: str, text: str) -> None:
    masked, counts = mask(text, kinds=tuple(KINDS) if kind not in DEFAULT else DEFAULT)
    assert counts == {kind: 1}
    assert KINDS[kind].mark in masked
    assert mask(text, kinds=[other for other in KINDS if other != kind])[1].get(kind) is None


def test_each_kind_has_an_example() -> None:
    assert {kind for kind, _ in FOUND} == set(KINDS)


@pytest.mark.parametrize("text", LEFT)
def test_other_things_are_left(text: str) -> None:
    assert mask(text, kinds=[kind for kind in KINDS if kind != "private_ip"]) == (text, {})


def test_spans_are_characters_in_order() -> None:
    text = "é 漢字 a@b.co, 😀 call +49 30 1234567 😀"
    spans = find(text)
    assert [(text[span.start : span.end], span.kind) for span in spans] == [
        ("a@b.co", "email"),
        ("+49 30 1234567", "phone"),
    ]
    assert spans[0] == Span(5, 11, "email")
    assert tag(text) == '[[5,11,"email"],[20,34,"phone"]]'
    assert tag("nothing") == ""


def test_all_of_a_find_is_masked() -> None:
    assert mask("(jörg.müller@bücher.example)")[0] == "(<EMAIL_ADDRESS>)"
    assert mask("邮箱a@b.com请联系")[0] == "邮箱<EMAIL_ADDRESS>请联系"
    assert mask("IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF")[0] == "IBAN <IBAN_CODE> BIC COBADEFF"


def test_a_find_hides_none_that_begins_at_its_second_word() -> None:
    assert mask("XX12 3456 DE89 3704 0044 0532 0130 00")[1] == {"iban": 1}


def test_one_look_is_enough_for_numbers_in_a_row() -> None:
    assert mask("0123 456 789 " * 20)[1] == {"phone": 20}
    assert len(find("0123 456 789 " * 20)) == 20


def test_the_filter_says_how_many() -> None:
    document = Document("1", "a@b.co and c@d.co, call +49 30 1234567", "s")
    assert personal_data(document, max_count=3) is None
    assert personal_data(document) == "personal_data: 2 email, 1 phone"
    assert personal_data(document, kinds=("iban",)) is None


PIECES = st.sampled_from(
    (
        *("@", ".", "a", "+49 ", "4111 1111 1111 1111", "DE89", "0", "8.8.8.8", " ", "-", "x@y.zz", ":", "2001:"),
        *("call ", "555-0132", "(0)", "<", ">", "é", "漢", "123", "\n", "(415) ", "DE89 3704 0044 0532 0130 00"),
        *("SSN ", "078-05-1120"),
    )
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=60).map("".join))


@settings(max_examples=300)
@given(TEXTS)
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once, _ = mask(text, kinds=tuple(KINDS))
    assert mask(once, kinds=tuple(KINDS)) == (once, {})


@settings(max_examples=300)
@given(TEXTS, st.text(max_size=300))
def test_what_is_found_is_what_a_look_at_all_of_the_text_finds(text: str, between: str) -> None:
    text = text + between + text
    everywhere = np.array([[0, len(text.encode()), AT | DIGITS | DOTS | COLON]])
    with patch.object(privacy, "places", lambda data: everywhere):
        slow = {(span.start, span.end) for span in find(text)}
    assert {(span.start, span.end) for span in find(text)} == slow


FAR = ["123456", "1.2.3.4", "@", "2a00:", "-", " ", "." * 90, "x" * 45, "é" * 30]
SPARSE = st.lists(st.sampled_from(FAR)).map("".join)


def plain_places(data: bytes) -> set[tuple[int, int]]:
    """The rule of `places` on each byte by itself: which bytes are looked at, and why."""
    looked = set[tuple[int, int]]()

    def look(first: int, last: int, why: int) -> None:
        looked.update((at, why) for at in range(max(0, first), min(last, len(data))))

    for at, sign in enumerate(data):
        if sign == ord("@"):
            look(at - privacy.BEFORE, at + 1 + privacy.AFTER_AT, AT)
        if sign == ord(":") and at >= 4 and data[at - 4] in b"23" and data[at - 3] not in b".@:,;$%":
            look(at - privacy.BEFORE, at + 1 + privacy.AFTER, COLON)
    for run in _runs(data):
        dots = 0
        for place, at in enumerate(run):
            gap = data[run[place - 1] + 1 : at] if place else b""
            dots = 0 if b".." in gap or (b"." in gap and gap[:1] != b".") else dots + gap.count(b".")
            if place >= 5:
                look(at - privacy.BEFORE, at + 1 + privacy.AFTER, DIGITS)
            if dots >= 3:
                look(at - privacy.BEFORE, at + 1 + privacy.AFTER, DOTS)
    return looked


def _runs(data: bytes) -> list[list[int]]:
    """Places of digits with at most two bytes between each other, none of which ends a number."""
    runs = list[list[int]]()
    for at in (at for at, sign in enumerate(data) if sign in b"0123456789"):
        near = runs and at - runs[-1][-1] <= privacy.FARTHEST and not set(data[runs[-1][-1] + 1 : at]) & set(b",;$%")
        if near:
            runs[-1].append(at)
        else:
            runs.append([at])
    return runs


@settings(max_examples=300)
@given(st.one_of(TEXTS, st.text(alphabet="0123456789.,:@ -a2", max_size=80), SPARSE))
def test_places_are_those_of_the_plain_rule(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    found = places(np.frombuffer(data, np.uint8)).tolist()
    assert {at for first, last, _ in found for at in range(first, last)} == {at for at, _ in plain_places(data)}
    assert all(one[1] < two[0] for one, two in itertools.pairwise(found))
    for first, last, why in found:
        assert why == sum({kind for at, kind in plain_places(data) if first <= at < last})


WORST = ["a.", "a@", "@", "1", "1 ", "+1 ", "DE89 ", "1.1.1.", "@a.", "a@a.", "2001:", "::", "<", "call 1 ", "4 "]
WORST += ["0123 456 789 ", "a" * 70, "a@b.co +49 30 1234567 ", "call 555-0132 8.8.8.8 ", "DE89 3704 0044 0532 0130 00 "]


@pytest.mark.parametrize("worst", WORST)
def test_work_grows_like_the_text(worst: str) -> None:
    counts = [_searches(worst * (size // len(worst))) for size in (5_000, 20_000)]
    assert counts[1] <= 4.5 * counts[0] + 100


def _searches(text: str) -> int:
    """How often a pattern is searched for."""
    count = 0
    around = privacy._around

    def counted(*where: Any) -> Find:
        nonlocal count
        count += 1
        return around(*where)

    with patch.object(privacy, "_around", counted):
        mask(text, kinds=tuple(KINDS))
    return count


def test_checksums_find_a_wrong_digit() -> None:
    right = {
        checksums.luhn: "4111111111111111",
        checksums.iban: "GB82 WEST 1234 5698 7654 32",
        checksums.spanish_nif: "12345678Z",
        checksums.french_nir: "255081416802538",
        checksums.german_tax_id: "86095742719",
        checksums.aadhaar: "2341 2341 2346",
        checksums.brazilian_cpf: "529.982.247-25",
        checksums.codice_fiscale: "RSSMRA85T10A562S",
        checksums.polish_pesel: "44051401359",
    }
    for check, number in right.items():
        assert check(number)
        for at in (at for at, sign in enumerate(number) if sign.isdigit()):
            wrong = number[:at] + str((int(number[at]) + 1) % 10) + number[at + 1 :]
            assert not check(wrong), (check, wrong)
    assert checksums.french_nir("1 85 05 2A 123 456 10") == (97 - int("1850519123456") % 97 == 10)
    assert not checksums.luhn("0000000000000000")
    assert not checksums.brazilian_cpf("111.111.111-11")


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UsageError, match='there is no kind "e-mail"'):
        check_kinds(["e-mail"])


TYPES = {"EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "CREDIT_CARD": "credit_card", "IBAN_CODE": "iban"}
TYPES |= {"IP_ADDRESS": "ipv4", "US_SSN": "us_ssn"}


@pytest.mark.skipif(not (DATA / "safety").is_dir(), reason="no safety data at HORNBOOK_DATA")
def test_precision_and_recall_on_presidio_sentences() -> None:
    right, wrong, missed = Counter[str](), Counter[str](), Counter[str]()
    with gzip.open(DATA / "safety" / "pii_presidio.jsonl.gz", "rt") as stream:
        for row in map(json.loads, stream):
            gold = {(span["start"], span["end"], TYPES.get(span["type"], "")) for span in row["spans"]}
            found = find(row["text"], kinds=(*DEFAULT, "us_ssn"))
            for span in found:
                hit = any(kind == span.kind and start < span.end and span.start < end for start, end, kind in gold)
                (right if hit else wrong)[span.kind] += 1
            for start, end, kind in gold:
                covered = any(span.kind == kind and start < span.end and span.start < end for span in found)
                missed[kind] += bool(kind) and not covered
    for kind in TYPES.values():
        assert wrong[kind] <= 0.1 * right[kind], kind
        assert missed[kind] <= 0.2 * right[kind], kind
