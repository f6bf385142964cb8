from __future__ import annotations

import json
from collections import Counter

from hornbook.text.card import Removed, card
from hornbook.text.document import Document


def test_the_card_tells_what_is_there_and_what_is_not() -> None:
    kept = [
        Document("1", "two words", "a", "http://x/1", metadata={"language": "en", "masked": "email=2 phone=1"}),
        Document("2", "äö", "b", metadata={"language": "de", "license": "cc0"}),
        Document("3", "three more words", "a", "http://x/3", metadata={"language": "en", "masked": "email=1"}),
    ]
    removed = [
        Removed(Document("4", "x" * 1000, "a", "http://x/4"), "late: too late"),
        Removed(Document("5", "y", "b"), "early: too early"),
        Removed(Document("6", "", "b", "http://y/6"), "opt_out: meta robots says noai"),
    ]
    made = card(kept, removed, order=["early", "late"], types={"a": "web pages"}, dropped=Counter({"a line": 3}))
    assert made["table"] == [
        {"source": "a", "type": "web pages", "bytes": 25, "documents": 2, "tokens": 5},
        {"source": "b", "type": "", "bytes": 4, "documents": 1, "tokens": 1},
    ]
    assert [(step["step"], step["documents"], step["bytes"]) for step in made["steps"]] == [
        ("read", 6, 1030),
        ("opt_out", 5, 1030),
        ("early", 4, 1029),
        ("late", 3, 29),
    ]
    (example,) = made["removed"]["late"]["examples"]
    assert (example["where"], example["reason"], len(example["text"])) == ("http://x/4", "late: too late", 400)
    assert made["removed"]["early"]["sources"] == {"b": 1}
    assert (made["masked"], made["languages"]) == ({"email": 3, "phone": 1}, {"en": 2, "de": 1})
    assert (made["hosts"], made["licenses"]) == ({"x": 2}, {"cc0": 1})
    assert made["opted_out"] == {"meta robots says noai": 1}
    assert made["lines"]["dropped"] == 3
    assert json.loads(json.dumps(made)) == made
