from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.text.audit import audit
from hornbook.text.card import OTHERS, card, table
from hornbook.text.document import Document, Malformed
from hornbook.text.privacy import mask
from hornbook.text.tally import EXCERPT, Ledger, Tally, day_of, host_of, size, top_level

KEPT = [
    Document(
        "1",
        "two words",
        "a",
        "http://x.de:80/1",
        "2024-05-06T07:08:09Z",
        metadata={"language": "en", "masked": "email=2 phone=1", "published": "2019-01-02"},
    ),
    Document("2", "äö", "b", metadata={"language": "de", "license": "cc0", "cut_c4_lines": "4", "cut_odd": "x"}),
    Document("3", "three more words", "a", "http://x.de/3", "2023-01-01", {"language": "en", "masked": "email=1"}),
]
REMOVED = [
    (Document("4", "x" * 1000, "a", "http://x.de/4"), "late: too late"),
    (Document("5", "y", "b"), "early: too early"),
    (Document("6", "", "b", "http://y/6"), "opt_out: meta robots says noai"),
]


def tallied() -> Tally:
    tally = Tally()
    for document in KEPT:
        tally.keep(document, kind="web pages" if document.source == "a" else "")
    for document, reason in REMOVED:
        tally.remove(document, reason, kind="web pages")
    tally.drop_lines({"a line": 3})
    tally.edited("early", documents=2, bytes=7)
    tally.malformed(Malformed("a.jsonl", 3, "not JSON: unexpected character at line 1", "{"))
    return tally


def test_the_card_tells_what_is_there_and_what_is_not() -> None:
    made = card(tallied(), order=["early", "late"])
    assert made["table"] == [
        {"source": "a", "type": "web pages", "bytes": 25, "documents": 2, "tokens": 5},
        {"source": "b", "type": "", "bytes": 4, "documents": 1, "tokens": 1},
    ]
    assert [(step["step"], step["documents"], step["bytes"]) for step in made["steps"]] == [
        ("read", 6, 1037),
        ("opt_out", 5, 1037),
        ("early", 4, 1029),
        ("late", 3, 29),
    ]
    (example,) = made["removed"]["late"]["examples"]
    assert (example["where"], example["reason"], len(example["text"])) == ("http://x.de/4", "late: too late", 400)
    assert made["removed"]["early"]["sources"] == {"b": 1}
    assert made["masked"] == {"email": 3, "phone": 1}
    assert made["masked_documents"] == 2
    assert made["languages"] == {"en": {"documents": 2, "bytes": 25}, "de": {"documents": 1, "bytes": 4}}
    assert made["hosts"] == {"x.de": {"documents": 2, "bytes": 25}}
    assert made["hosts_known"] == {"number": 1, "at_least": False}
    assert made["licenses"] == {
        "cc0": {"documents": 1, "bytes": 4, "hosts": {"b": 1}},
        "none named": {"documents": 2, "bytes": 25},
    }
    assert made["opted_out"] == {"meta robots says noai": 1}
    assert made["lines"] == {"dropped": 3, "characters": 18, "examples": [{"line": "a line", "times": 3}]}
    assert made["cut"] == {"c4_lines": {"documents": 1, "lines": 4}}
    assert made["dates"]["created"] == {"2023": 1, "2024": 1}
    assert made["dates"]["published"] == {"2019": 1}
    assert made["dates"]["periods"] == {"web pages": ["2023-01-01", "2024-05-06"]}
    assert made["geography"]["domains"] == {"de": {"documents": 2, "bytes": 25, "share": 1.0}}
    assert made["malformed_kinds"] == {"not JSON": 1}
    assert made["malformed"][0]["row"] == 3
    assert made["warnings"] == []
    assert json.loads(json.dumps(made)) == made


def test_tokens_take_the_place_of_words() -> None:
    made = card(tallied(), order=[], tokens={"a": 70, "b": 9})
    assert [row["tokens"] for row in made["table"]] == [70, 9]
    assert made["tokens_are"] == "tokens of the run's tokenizer"


def test_clusters_and_the_share_of_each_source_that_was_a_copy() -> None:
    tally = tallied()
    tally.remove(Document("7", "two words", "a"), "near_duplicate: at least 80% like 1", kind="web pages")
    made = card(tally, order=[], clusters={2: 40, 5: 1})["clusters"]
    assert (made["number"], made["documents"], made["sizes"]) == (41, 85, {"2": 40, "5": 1})
    assert made["largest"] == [5] + [2] * 19
    assert made["sources"] == {"a": {"removed": 1, "of": 4, "share": 0.25}}


def test_evaluation_sets_by_task() -> None:
    tally = tallied()
    tally.remove(Document("7", "two words", "a"), 'contaminated: quiz has "what is it: a has b"', kind="web pages")
    made = card(tally, order=[], contamination={"quiz": {"texts": 9}, "other": {"texts": 4}})["contamination"]
    assert made == {
        "quiz": {"texts": 9, "documents": 1, "bytes": 9},
        "other": {"texts": 4, "documents": 0, "bytes": 0},
    }


def test_examples_show_no_personal_data_and_nothing_of_who_said_no() -> None:
    tally = Tally()
    document = Document("7", "Write to jo@example.org.", "a", "http://x/")
    for reason in ("http_status: 404", "opt_out: meta robots says noai", "takedown: x"):
        tally.remove(document, reason, kind="web pages")
    texts = {rule: examples[0]["text"] for rule, examples in tally.examples.items()}
    assert texts.pop("http_status") == mask(document.text)[0] != document.text
    assert texts == {"opt_out": "", "takedown": ""}
    assert card(tally, order=[])["opted_out"] == {"meta robots says noai": 1, "takedown list": 1}


