from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import InputError, UsageError
from hornbook.text.document import (
    Document,
    Malformed,
    document_id,
    find_files,
    hash_documents,
    held_out,
    kind_of,
    order_key,
    read_documents,
    read_rows,
    write_documents,
)

ROWS = [{"id": "a", "text": "An apple."}, {"text": "A pear.", "url": "http://x/", "metadata": {"n": 1}, "score": 0.5}]
MALFORMED = [
    (b"{", "not JSON"),
    (b"[1, 2]", "not an object but a list"),
    (b'"text"', "not an object but a string"),
    (b'{"id": "x"}', "no `text`"),
    (b'{"text": 5}', "`text` is a number, not a string"),
    (b'{"text": "\xff"}', "not JSON"),
]


def lines(rows: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    raw = lines(rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(raw))
    elif path.suffix == ".zst":
        path.write_bytes(pa.compress(raw, "zstd", asbytes=True))
    elif path.suffix == ".parquet":
        names = ("id", "text", "url", "metadata")
        pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows]), path)
    else:
        path.write_bytes(json.dumps(rows).encode() if path.suffix == ".json" else raw)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.parquet"])
def test_every_kind_of_file_gives_the_same_documents(name: str, tmp_path: Path) -> None:
    first, second = read_rows(write(tmp_path / name, ROWS))
    assert isinstance(first, Document)
    assert (first.id, first.text, first.source) == ("a", "An apple.", "a")
    assert isinstance(second, Document)
    assert (second.id, second.url) == (document_id("http://x/", b"A pear."), "http://x/")
    assert second.metadata["n"] == "1"


@pytest.mark.parametrize(("line", "reason"), MALFORMED)
def test_a_bad_row_is_named_and_reading_goes_on(line: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "one"}\n' + line + b'\n{"text": "three"}\n')
    one, bad, three = read_rows(path)
    assert isinstance(one, Document)
    assert isinstance(three, Document)
    assert isinstance(bad, Malformed)
    assert (bad.file, bad.row) == ("rows.jsonl", 2)
    assert bad.reason.startswith(reason)


def test_a_cut_off_gzip_file_gives_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    packed = gzip.compress(lines([{"text": str(n) * 50} for n in range(20000)]))
    path.write_bytes(packed[: len(packed) // 2])
    *rows, last = read_rows(path)
    assert len(rows) > 100
    assert isinstance(last, Malformed)
    assert "unreadable from here on" in last.reason


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    path.write_text("\ufeffRoses are red.\nViolets are not.\n")
    (document,) = read_rows(path)
    assert isinstance(document, Document)
    assert (document.text, document.source) == ("Roses are red.\nViolets are not.\n", "poem")


def test_a_text_file_of_windows_is_the_same_document(tmp_path: Path) -> None:
    text = "\n\n".join("A paragraph. " * 4000 for _ in range(5))
    found = []
    for name, end in (("unix", "\n"), ("windows", "\r\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "book.txt").write_bytes(text.replace("\n", end).encode())
        found.append(list(read_rows(tmp_path / name / "book.txt")))
    assert found[0] == found[1]
    assert len(found[0]) > 1


def test_the_hash_of_documents_is_of_what_lasts() -> None:
    def hashed(**changed: Any) -> str:
        fields = {"url": "http://x", "created": "2024", "metadata": {"title": "T", "record": "<r>"}} | changed
        return hash_documents([Document("1", "a", "s", **fields), Document("2", "b", "s")])

    assert hashed(created="2025", metadata={"record": "<q>", "title": "T"}) == hashed()
    assert len({hashed(), hashed(url="http://y"), hashed(metadata={"title": "U"})}) == 3


def test_parquet_round_trip_has_the_same_bytes(tmp_path: Path) -> None:
    documents = [Document(str(n), f"text {n} é", "s", f"http://x/{n}", "", {"b": "2", "a": "1"}) for n in range(3000)]
    for name in ("a", "b"):
        assert write_documents(tmp_path / name, iter(documents)) == 3000
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert list(read_documents(tmp_path / "a")) == documents


def test_what_is_no_corpus_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "documents.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(InputError, match=r"documents.parquet: cannot be read as Parquet"):
        list(read_documents(path))
    pq.write_table(pa.table({"id": ["1"]}), path)
    with pytest.raises(InputError, match="no column created, metadata, source, text, url"):
        list(read_documents(path))


def test_files_are_found_by_name_folder_and_glob(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.warc.gz", "sub/c.txt", "notes.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [name for name, _ in find_files(str(tmp_path))] == ["a.warc.gz", "b.jsonl", "sub/c.txt"]
    assert [name for name, _ in find_files(f"{tmp_path}/*.jsonl")] == ["b.jsonl"]
    assert [name for name, _ in find_files(f"{tmp_path}/sub/c.txt")] == ["c.txt"]
    with pytest.raises(UsageError, match=r"there is no file or folder .*\*.csv"):
        find_files(f"{tmp_path}/*.csv")
    with pytest.raises(InputError, match=r"\*.pdf holds no readable file"):
        find_files(f"{tmp_path}/*.pdf")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.JSONL.gz", ".jsonl"),
        ("a.b.warc", ".warc"),
        ("x.warc.wet.gz", ".wet"),
        ("a.gz", ""),
        ("a.pdf", ""),
        ("a", ""),
    ],
)
def test_kind_of(name: str, kind: str) -> None:
    assert kind_of(Path(name)) == kind


def test_order_and_held_out_depend_on_the_id_alone() -> None:
    ids = [str(n) for n in range(2000)]
    assert order_key("7", seed=1) == order_key("7", seed=1)
    assert order_key("7", seed=1) != order_key("7", seed=2)
    assert order_key("7", seed=1) != order_key("7", seed=1, purpose="x")
    assert all(0 <= order_key(id, seed=0) < 2**63 for id in ids)
    share = sum(held_out(id, fraction=0.1, seed=0) for id in ids) / len(ids)
    assert 0.08 < share < 0.12


@given(st.text(), st.binary())
def test_an_id_is_32_hex_digits(url: str, payload: bytes) -> None:
    try:
        url.encode()
    except UnicodeEncodeError:
        return
    assert len(bytes.fromhex(document_id(url, payload))) == 16


def test_a_long_text_file_is_cut_at_empty_lines(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {n} of the book. " * 40 for n in range(300)]
    (tmp_path / "book.txt").write_text("\n\n".join(paragraphs))
    parts = [d for d in read_rows(tmp_path / "book.txt") if isinstance(d, Document)]
    assert len(parts) > 4
    assert "\n\n".join(part.text for part in parts) == "\n\n".join(paragraphs)
    assert len({part.id for part in parts}) == len(parts)
    assert all(50_000 <= len(part.text) <= 110_000 for part in parts)
