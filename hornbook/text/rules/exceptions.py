"""Words that spaCy's English tokenizer divides, or leaves whole, against its rules.

Contractions, abbreviations and smileys, written as the patterns that they follow; `exceptions()` has them all.
"""

# ruff: noqa: RUF001
from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hornbook.text.rules.characters import CURRENCY

Hashes = NDArray[np.uint64]
Cuts = NDArray[np.int8]

PRONOUNS = {
    "i": "'ll|'d|'m|'ve",
    "you": "'ll|'d|'ve|'re",
    "he": "'ll|'d|'s",
    "she": "'ll|'d|'s",
    "it": "'ll|'d|'s",
    "we": "'ll|'d|'ve|'re",
    "they": "'ll|'d|'ve|'re",
    "who": "'s|'ll|'re|'ve|'d",
    "what": "'s|'ll|'re|'ve|'d",
    "when": "'s|'ll|'re|'ve|'d",
    "where": "'s|'ll|'re|'ve|'d",
    "why": "'s|'ll|'re|'ve|'d",
    "how": "'s|'ll|'re|'ve|'d",
    "there": "'s|'ll|'re|'ve|'d",
    "that": "'s|'ll|'d",
    "this": "'s|'ll|'d",
    "these": "'ll|'re|'ve|'d",
    "those": "'ll|'re|'ve|'d",
}
NOT = "ca could do does did had may might must need ought sha should wo would"
NOT_ONLY = "ai are is was were have has dare"
HAVE = "could might must should would"
NO_CONTRACTIONS = "Ill ill Its its Hell hell Shell shell Shed shed were Were Well well Whore whore"
DIVIDED = (
    "y'+all y+all how+'d+'y How+'d+'y not+'ve not+ve Not+'ve Not+ve can+not Can+not gon+na Gon+na got+ta Got+ta let+'s "
    "Let+'s c'm+on C'm+on"
)
DROPPED_G = "doin goin havin lovin nothin nuthin ol somethin"
WHOLE = (
    "em 'em ll 'll nuff 'nuff 's 'S ‘s ‘S 're 'd 'cause 'Cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout and/or w/o "
    "ma'am Ma'am o'clock O'clock ' '' \\\") <space> C++ \\t \\n — Mt. Ak. Ala. Apr. Ariz. Ark. Aug. Calif. Colo. "
    "Conn. Dec. Del. Feb. Fla. Ga. Ia. Id. Ill. Ind. Jan. Jul. Jun. Kan. Kans. Ky. La. Mar. Mass. Mich. Minn. "
    "Miss. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. S.C. Sep. Sept. Tenn. Va. Wash. "
    "Wis. a.m. p.m. Adm. Bros. co. Co. Corp. D.C. Dr. e.g. E.g. E.G. Gen. Gov. i.e. I.e. I.E. Inc. Jr. Ltd. Md. "
    "Messrs. Mo. Mont. Mr. Mrs. Ms. Ph.D. Prof. Rep. Rev. Sen. St. vs. v.s."
)
SMILEYS = (
    ":) :-) :)) :-)) :))) :-))) :( :-( :(( :-(( :((( :-((( :') :'-) :'( :'-( (: (-: (o: :o) ): )-: :() :] :-] [: "
    "[-: :} :-} =) (= =] [= ]= =[ =( =| =/ =3 =D ;) ;-) (; (-; ;D ;-D 8) 8-) (-8 8D 8-D >:( >:o :/ :-/ :| :-| :* "
    ":-* xD xDD XD XDD ;_; -_- -__- @_@ ^_^ ^__^ ^___^ <3 <33 <333 </3 (^_^) (-_-) (._.) (>_<) (*_*) (¬_¬) ._. "
    ">.< >.> <.< v.v V.V v_v V_V o_o o_O O_o O_O o.o o.O O.o O.O 0_0 0_o o_0 0.0 0.o o.0 ಠ_ಠ ಠ︵ಠ (ಠ_ಠ) ><(((*> "
    "¯\\(ツ)/¯ (╯°□°）╯︵┻━┻"
)
MOUTHS = "1 3 0 P p O o X x D >"
UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph "
    "hPa Pa mbar mb MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг "
    "м/с км/ч кПа Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ тбكم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ كم غرام "
    "جرام جم كغ ملغ كوب اكواب US$ C$ A$"
)
"""What comes off a number that it follows. (The last Russian and the first Arabic are one there.)"""


