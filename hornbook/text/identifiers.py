"""Kinds of personal data: the patterns that find them, and the checks that a find must pass.

Sources are given where they are used; the marks are those of Microsoft Presidio where it has one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from hornbook.text import checksums

AT, DIGITS, DOTS, COLON, ANYWHERE = 1, 2, 4, 8, 16
"""What makes a place worth a look (see `privacy.places`); rules for ANYWHERE read the whole text."""


@dataclass(frozen=True, slots=True)
class Find:
    """What a pattern found, and the text around it up to the next < or >."""

    text: str
    before: str
    after: str


@dataclass(frozen=True)
class Rule:
    """A pattern, where it is tried, a check, and a pattern that has to end within 24 characters before it."""

    pattern: str
    near: int
    check: Callable[[Find], str | bool]
    """True, or the part of the find, from its start, that is one."""
    context: str = ""
    label: str = ""
    """Words that do as well right behind the find."""

    def part(self, find: Find) -> str:
        """The part of a find that is personal data, or ""."""
        if self.context and not (_context(self.context).search(find.before) or self._labelled(find.after)):
            return ""
        said = self.check(find)
        return said if isinstance(said, str) else find.text * said

    def _labelled(self, after: str) -> bool:
        return bool(self.label) and _following(self.label).search(after) is not None


@dataclass(frozen=True)
class Kind:
    """A kind of personal data: its mark and the rules that find it."""

    mark: str
    rules: tuple[Rule, ...]


@lru_cache(maxsize=64)
def _context(words: str) -> Any:
    return re2.compile(rf"(?i)(?:^|[^\pL])(?:{words})(?:[^\pL0-9_][^0-9]{{0,24}})?$")


@lru_cache(maxsize=64)
def _following(words: str) -> Any:
    return re2.compile(rf"(?i)^(?:{words})\b(?:$|[^:])")


@lru_cache(maxsize=64)
def compiled(pattern: str) -> Any:
    """A pattern for bytes."""
    return re2.compile(pattern.encode())


# -- checks ---------------------------------------------------------------------------------------------------------

FILES = ("png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "php", "html", "mp4", "pdf", "py", "json")


def email(find: Find) -> bool:
    """No file such as `icon@2x.png`, and no dot at an end of the local part or beside another one (RFC 5321)."""
    local, _, domain = find.text.partition("@")
    return domain.rpartition(".")[2].lower() not in FILES and ".." not in local and local[0] != "."


def apart(find: Find) -> bool:
    """Not a part of a longer number, of a decimal fraction or of a path, no price and no paragraph."""
    before, after = find.before[-2:], find.after[:2]
    path = before[-1:].isalnum() or before[-1:] in tuple("/=_#%&\\") or after[:1].isalnum()
    path = path or find.before.rstrip().endswith(("$", "€", "£", "§"))
    return not (path or _goes_on(before[::-1], ".,-:") or _goes_on(after, ".,-:/"))


def _goes_on(near: str, signs: str) -> bool:
    """Whether a number goes on behind one of the signs."""
    return near[:1] in tuple(signs) and near[1:].isdigit()


def ipv4(find: Find) -> ipaddress.IPv4Address | None:
    """An address of four numbers, where it is no version and no outline number."""
    near = find.before[-1:], find.before[-2:-1], find.after[:1], find.after[1:2]
    outline = (near[0] in tuple(".-_/") and near[1].isalnum()) or (near[2] in tuple(".-_") and near[3].isalnum())
    if outline or near[0].isalnum() or near[2].isalnum() or _context(VERSION).search(find.before):
        return None
    try:
        return ipaddress.IPv4Address(find.text)
    except ValueError:
        return None


def public_ipv4(find: Find) -> bool:
    """An address that stands for a machine on the Internet, so neither loopback nor a private network."""
    address = ipv4(find)
    return address is not None and address.is_global and not address.is_multicast


def private_ipv4(find: Find) -> bool:
    """An address of a private network (RFC 1918, RFC 6598, link-local), but not loopback."""
    address = ipv4(find)
    return address is not None and any(address in network for network in PRIVATE)


PRIVATE = tuple(
    map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"))
)


def public_ipv6(find: Find) -> bool:
    """A global IPv6 address (2000::/3 without what is set aside, such as the 2001:db8::/32 of examples)."""
    try:
        return not find.after[:1].isalnum() and ipaddress.IPv6Address(find.text).is_global
    except ValueError:
        return False


def phone(find: Find) -> bool:
    """As many digits as a telephone number has (ITU-T E.164: at most 15), in groups of two and more; no date.

    The group behind the country code may be of one digit: +33 1 23 45 67 89.
    """
    number = find.text.partition("x")[0].replace("(0)", "")
    groups = "".join(sign if sign.isdigit() else " " for sign in number).split()
    small = [at for at, group in enumerate(groups) if at and len(group) == 1]
    return apart(find) and 8 <= sum(map(len, groups)) <= 15 and (not small or (small == [1] and len(groups) > 2))


def national_phone(find: Find) -> bool:
    """A telephone number that is no end of a longer number in groups."""
    return phone(find) and not (find.before[-1:] == " " and find.before[-2:-1].isdigit())


def spoken_phone(find: Find) -> bool:
    """What a word such as `call` or `fax` announces: seven digits and more that are no date, fraction or span of years.

    A number behind a letter and a dash is the end of an address such as `how-to-call-pep-3102`.
    """
    groups = "".join(sign if sign.isdigit() else " " for sign in find.text).split()
    total = sum(map(len, groups))
    dated = len(groups) in (2, 3) and any(len(group) == 4 and group[:2] in ("19", "20") for group in groups)
    fraction = len(groups) == 2 and "." in find.text
    slug = find.before[-1:] == "-" and find.before[-2:-1].isalpha()
    closed = find.text.count("(") == find.text.count(")")
    return apart(find) and 7 <= total <= 15 and closed and not (fraction or slug or (dated and total <= 8))


def card(find: Find) -> bool:
    """A card number: its check digit, and no part of a longer number."""
    return apart(find) and checksums.luhn(find.text)


def account(find: Find) -> str:
    """An IBAN, without what stands behind it: the country says how long it is."""
    length = checksums.IBAN_LENGTHS.get(find.text[:2], 0)
    ends = [at + 1 for at, sign in enumerate(find.text) if sign.isalnum()]
    if not length or len(ends) < length:
        return ""
    part = find.text[: ends[length - 1]]
    return part if checksums.iban(part) and not find.text[len(part) :][:1].isalnum() else ""


def checked(checksum: Callable[[str], bool]) -> Callable[[Find], bool]:
    """A number that stands apart and whose check digits are right."""
    return lambda find: apart(find) and checksum(find.text)


# -- kinds ----------------------------------------------------------------------------------------------------------

VERSION = r"versions?|ver|v|kernel|release|firmware|build|driver|section|sec|chapter|figure|table"
CALL = (
    r"(?:tele|cell)?phones?|tel[ée]?fon[eo]?s?|telefax|fone?|faks|t[ée]l|t[ée]l[ée]phone|mobile?|m[óo]vil|cell?|ph"
    r"|celular|cellulare|fax|call|called|dial|ring|texts?|sms|whatsapp|hotline|helpline|toll.free|handy|telefoon"
    r"|(?:desk|office|direct)(?: line)?:|reach(?:ed)?(?: me| us| him| her| them| out)? (?:at|on|under)|answering at"
    r"|contact(?: me| us| him| her| them| number)?|messages? (?:on|to|at)|(?:my|your|his|her|our|the) number is"
    r"|тел|телефон|факс|电话|電話|手机|전화|फ़ोन|هاتف"
)
"""Words that announce a telephone number."""

LABELS = r"(?:-| ?\()(?:phone|tel|fax|mobile|cell|office|home|work|direct)| (?:phone|tel|fax|mobile|cell)"
CARD_WORDS = r"cards?|cc|visa|maestro|amex|mastercard|credit|debit|(?:kredit)?karte|carte|tarjeta|carta|cart[ãa]o"
SEPARATED = r"(?:[ .\-/]|\) ?|\.? ?\()"
PHONE_RULES = (
    Rule(  # +49 30 1234567, +1 (415) 555-0132
        r"(?:\(\+[1-9][0-9]{0,2}\)|\+[1-9][0-9]{0,2})[ .\-]?(?:\(0?[0-9]{1,4}\)[ .\-]?)?"
        r"[0-9](?:[ .\-/]?[0-9]){5,12}(?:x[0-9]{1,5})?",
        DIGITS,
        phone,
    ),
    Rule(r"\b00[1-9][0-9]{0,2}[ .\-][0-9](?:[ .\-/]?[0-9]){5,12}(?:x[0-9]{1,5})?", DIGITS, national_phone),
    Rule(  # (415) 555-0132, 415.555.0132: the North American plan, area and exchange from 2 on
        r"(?:\b1[ .\-])?(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[.\- ])[2-9][0-9]{2}[.\-][0-9]{4}(?: ?x ?[0-9]{1,5})?\b",
        DIGITS,
        phone,
    ),
    Rule(r"\b0[1-9](?:(?:\.[0-9]{2}){4}|(?: [0-9]{2}){4})\b", DIGITS, national_phone),  # 03 93 92 16 85
    Rule(r"\(0[1-9][0-9]{0,3}\) ?[0-9]{3,4}[ \-]?[0-9]{3,4}\b", DIGITS, national_phone),  # (08) 8747 6301
    Rule(r"\b0[1-9][0-9]{1,3}[ \-][0-9]{3,4}[ \-][0-9]{3,4}\b", DIGITS, national_phone),  # 020 7946 0018
    Rule(rf"(?:\+|\(|\b)[0-9]{{1,8}}(?:{SEPARATED}?[0-9]{{1,8}}){{0,5}}\b", DIGITS, spoken_phone, CALL, LABELS),
)
CARDS = (
    r"4[0-9]{3}(?:[ \-]?[0-9]{4}){3}|(?:5[1-5][0-9]{2}|2[2-7][0-9]{2})(?:[ \-]?[0-9]{4}){3}"
    r"|3[47][0-9]{2}[ \-]?[0-9]{6}[ \-]?[0-9]{5}|(?:6011|65[0-9]{2}|64[4-9][0-9]|35[2-8][0-9])(?:[ \-]?[0-9]{4}){3}"
)
IPV4 = r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b"
SECRETS = (
    r"\b(?:sk-(?:[A-Za-z]{2,10}-)*[A-Za-z0-9_\-]{20,200}|hf_[A-Za-z0-9]{30,40}|(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|gh[opsur]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}|xox[abpors]-[A-Za-z0-9\-]{10,200}"
    r"|AIza[0-9A-Za-z_\-]{35}|glpat-[A-Za-z0-9_\-]{20})\b"
)
PRIVATE_KEY = (
    r"-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s:,.\-()]*?"
    r"-----END (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----"
)


def _national(mark: str, pattern: str, checksum: Callable[[str], bool] | None = None, context: str = "") -> Kind:
    """A number that a state gives to a person; without check digits, or with one only, a word has to announce it."""
    return Kind(mark, (Rule(rf"\b(?:{pattern})\b", DIGITS, checked(checksum) if checksum else apart, context),))


NATIONAL = {
    "us_ssn": _national(
        "<US_SSN>", r"[0-8][0-9]{2}[ \-]?[0-9]{2}[ \-]?[0-9]{4}", context=r"ssns?|social security(?: (?:no|nr|number))?"
    ),
    "uk_nino": _national(
        "<UK_NINO>",
        r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: ?[0-9]{2}){3} ?[A-D]",
        context="nino|ni|national insurance",
    ),
    "es_nif": _national(
        "<ES_NIF>", r"(?:[0-9]{8}|[XYZ][\- ]?[0-9]{7})[\- ]?[A-HJ-NP-TV-Z]", checksums.spanish_nif
    ),
    "fr_nir": _national(
        "<FR_NIR>",
        r"[12] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        checksums.french_nir,
    ),
    "de_tax_id": _national(
        "<DE_TAX_ID>",
        r"[1-9][0-9](?: ?[0-9]{3}){3}",
        checksums.german_tax_id,
        r"(?:steuer-?)?(?:id|idnr|identifikationsnummer)|tax id|tin",
    ),
    "in_aadhaar": _national(
        "<IN_AADHAAR>", r"[2-9][0-9]{3}(?:[ \-]?[0-9]{4}){2}", checksums.aadhaar, "aadhaa?r|uidai|uid|आधार"
    ),
    "br_cpf": Kind(
        "<BR_CPF>",
        (
            Rule(r"\b[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}\b", DIGITS, checked(checksums.brazilian_cpf)),
            Rule(r"\b[0-9]{11}\b", DIGITS, checked(checksums.brazilian_cpf), "cpf"),
        ),
    ),
    "it_codice_fiscale": _national(
        "<IT_FISCAL_CODE>",
        r"(?i:[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z])",
        checksums.codice_fiscale,
    ),
    "pl_pesel": _national("<PL_PESEL>", "[0-9]{11}", checksums.polish_pesel, "pesel"),
}
MAIL = r"[\p{Latin}0-9._%+\-]{1,64}@(?:[\p{Latin}0-9](?:[\p{Latin}0-9\-]*[\p{Latin}0-9])?\.)+[A-Za-z]{2,24}\b"
MAC = r"(?i)\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b|\b(?:[0-9a-f]{2}-){5}[0-9a-f]{2}\b"
KINDS = {
    "email": Kind("<EMAIL_ADDRESS>", (Rule(MAIL, AT, email),)),
    "iban": Kind("<IBAN_CODE>", (Rule(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}", DIGITS, account),)),
    "credit_card": Kind(
        "<CREDIT_CARD>",
        (
            Rule(rf"\b(?:{CARDS})\b", DIGITS, card),
            Rule(r"\b[0-9](?:[ \-]?[0-9]){11,18}\b", DIGITS, card, CARD_WORDS),
        ),
    ),
    **NATIONAL,
    "ipv4": Kind("<IP_ADDRESS>", (Rule(IPV4, DOTS, public_ipv4),)),
    "private_ip": Kind("<PRIVATE_IP>", (Rule(IPV4, DOTS, private_ipv4),)),
    "ipv6": Kind(
        "<IP_ADDRESS>",
        (Rule(r"(?i)\b[23][0-9a-f]{3}(?:::?[0-9a-f]{1,4}){1,7}(?:::)?", COLON, public_ipv6),),
    ),
    "mac": Kind("<MAC_ADDRESS>", (Rule(MAC, ANYWHERE, apart),)),
    "secret": Kind("<SECRET>", (Rule(SECRETS, ANYWHERE, bool), Rule(PRIVATE_KEY, ANYWHERE, bool))),
    "crypto": Kind(
        "<CRYPTO>",
        (Rule(r"\b(?:bc1[ac-hj-np-z02-9]{39,59}|0x[0-9a-fA-F]{40})\b", ANYWHERE, apart),),
    ),
    "phone": Kind("<PHONE_NUMBER>", PHONE_RULES),
}
"""In the order in which they are looked for: a card number could be taken for a telephone number."""

DEFAULT = ("email", "iban", "credit_card", "ipv4", "ipv6", "phone")
"""The kinds that are masked where a recipe does not say."""
