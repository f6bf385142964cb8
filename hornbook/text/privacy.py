"""Personal data: found by RE2 in linear time, checked by its checksum where it has one, and masked.

The marks are those of Microsoft Presidio, `<EMAIL_ADDRESS>` and so on; masking a masked text changes nothing.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import re2

from hornbook.errors import UsageError


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of personal data: its mark, its pattern, a letter that it cannot lack, and a check of each find."""

    mark: str
    pattern: str
    needs: str
    check: Callable[[str], bool] = lambda found: True


def luhn(digits: str) -> bool:
    """The checksum of card numbers (ISO/IEC 7812-1, annex B), with the first digits that cards have (2 to 6)."""
    numbers = [int(digit) for digit in digits if digit.isdigit()]
    every_other = [sum(divmod(2 * number, 10)) for number in numbers[-2::-2]]
    return 13 <= len(numbers) <= 19 and numbers[0] in range(2, 7) and (sum(numbers[::-2]) + sum(every_other)) % 10 == 0


def iban(found: str) -> bool:
    """The checksum of account numbers (ISO 13616: modulo 97 is 1)."""
    plain = "".join(found.split()).upper()
    return 15 <= len(plain) <= 34 and int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


def public_ipv4(found: str) -> bool:
    """An address that stands for a machine on the Internet, so neither loopback nor a private network."""
    try:
        return ipaddress.IPv4Address(found).is_global
    except ValueError:
        return False


def phone(found: str) -> bool:
    """As many digits as a telephone number has (ITU-T E.164: at most 15), in groups of two and more."""
    groups = "".join(sign if sign.isdigit() else " " for sign in found).split()
    return 9 <= sum(map(len, groups)) <= 15 and all(len(group) > 1 for group in groups[1:])


PHONE = (
    r"\+[1-9][0-9]{0,2}[ .\-]?(?:\(0?[0-9]{1,4}\)[ .\-]?)?[0-9](?:[ .\-/]?[0-9]){5,12}"
    r"|\(?\b[2-9][0-9]{2}\)?[ .\-][2-9][0-9]{2}[.\-][0-9]{4}\b"
)
CARD = r"\b(?:[2-6][0-9]{3}(?:[ \-]?[0-9]{4}){3}|3[47][0-9]{2}[ \-]?[0-9]{6}[ \-]?[0-9]{5}|[2-6][0-9]{12,18})\b"
KINDS = {
    "email": Kind("<EMAIL_ADDRESS>", r"[A-Za-z0-9._%+\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.){1,8}[A-Za-z]{2,24}\b", "@"),
    "iban": Kind("<IBAN_CODE>", r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b", "", iban),
    "credit_card": Kind("<CREDIT_CARD>", CARD, "", luhn),
    "ipv4": Kind("<IP_ADDRESS>", r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b", ".", public_ipv4),
    "phone": Kind("<PHONE_NUMBER>", PHONE, "", phone),
}
"""In the order in which they are masked: a card number could be taken for a telephone number."""

_PATTERNS = {name: re2.compile(kind.pattern) for name, kind in KINDS.items()}


def check_kinds(names: Sequence[str]) -> None:
    """Raises UsageError where a name is none of KINDS."""
    for name in names:
        if name not in KINDS:
            raise UsageError(f'mask: there is no kind "{name}"', hint=f"there are: {', '.join(KINDS)}")


def mask(text: str, *, kinds: Sequence[str] = tuple(KINDS)) -> tuple[str, Counter[str]]:
    """A text with personal data replaced by marks, and how many of each kind there were."""
    counts, found = Counter[str](), 1
    while found:  # a mark can set apart what it stood beside
        found = 0
        for name, kind in KINDS.items():
            if name in kinds and kind.needs in text:
                text, more = _mask(text, name, kind)
                counts[name], found = counts[name] + more, found + more
    return text, +counts


def _mask(text: str, name: str, kind: Kind) -> tuple[str, int]:
    parts, at = list[str](), 0
    for match in _PATTERNS[name].finditer(text):
        if kind.check(match[0]):
            parts += [text[at : match.start()], kind.mark]
            at = match.end()
    return "".join([*parts, text[at:]]), len(parts) // 2
