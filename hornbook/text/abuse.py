"""A filter of abusive text that comes with the package: slurs, insults, curses and threats in English.

It is for those who have no labelled text to train a model of toxic text on (`hornbook classify`). Unlike a blocklist it
weighs terms, counts each once, and asks for more of them in a long text: a chapter may quote an insult. And it leaves
out what makes blocklists remove African American English more often than other English (Dodge et al. 2021, Sap et al.
2019): words that its speakers also use without malice, the commonest curse where it has no target, and phrases without
a copula ("you ugly" counts only as "you are ugly"). Words for bodies, sex and groups of people are no abuse either, nor
are names of animals and things.

This file holds offensive words, because it must.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import re2

from hornbook.text.document import Document

SLURS = r"""
    nigger niggeri[sz]e niglet nignog wigger fagg?ot faggot(?:y|ry) fag trannies queers chinks wetback kike gooks spics
    raghead towelhead beaner cunt sub-?human half-?breed shemale jigaboo pakis coons dykes muzzie retards libtard
    libturd fucktard fuckwad motherfucker inbreds
"""
INSULTS = r"""
    idiot idiotic moron moronic imbecile stupid stupidity dumb dumbest dumb\W?ass(?:es)? retard retarded loser scum
    scumbag pathetic disgusting filthy vermin maggot worthless brainless brain\W?dead ass\W?hole arsehole a-hole
    a[$][$]hole ass\W?hat bastard dickhead dickless pricks wanker douche douche\W?bag jackass(?:es)? shithead dipshit
    jerks jerk-?off fucker lunatic psycho psychopath pervert coward cowardly liar hypocrite clowns buffoon fools
    repulsive revolting vile despicable incompetent delusional deranged degenerate slut whore turd nitwit halfwit
    dimwit bigot sicko weirdo whitey creeps crybaby cocksucker cock\W?sucking disgrace disgraceful
"""
CURSES = r"""
    fuck fucking fuckin fucked fukk?(?:ing)? fcuk fk fking f[*@#&]+c?k f[*@#&]+c?king shitty bullshit horseshit crap
    stfu gtfo motherfucking goddamn bollocks arse sucks
"""
BEING = (
    r"(?:you are|you're|youre|u r|ur|they are|they're) (?:all )?(?:such )?(?:an? )?"
    r"(?:nothing but |fucking |bunch of )?"
)
MUST = r"(?:should|must|ought to|needs? to|deserves? to) (?:all )?"
THREATS = (
    r"fuck (?:you|u|off|yourself|ur|this|that|them|him|her|all|every)",
    r"kill (?:your ?self|yourselves|urself|them all)",
    r"(?:go|just|hope (?:you|they|he|she)) (?:and )?(?:die|hang|burn|rot)",
    r"drop dead|burn in hell|go to hell|get a life|shame on you|eat shit|suck my|screw (?:you|off)|you suck",
    r"(?:kiss my|up your|kick your|beat your) ass|son of a (?:bitch|whore)|(?:a|such a|total|complete) jerk",
    r"shut (?:the )?(?:fuck |hell )?up",
    r"pieces? of (?:shit|crap|trash|garbage)|scum of the earth|race traitors?",
    r"(?:white|trailer|human|sub-?human|pure|common|unwashed|foreign) (?:trash|filth|garbage)",
    r"(?:dirty|damn|fucking|lazy|stupid|ugly|filthy|you) "
    r"(?:spic|chink|coon|dyke|gook|kike|paki|cracker|wop|queer|nig)s?",
    MUST + r"(?:die|hang|burn|rot)",
    MUST + r"be (?:killed|shot|hanged|hung|gassed|executed|raped|beaten|stabbed|murdered|burned|punched|wiped out)",
    MUST + r"be (?:exterminated|eradicated)",
    r"(?:i|we) (?:really |fucking )?(?:hate|despise|loathe|detest|can't stand) (?:all )?"
    r"(?:you|u|them|these|those|women|[a-z]+ people)",
    r"(?:i will|i'll|i want to|i wanna|i'm gonna|i am going to) (?:fucking )?"
    r"(?:kill|murder|rape|stab|shoot|beat|punch|hurt) (?:you|u|him|her|them)",
    BEING + r"(?:sick|ugly|fat|evil|crazy|insane|inferior|useless|racist|filth|trash|garbage)",
    BEING + r"(?:disease|cancer|plague|joke|fool|clown|nazi|fascist|creep|traitor|waste|terrorist|criminal|parasite)s?",
    BEING + r"(?:animal|monkey|dog|pig|rat|snake)s?",
)
WEIGHTS = (3, 3, 2, 1)
"""Of threats, slurs, insults and curses."""


def abuse(document: Document, *, max_score: float = 0.12) -> str | None:
    """A filter: the weight of the abusive terms, each counted once, over the root of the words is at most `max_score`.

    An insult weighs 2, so that one is enough to remove a text of up to 270 words.
    """
    found = terms(document.text)
    if not found:
        return None
    score = sum(found.values()) / len(document.text.split()) ** 0.5
    if score <= max_score:
        return None
    return f"abuse: {', '.join(map(repr, sorted(found)[:3]))}: score {score:.2f}, above {max_score:g}"


def terms(text: str) -> dict[str, int]:
    """The abusive terms that a text holds, in small letters, with their weights. Linear time (RE2)."""
    found = dict[str, int]()
    for match in _pattern().finditer(text.encode("utf-8", "replace")):
        groups = zip(match.groups(), WEIGHTS, strict=True)
        found[match[0].decode().lower()] = next(weight for kind, weight in groups if kind)
    return found


@cache
def _pattern() -> Any:
    """One group for threats, and one for each kind of words, whose plurals count too."""
    options = re2.Options()
    options.case_sensitive = False
    options.max_mem = 64 * 2**20
    kinds = [f"({'|'.join(words.split())})s?" for words in (SLURS, INSULTS, CURSES)]
    return re2.compile(rf"\b(?:({'|'.join(THREATS)})|{'|'.join(kinds)})\b".encode(), options)