def exceptions() -> dict[str, tuple[str, ...]]:
    """Each exception with the words that it is divided into."""
    found = {"".join(parts): parts for parts in (*_contractions(), *_whole(), *_times())}
    for word in NO_CONTRACTIONS.split():
        found.pop(word, None)
    found |= {"".join(parts): parts for parts in (tuple(word.split("+")) for word in DIVIDED.split())}
    curly = {word.replace("'", "’"): tuple(part.replace("'", "’") for part in parts) for word, parts in found.items()}
    return found | curly


def _contractions() -> Iterator[tuple[str, ...]]:
    for word, ends in PRONOUNS.items():
        for end in ends.split("|"):
            yield from _both((word, end))
            if end in ("'ll", "'d"):
                yield from _both((word, end, "'ve"))
    yield from (parts for start in ("i", "I") for parts in ((start, "'m", "a"), (start, "m", "a")))
    for word in (*NOT.split(), *NOT_ONLY.split()):
        yield from _both((word, "n't"))
        if word in NOT.split():
            yield from _both((word, "n't", "'ve"))
    for word in HAVE.split():
        yield from _both((word, "'ve"))


def _both(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """With and without apostrophes, as it is and with a capital."""
    for first in (parts[0], parts[0].title()):
        yield (first, *parts[1:])
        yield (first, *(part.replace("'", "") for part in parts[1:]))


def _whole() -> Iterator[tuple[str, ...]]:
    for word in DROPPED_G.split():
        yield from ((form,) for form in (word, word.title(), f"{word}'", f"{word.title()}'"))
    yield from ((word,) for word in (*WHOLE.split(), *SMILEYS.split()))
    yield from ((f":{nose}{mouth}",) for nose, mouth in product(("", "-"), MOUTHS.split()) if nose + mouth != "-1")
    yield from ((f"{letter}.",) for letter in "abcdefghijklmnopqrstuvwxyzäöü")
    yield from (("°", letter, ".") for letter in "cfkCFK")


def _times() -> Iterator[tuple[str, ...]]:
    yield from ((str(hour), half) for hour in range(1, 13) for half in ("a.m.", "am", "p.m.", "pm"))


LONGEST = 14
"""Characters of the longest exception or unit, and a little more."""



@cache
def tables() -> tuple[Hashes, Cuts, Hashes]:
    """Hash tables of the exceptions and of the units, and where each exception is divided [place, 2] (0: not)."""
    found = exceptions()
    words, units = listed(tuple(found)), listed((*UNITS.split(), *CURRENCY))
    cuts = np.zeros((len(words), 2), np.int8)
    for word, parts in found.items():
        place = _place(words, hashed(word))
        for column in range(len(parts) - 1):
            cuts[place, column] = sum(map(len, parts[: column + 1]))
    return words, cuts, units


@cache
def listed(words: tuple[str, ...]) -> Hashes:
    """A hash table of words, probed from place to place, at most half full; 0 is nothing."""
    hashes = sorted(map(hashed, set(words)))
    table = np.zeros(1 << (2 * len(hashes)).bit_length(), np.uint64)
    for value in hashes:
        table[_place(table, value)] = value
    return table


def _place(table: Hashes, value: int) -> int:
    place = value % len(table)
    while table[place] not in (0, value):
        place = (place + 1) % len(table)
    return place


def hashed(word: str) -> int:
    """FNV-1a over code points, mixed by the finalizer of MurmurHash3: what the kernel `words.hash_codes` gives."""
    value = 0xCBF29CE484222325
    for character in word:
        value = ((value ^ ord(character)) * 0x100000001B3) % 2**64
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 1):
        value = ((value ^ (value >> 33)) * factor) % 2**64
    return value
