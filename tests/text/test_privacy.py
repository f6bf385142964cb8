from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.errors import UsageError
from hornbook.text.privacy import KINDS, check_kinds, iban, luhn, mask

FOUND = [
    ("email", "Write to jo.do+x@mail.example.org today."),
    ("email", "a@b.co"),
    ("iban", "Account DE89 3704 0044 0532 0130 00, thanks"),
    ("iban", "GB82WEST12345698765432"),
    ("credit_card", "card 4111 1111 1111 1111."),
    ("credit_card", "5500-0000-0000-0004"),
    ("ipv4", "from 8.8.4.4 port 53"),
    ("phone", "call +49 30 1234567 now"),
    ("phone", "call +1 (415) 555-0132"),
    ("phone", "call (415) 555-0132 or"),
]
LEFT = [
    "version 1.2.3 of the library, 127.0.0.1, 192.168.0.1 and 999.1.1.1",
    "@decorator and user@localhost",
    "4111 1111 1111 1112 is no card number",
    "pi is 3.14159265358979323846",
    "DE88 1704 0044 0532 0130 00",
    "2024-05-06 07:08:09 and 1999-2004",
    "Decimal('+35236450.6')",
    "0123456789012345678901234567890",
]


@pytest.mark.parametrize(("kind", "text"), FOUND)
def test_personal_data_is_masked_and_counted(kind: str, text: str) -> None:
    masked, counts = mask(text)
    assert counts == {kind: 1}
    assert KINDS[kind].mark in masked
    assert mask(text, kinds=[other for other in KINDS if other != kind])[1].get(kind) is None


@pytest.mark.parametrize("text", LEFT)
def test_other_things_are_left(text: str) -> None:
    assert mask(text) == (text, {})


PIECES = st.sampled_from(["@", ".", "a", "+49 ", "4111 1111 1111 1111", "DE89", "0", "8.8.8.8", " ", "-", "x@y.zz"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once, _ = mask(text)
    assert mask(once) == (once, {})


@pytest.mark.parametrize("worst", ["a.", "a@", "1 ", "+1 ", "DE89 ", "1.1.1.", "@a."])
def test_time_is_linear(worst: str) -> None:
    start = time.process_time()
    mask(worst * (400_000 // len(worst)))
    assert time.process_time() - start < 3


def test_checksums() -> None:
    assert luhn("4111111111111111")
    assert not luhn("4111111111111121")
    assert iban("GB82 WEST 1234 5698 7654 32")
    assert not iban("GB83 WEST 1234 5698 7654 32")


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UsageError, match='there is no kind "e-mail"'):
        check_kinds(["e-mail"])
