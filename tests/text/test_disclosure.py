from __future__ import annotations

import json

import pytest

from hornbook.text.card import card
from hornbook.text.disclosure import disclosure, range_of
from hornbook.text.document import Document
from hornbook.text.tally import Tally


def test_what_records_say_is_filled_and_the_rest_is_left_to_the_provider() -> None:
    tally = Tally()
    for n in range(25):
        page = Document(str(n), "word " * (n + 1), "web", f"https://site{n}.example/", f"2024-05-{n + 1:02}T00:00:00Z")
        tally.keep(page, kind="web pages")
    tally.keep(Document("book", "A book.", "books", metadata={"language": "en"}), kind="text files")
    no = Document("no", "No.", "web", "https://no.example/")
    tally.remove(no, "opt_out: meta robots says noai", kind="web pages")
    made = disclosure(
        tally, card(tally, order=[]), crawlers=["hornbook"], reservations=["opt_out", "tdm"], illegal=["blocklist"]
    )
    crawled = made["sources"]["crawled"]
    assert (crawled["crawlers"], crawled["pages_read"], crawled["pages_kept"]) == (["hornbook"], 26, 25)
    assert crawled["period"] == ["2024-05-01", "2024-05-25"]
    assert crawled["domains"] == ["site24.example", "site23.example", "site22.example"]
    assert crawled["domains_are"] == "the largest 10 % of 25 host names of kept documents, by UTF-8 bytes"
    assert made["sources"]["files"] == {"text files": {"read": 1, "read_bytes": 7, "documents": 1, "bytes": 7}}
    assert made["general"]["size"]["range"] == "less than 1 billion tokens"
    assert made["general"]["latest_date"] == "2024-05-25"
    assert made["processing"]["reservations"] == {"opt_out": 1, "tdm": 0}
    assert made["processing"]["signals"] == {"meta robots says noai": 1}
    assert made["processing"]["illegal_content"] == {"blocklist": 0}
    assert not made["to_fill"]["crawled"]
    assert json.loads(json.dumps(made)) == made


def test_an_unknown_crawler_is_asked_for() -> None:
    tally = Tally()
    tally.keep(Document("1", "text", "web"), kind="web pages")
    made = disclosure(tally, card(tally, order=[]))
    assert made["to_fill"]["crawled"] == ["names of the crawlers that gathered the pages"]
    assert "latest_date" not in made["general"]


def test_nothing_at_all() -> None:
    made = disclosure(Tally(), card(Tally(), order=[]))
    assert made["sources"]["crawled"]["domains"] == []
    assert made["to_fill"]["crawled"] == []


@pytest.mark.parametrize(
    ("tokens", "name"),
    [
        (0, "less than 1 billion tokens"),
        (10**9 - 1, "less than 1 billion tokens"),
        (10**9, "1 billion to 10 trillion tokens"),
        (10**13, "more than 10 trillion tokens"),
    ],
)
def test_ranges(tokens: int, name: str) -> None:
    assert range_of(tokens) == name