def test_a_rule_that_takes_most_of_a_source_is_warned_of() -> None:
    tally = Tally()
    for n in range(40):
        document = Document(str(n), "text", "small" if n < 4 else "large")
        if n % 4:
            tally.remove(document, "gopher_length: short", kind="")
        else:
            tally.keep(document, kind="")
    (warning,) = card(tally, order=[])["warnings"]
    assert warning == "gopher_length removed 75% of large: 27 of 36 documents"


def test_an_unequal_filter_is_warned_of() -> None:
    slices = {"dialect/one": ["red things", "red"], "dialect/plain": ["blue things", "blue"]}
    filters = [("reds", lambda documents: ["reds: red" if "red" in one.text else None for one in documents])]
    found = audit(filters, slices, {"dialect/one": "dialect/plain"})
    made = card(Tally(), order=[], audits=found)
    (warning,) = made["warnings"]
    assert warning.startswith("reds removes 1.00")
    assert made["audits"] == found


def test_a_tally_survives_json() -> None:
    tally = tallied()
    again = Tally.from_json(orjson.loads(orjson.dumps(tally.to_json())))
    assert again == tally
    assert card(again, order=[]) == card(tally, order=[])


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([*KEPT, *(document for document, _ in REMOVED)]),
        st.sampled_from([None, "late: too late", "opt_out: noai"]),
    )
)


def count(events: list[tuple[Document, str | None]]) -> Tally:
    tally = Tally()
    for document, reason in events:
        if reason:
            tally.remove(document, reason, kind=document.source)
        else:
            tally.keep(document, kind=document.source)
    return tally


@given(parts=st.lists(EVENTS, max_size=5))
@settings(max_examples=50)
def test_merged_parts_are_the_whole(parts: list[list[tuple[Document, str | None]]]) -> None:
    merged = Tally()
    for part in parts:
        merged.merge(count(part))
    assert merged == count([event for part in parts for event in part])


@given(events=EVENTS, cut=st.integers(0, 9))
@settings(max_examples=50)
def test_what_was_read_is_what_is_kept_and_what_is_not(events: list[tuple[Document, str | None]], cut: int) -> None:
    tally = count(events)
    tally.edited("late", documents=1, bytes=cut)
    made = card(tally, order=["late", "opt_out"])
    kept = [document for document, reason in events if reason is None]
    first, last = made["steps"][0], made["steps"][-1]
    assert (first["documents"], last["documents"]) == (len(events), len(kept))
    assert (first["bytes"], last["bytes"]) == (sum(size(one) for one, _ in events) + cut, sum(map(size, kept)))
    assert sum(row["documents"] for row in made["table"]) == len(kept)
    assert sum(row["tokens"] for row in made["table"]) == sum(len(one.text.split()) for one in kept)
    assert sum(row["read"] for row in made["kinds"].values()) == len(events)


def test_memory_is_bounded_and_sums_stay_right() -> None:
    ledger, other = Ledger(40), Ledger(40)
    for n in range(1000):
        ledger.add(f"host {n % 500}", 1, n)
        ledger.add("large", 1, 1)
        other.add(f"host {n}", 1, n)
    assert (ledger.total(), ledger.total(1)) == (2000, 499_500 + 1000)
    assert ledger.ranked()[0] == ("large", [1000, 1000])
    ledger.merge(other)
    assert len(ledger.entries) <= 40
    assert (ledger.total(), ledger.total(1)) == (3000, 2 * 499_500 + 1000)


def test_many_sources_share_the_last_row() -> None:
    tally = Tally()
    for n in range(600):
        tally.keep(Document(str(n), "one two", f"{n:03}.example"), kind="web pages")
    rows = table(tally)
    assert (len(rows), rows[-1]) == (
        501,
        {"source": OTHERS, "type": "", "bytes": 700, "documents": 100, "tokens": 200},
    )


@pytest.mark.parametrize(
    ("host", "ending"),
    [
        ("a.example.de", "de"),
        ("a.de.", "de"),
        ("127.0.0.1", "address"),
        ("::1", "address"),
        ("localhost", "none"),
        ("", "none"),
    ],
)
def test_top_level(host: str, ending: str) -> None:
    assert top_level(host) == ending


@pytest.mark.parametrize(
    ("date", "day"),
    [
        ("2024-05-06T07:08:09Z", "2024-05-06"),
        ("2024-05-06", "2024-05-06"),
        ("2024-02-31", ""),
        ("2024", ""),
        ("6 May 2024", ""),
        ("\uff12\uff10\uff12\uff14-05-06", ""),
        ("", ""),
    ],
)
def test_days(date: str, day: str) -> None:
    assert day_of(date) == day


def test_hosts_have_no_port_and_no_password() -> None:
    assert host_of("https://me:secret@X.Example:8080/a?b") == "x.example"
    assert host_of("http://[half/") == host_of("") == host_of("no url") == ""


def test_what_a_page_says_is_cut_and_can_be_written() -> None:
    tally = Tally()
    said = {"license": "\ud800", "masked": "yes=no email=\u00b2 x=", "published": "soon", "language": "\udfff"}
    odd = Document("1", "\ud800" + "long " * 1000, "a\udfff", "http://h\ud800/", "no date", said)
    tally.keep(odd, kind="web pages")
    tally.remove(odd, "rule: \ud800", kind="web pages")
    tally.drop_lines({"line" * 1000: 2})
    orjson.dumps(card(tally, order=[]))
    assert Tally.from_json(orjson.loads(orjson.dumps(tally.to_json()))) == tally
    assert len(tally.examples["rule"][0]["text"]) == EXCERPT
    assert (tally.masked.entries, tally.masked_documents) == ({}, 0)
    assert tally.lines.entries == {("line" * 1000)[:EXCERPT]: [2, 8000]}
