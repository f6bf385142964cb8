from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hornbook.text.archives import records
from hornbook.text.archives.warc import Page
from hornbook.text.document import Document, Malformed, document_id
from hornbook.text.read import Rows, pieces, read_file, read_piece, read_rows
from tests.text.archives.made import ARC_HEAD, arc_page, bomb, packed, page, record, response

ROWS = [{"id": "a", "text": "An apple."}, {"text": "A pear.", "url": "http://x/", "metadata": {"n": 1}, "score": 0.5}]
BOM = b"\xef\xbb\xbf"


def lines(rows: Sequence[object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write(path: Path, rows: Sequence[dict[str, object]]) -> Path:
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


# -- rows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.parquet"])
def test_every_kind_of_file_gives_the_same_documents(name: str, tmp_path: Path) -> None:
    first, second = read_rows(write(tmp_path / name, ROWS))
    assert isinstance(first, Document)
    assert (first.id, first.text, first.source) == ("a", "An apple.", "a")
    assert isinstance(second, Document)
    assert (second.id, second.url) == (document_id("http://x/", b"A pear."), "http://x/")
    assert second.metadata["n"] == "1"


NESTED = b'{"text": "deep", "x": ' + b"[" * 600 + b"]" * 600 + b"}"
MALFORMED = {
    "half a row": (b"{", "not JSON"),
    "a list": (b"[1, 2]", "not an object but a list"),
    "a string": (b'"text"', "not an object but a string"),
    "a number": (b"7", "not an object but a number"),
    "null": (b"null", "not an object but null"),
    "another name": (b'{"content": "x", "id": 1}', "no `text`: there is content, id"),
    "text is a number": (b'{"text": 5}', "`text` is a number, not a string"),
    "text is a list": (b'{"text": ["x"]}', "`text` is a list, not a string"),
    "text is null": (b'{"text": null}', "no `text`"),
    "no object at all": (b"{}", "no `text`: there is nothing"),
    "not UTF-8": (b'{"text": "\xff"}', "not JSON"),
    "NaN": (b'{"text": "x", "score": NaN}', "not JSON"),
    "half a surrogate pair": (b'{"text": "\\ud800"}', "not JSON"),
    "zero bytes": (bytes(4096), "not JSON"),
    "a zero byte in a string": (b'{"text": "a\0b"}', "not JSON"),
    "two rows in a line": (b'{"text": "a"} {"text": "b"}', "not JSON"),
    "too deep": (b"[" * 100_000, "not JSON"),
    "UTF-16 within": ('{"text": "x"}'.encode("utf-16-le"), "not JSON"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_bad_row_is_named_and_reading_goes_on(name: str, tmp_path: Path) -> None:
    line, reason = MALFORMED[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "one"}\n' + line + b'\n{"text": "three"}\n')
    one, bad, three = read_rows(path)
    assert isinstance(one, Document)
    assert isinstance(three, Document)
    assert isinstance(bad, Malformed)
    assert (bad.file, bad.row) == ("rows.jsonl", 2)
    assert bad.reason.startswith(reason)


@pytest.mark.parametrize(
    ("line", "metadata"),
    [
        (b'{"text": "x", "n": 123456789012345678901234567890}', {"n": "1.2345678901234568e+29"}),
        (b'{"text": "x", "n": 1e999}', None),
        (b'{"text": "x", "metadata": [1, "a"]}', {"metadata": '[1,"a"]'}),
        (b'{"text": "x", "metadata": "{\\"a\\": 1}"}', {"a": "1"}),
        (b'{"text": "x", "metadata": "{a"}', {"metadata": "{a"}),
        (b'{"text": "x", "metadata": {"a": {"b": [null, true]}, "c": null}}', {"a": '{"b":[null,true]}'}),
        (NESTED, {"x": ""}),
        (BOM + b'{"text": "x"}', {}),
        (b'{"text": "x"}\r', {}),
        (b'  {"text": "x"}  ', {}),
    ],
)
def test_odd_rows_are_read_or_counted(line: bytes, metadata: dict[str, str] | None, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(line)
    (row,) = read_rows(tmp_path / "rows.jsonl")
    if metadata is None:
        assert isinstance(row, Malformed)
    else:
        assert isinstance(row, Document)
        assert row.metadata == metadata


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_no_row_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, line: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    for raw in (line, b'{"text": "x", "y": ' + line + b"}"):
        path.write_bytes(raw)
        list(read_rows(path))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_says_so_once(name: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(("\ufeff" + '{"text": "one"}\n' * 9).encode(encoding))
    (row,) = read_rows(tmp_path / name)
    assert isinstance(row, Malformed)
    assert row.reason == "not UTF-8 but UTF-16"


def test_a_row_that_is_too_long_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hornbook.text.json_rows.LONGEST_ROW", 100)
    long = b'{"text": "' + b"x" * 3_000_000 + b'"}'
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "one"}\n' + long + b'\n{"text": "two"}\n' + long)
    rows = list(read_rows(tmp_path / "rows.jsonl"))
    assert [type(row) for row in rows] == [Document, Malformed, Document, Malformed]


def test_a_cut_off_gzip_file_gives_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    whole = gzip.compress(lines([{"text": str(n) * 50} for n in range(20000)]))
    path.write_bytes(whole[: len(whole) // 2])
    *rows, last = read_rows(path)
    assert len(rows) > 100
    assert isinstance(last, Malformed)
    assert "unreadable from here on: gzip: cut off" in last.reason


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"PAR1 but no more", "unreadable from here on"),
        (b"", "unreadable from here on"),
    ],
)
def test_what_is_no_parquet_is_counted(raw: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(raw)
    (row,) = read_rows(tmp_path / "a.parquet")
    assert isinstance(row, Malformed)
    assert row.reason.startswith(reason)


def test_parquet_without_text_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["x"], "url": ["y"]}), tmp_path / "a.parquet")
    (row,) = read_rows(tmp_path / "a.parquet")
    assert isinstance(row, Malformed)
    assert row.reason == "no column `text`: there is content, url"


def test_parquet_of_any_types_is_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array([b"good", b"\xff bad", None]).cast(pa.binary()).view(pa.string()),
            "when": pa.array([0, 1, 2], pa.timestamp("us")),
            "tags": [["a"], [], None],
            "raw": [b"\xff", b"", b"x"],
            "number": [1, 2, None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    first, bad, none = read_rows(tmp_path / "a.parquet")
    assert isinstance(first, Document)
    assert (first.text, first.metadata["number"], first.metadata["tags"]) == ("good", "1", '["a"]')
    assert [type(bad), type(none)] == [Malformed, Malformed]


# -- text and HTML --------------------------------------------------------------------------------------------------


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "poem.txt").write_text("\ufeffRoses are red.\nViolets are not.\n")
    (document,) = read_rows(tmp_path / "poem.txt")
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


def test_a_long_text_file_is_cut_at_empty_lines(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {n} of the book. " * 40 for n in range(300)]
    (tmp_path / "book.txt").write_text("\n\n".join(paragraphs))
    parts = [d for d in read_rows(tmp_path / "book.txt") if isinstance(d, Document)]
    assert len(parts) > 4
    assert "\n\n".join(part.text for part in parts) == "\n\n".join(paragraphs)
    assert len({part.id for part in parts}) == len(parts)
    assert all(50_000 <= len(part.text) <= 110_000 for part in parts)


@pytest.mark.parametrize("name", ["a.html", "a.htm", "a.HTML.gz"])
def test_an_html_file_is_a_page_without_a_url(name: str, tmp_path: Path) -> None:
    raw = b"<p>One.</p>"
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    (page,) = read_file(tmp_path / name, name=f"site/{name}")
    assert page == Page("", f"site/{name}", "", 200, {"content-type": "text/html"}, raw, "resource")
    (malformed,) = read_file(tmp_path / name, largest_body=5)
    assert isinstance(malformed, Malformed)


# -- pieces ---------------------------------------------------------------------------------------------------------

PAGES = [page(number, 400 + 37 * number % 2000) for number in range(40)]
REVISIT = record("http://x/", b"", kind="revisit")
BROKEN = [*PAGES[:9], b"garbage\n" * 40, *PAGES[9:20], PAGES[20][:300], *PAGES[21:30], REVISIT]
TEXTS = lines([{"text": f"Document {n}. " * (n % 9)} for n in range(90)])
FILES: dict[str, bytes] = {
    "a.jsonl": TEXTS,
    "b.jsonl": BOM + TEXTS.replace(b"\n", b"\r\n\r\n", 5) + b'{"text": 5}\nnot\n{"text": "last"}',
    "c.jsonl.gz": gzip.compress(TEXTS),
    "d.json": b"[" + TEXTS.strip().replace(b"\n", b",") + b"]",
    "e.txt": b"Text.\n\n" * 30_000,
    "f.html": b"<p>One.</p>",
    "g.warc": b"".join(PAGES),
    "h.warc.gz": packed(PAGES),
    "i.warc": b"".join(BROKEN),
    "j.warc.gz": packed(BROKEN),
    "k.warc.gz": packed([b"".join(PAGES)]),
    "l.arc": ARC_HEAD + b"".join(arc_page(number, 900) for number in range(20)),
    "m.warc.zst": b"".join(pa.compress(part, "zstd", asbytes=True) for part in PAGES),
    "n.warc": b"",
    "o.jsonl": b"",
    "p.jsonl": '\ufeff{"text": "one"}\n'.encode("utf-16-le") * 9,
}


def read_in(path: Path, cuts: Sequence[int]) -> list[Page | Document | Malformed]:
    """What pieces give, one after the other, rows counted on."""
    found, before = list[Page | Document | Malformed](), 0
    for start, end in pairwise(cuts):
        rows = Rows()
        for thing in read_piece(path, start, end, rows=rows):
            found.append(replace(thing, row=thing.row + before) if isinstance(thing, Malformed) else thing)
        before += rows.count
    return found


@pytest.mark.parametrize("name", [*FILES, "q.parquet"])
def test_pieces_give_what_the_whole_file_gives(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "RUN_UP", 5000)
    path = tmp_path / name
    if name == "q.parquet":
        pq.write_table(pa.table({"text": [f"Document {n}." for n in range(500)]}), path, row_group_size=40)
    else:
        path.write_bytes(FILES[name])
    whole, size = list(read_file(path)), path.stat().st_size

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.integers(0, size), max_size=6))
    def check(cuts: list[int]) -> None:
        assert read_in(path, [0, *sorted(cuts), size]) == whole

    check()


@pytest.mark.parametrize(
    ("name", "count"),
    [("a.jsonl", 9), ("c.jsonl.gz", 1), ("e.txt", 1), ("g.warc", 9), ("h.warc.gz", 9), ("k.warc.gz", 1), ("n.warc", 1)],
)
def test_a_file_is_cut_where_it_can_be(name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hornbook.text.read.FIRST_MEMBER", 5000)
    path = tmp_path / name
    path.write_bytes(FILES[name])
    size = path.stat().st_size
    found = pieces(path, megabytes=size / 2**20 / 8.5)
    assert len(found) == count
    assert (found[0][0], found[-1][1]) == (0, size)
    assert all(one[1] == two[0] for one, two in pairwise(found))
    assert pieces(path) == [(0, size)]


# -- bombs ----------------------------------------------------------------------------------------------------------

BOMB = record("http://x/bomb", b"", length=400 * 2**20).removesuffix(b"\r\n\r\n")
BOMBS = (BOMB, b"WARC/1.0\r\nA: ", b"", page(7))
"""A record that is one, a head without end, no record, and what is behind a record."""


def test_what_expands_beyond_reason_is_left(tmp_path: Path) -> None:
    """400 MiB of zeros in 400 kB: within 200 MB of memory beside what the reader needs to start."""
    for number, start in enumerate(BOMBS):
        (tmp_path / f"{number}.warc.gz").write_bytes(packed([page(1)]) + bomb(start) + packed([page(2)]))
    body = record("http://x/", response(bomb(), "Content-Encoding: gzip"))
    (tmp_path / "body.warc.gz").write_bytes(packed([page(1), body, page(2)]))
    for name in ("a.jsonl.gz", "a.txt.gz", "a.html.gz"):
        (tmp_path / name).write_bytes(bomb())
    paths = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run([sys.executable, "-c", LIMITED, *paths], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for path, (pages, malformed, seconds) in zip(paths, json.loads(done.stdout), strict=True):
        assert pages[:1] + pages[-1:] == (["http://x/1", "http://x/2"] if ".warc" in path else []), path
        assert malformed >= 1, path
        assert seconds < 5, path


LIMITED = """
import json, resource, sys, time
from pathlib import Path
from hornbook.text.read import read_file
from hornbook.text.archives.warc import Page
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
told = []
for path in sys.argv[1:]:
    start = time.process_time()
    things = list(read_file(path))
    pages = [thing.url for thing in things if isinstance(thing, Page)]
    told.append([pages, len(things) - len(pages), time.process_time() - start])
print(json.dumps(told))
"""
