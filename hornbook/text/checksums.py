"""Check digits: whether a number that looks like a card, an account or a national id can be one.

Each function takes what was found, with its spaces and dashes, and says whether its check digits are right. A single
check digit lets one number in ten through, two of them one in a hundred.
"""

from __future__ import annotations

import itertools

IBAN_LENGTHS = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "FK", "FO", "GL", "NL", "SD"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "MN", "XK"), 20),
    **dict.fromkeys(("CH", "CR", "HN", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "OM", "SO", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HU", "LB", "NI", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    **dict.fromkeys(("LC",), 32),
    **dict.fromkeys(("RU",), 33),
}
"""Letters and digits of an IBAN by country (SWIFT, IBAN registry)."""

_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
CODICE_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (*_ODD[:10], *_ODD), strict=True))
"""What a sign at an odd place of a codice fiscale counts (D.M. 12 March 1974, table of article 12)."""

VERHOEFF_TURN = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def digits_of(found: str) -> list[int]:
    """The digits of a find, without what stands between them."""
    return [int(sign) for sign in found if sign in "0123456789"]


def plain(found: str) -> str:
    """A find's letters, as capitals, and its digits."""
    return "".join(filter(str.isalnum, found)).upper()


def luhn(found: str) -> bool:
    """Card numbers (ISO/IEC 7812-1, annex B): every other digit doubled, modulo 10; all zeros are none."""
    numbers = digits_of(found)
    every_other = [sum(divmod(2 * number, 10)) for number in numbers[-2::-2]]
    return any(numbers) and (sum(numbers[::-2]) + sum(every_other)) % 10 == 0


def iban(found: str) -> bool:
    """Account numbers (ISO 13616): the length of the country, and modulo 97 is 1 (ISO/IEC 7064)."""
    sign = plain(found)
    right_length = len(sign) == IBAN_LENGTHS.get(sign[:2])
    return right_length and int("".join(str(int(letter, 36)) for letter in sign[4:] + sign[:4])) % 97 == 1


def spanish_nif(found: str) -> bool:
    """DNI (eight digits) and NIE (X, Y or Z and seven digits): the letter at the end is the number modulo 23."""
    sign = plain(found)
    number = sign[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdigit() and DNI_LETTERS[int(number) % 23] == sign[-1]


def french_nir(found: str) -> bool:
    """Social security number: the last two digits are 97 less the rest modulo 97; Corsica's 2A and 2B are 19 and 18."""
    number = plain(found).replace("2A", "19").replace("2B", "18")
    return len(number) == 15 and number.isdigit() and 97 - int(number[:13]) % 97 == int(number[13:])


def german_tax_id(found: str) -> bool:
    """Steuer-IdNr. (BZSt): ISO/IEC 7064 MOD 11,10; of the first ten digits just one comes two or three times."""
    numbers = digits_of(found)
    counts = [numbers[:10].count(digit) for digit in set(numbers[:10])]
    if len(numbers) != 11 or sum(count > 1 for count in counts) != 1 or max(counts) > 3:
        return False
    product = 10
    for digit in numbers[:10]:
        product = ((product + digit) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == numbers[10]


def aadhaar(found: str) -> bool:
    """India's Aadhaar: twelve digits, the last by Verhoeff's scheme (1969)."""
    numbers = digits_of(found)
    return len(numbers) == 12 and verhoeff(numbers) == 0


def verhoeff(numbers: list[int]) -> int:
    """The product of the digits, turned by their places, in the group of the pentagon; 0 where all is right."""
    total = 0
    for place, digit in enumerate(reversed(numbers)):
        for _ in range(place % 8):
            digit = VERHOEFF_TURN[digit]
        total = _pentagon(total, digit)
    return total


def _pentagon(a: int, b: int) -> int:
    """The product in the dihedral group of ten: 0 to 4 turn the pentagon, 5 to 9 flip it as well."""
    if a < 5:
        return (a + b) % 5 if b < 5 else (a + b - 5) % 5 + 5
    return (a - b) % 5 + 5 if b < 5 else (a - b) % 5


def brazilian_cpf(found: str) -> bool:
    """CPF (Receita Federal): two check digits modulo 11; eleven times the same digit is none."""
    numbers = digits_of(found)
    if len(numbers) != 11 or len(set(numbers)) == 1:
        return False
    return all(_cpf_digit(numbers[:length]) == numbers[length] for length in (9, 10))


def _cpf_digit(numbers: list[int]) -> int:
    weights = itertools.count(len(numbers) + 1, -1)
    return sum(digit * weight for digit, weight in zip(numbers, weights, strict=False)) * 10 % 11 % 10


def codice_fiscale(found: str) -> bool:
    """Italy's codice fiscale: the last letter is the sum of what the others count, modulo 26."""
    sign = plain(found)
    odd = sum(CODICE_ODD[letter] for letter in sign[:15:2])
    even = sum(int(letter) if letter.isdigit() else ord(letter) - ord("A") for letter in sign[1:15:2])
    return len(sign) == 16 and (odd + even) % 26 == ord(sign[15]) - ord("A")


def polish_pesel(found: str) -> bool:
    """PESEL: eleven digits, a month of a century in the third and fourth, weights 1, 3, 7, 9 modulo 10."""
    numbers = digits_of(found)
    if len(numbers) != 11 or not 1 <= (10 * numbers[2] + numbers[3]) % 20 <= 12:
        return False
    weighted = zip(numbers, itertools.cycle((1, 3, 7, 9)), strict=False)
    return (10 - sum(digit * weight for digit, weight in itertools.islice(weighted, 10)) % 10) % 10 == numbers[10]
