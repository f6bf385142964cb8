from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hornbook.text.card import card
from hornbook.text.croissant import CONTEXT, File, croissant
from hornbook.text.document import Document, Malformed, write_documents
from hornbook.text.files import hash_file
from hornbook.text.tally import Tally

KEPT = [
    Document("a", "Ein Satz über Brot.", "bread", "http://brot.example.de/1", "2024-05-06T07:08:09Z"),
    Document("b", "A line\nand another.", "books", metadata={"language": "en", "masked": "email=2"}),
    Document("c", "שלום 👋🏽", "bread", "http://brot.example.de/2", "2024-06-01"),
]


def described(folder: Path, tally: Tally) -> dict[str, Any]:
    """Two Parquet files with a description beside them, as a run has them."""
    files = []
    for number, part in enumerate((KEPT[:2], KEPT[2:])):
        path = folder / f"documents-{number:05}.parquet"
        write_documents(path, part)
        files.append(File(name=path.name, size=path.stat().st_size, sha256=hash_file(path), rows=len(part)))
    # Beside the documents, and not to be taken for any.
    write_documents(folder / "removed-00000.parquet", [Document("x", "removed", "bread")])
    made = croissant(card(tally, order=[]), files, name="curate-0f0f0f0f", description="Bread and books.")
    (folder / "croissant.json").write_text(json.dumps(made))
    return made


def tallied() -> Tally:
    tally = Tally()
    for document in KEPT:
        tally.keep(document, kind="web pages" if document.source == "bread" else "text files")
    tally.remove(Document("d", "no", "bread", "http://x/"), "opt_out: meta robots says noai", kind="web pages")
    tally.remove(Document("e", "no", "books"), "gopher_length: 1 words, fewer than 50", kind="text files")
    tally.edited("line", documents=1, bytes=12)
    tally.malformed(Malformed("a.warc", 1, "record: no WARC record after byte 0"))
    tally.malformed(Malformed("a.jsonl", 2, "not JSON: a comma is missing"))
    return tally


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what mlcroissant itself calls
def test_mlcroissant_finds_nothing_wrong_and_reads_the_documents(tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    described(tmp_path, tallied())
    dataset = mlcroissant.Dataset(jsonld=tmp_path / "croissant.json")
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    # These four ask for what a corpus cannot know of itself: how it is cited, released and licensed as a whole.
    missing = [re.search(r'(\w+)" is recommended', str(warning)) for warning in issues.warnings]
    assert sorted(found[1] if found else "" for found in missing) == ["citeAs", "datePublished", "license", "version"]
    rows = [{name: value.decode() for name, value in row.items()} for row in dataset.records("documents")]
    assert [(row["documents/id"], row["documents/text"]) for row in rows] == [(one.id, one.text) for one in KEPT]
    assert json.loads(rows[1]["documents/metadata"]) == KEPT[1].metadata


def test_only_what_is_known_is_said(tmp_path: Path) -> None:
    made = described(tmp_path, tallied())
    assert made["rai:dataCollection"] == "3 web pages were read, 2 are kept; 2 text files were read, 1 are kept"
    assert made["rai:dataCollectionMissingData"] == "1 malformed: not JSON; 1 malformed: record"
    assert made["rai:dataCollectionTimeFrame"] == ["2024-05-06", "2024-06-01"]
    assert made["rai:personalSensitiveInformation"] == "email: masked 2 times where a pattern found it"
    assert made["rai:dataPreprocessingProtocol"] == [
        "gopher_length: 1 documents removed",
        "opt_out: 1 documents removed",
        "line: 12 bytes taken out of documents",
    ]
    assert not {"license", "datePublished", "rai:dataBiases"} & made.keys()
    assert [one["sha256"] for one in made["distribution"][:2]] == [
        hash_file(tmp_path / f"documents-0000{number}.parquet") for number in (0, 1)
    ]


def test_a_licence_is_named_when_every_document_has_one() -> None:
    tally, license = Tally(), "https://creativecommons.org/licenses/by/4.0/"
    tally.keep(Document("1", "text", "a", metadata={"license": license}), kind="")
    assert croissant(card(tally, order=[]), [], name="x", description="y")["license"] == license
    tally.keep(Document("2", "text", "a"), kind="")
    assert "license" not in croissant(card(tally, order=[]), [], name="x", description="y")


def test_the_context_is_the_standard_one() -> None:
    rdf = pytest.importorskip("mlcroissant._src.core.rdf")
    assert rdf.make_context() == CONTEXT
