from __future__ import annotations

import gzip
import os
from collections import Counter
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import InputError
from hornbook.text.contamination import SHORTEST, Index, contaminated, overlaps, read_texts
from hornbook.text.document import Document

DATA = Path(os.environ.get("HORNBOOK_DATA") or Path(__file__).parents[3] / "shared/data") / "eval"
QUESTION = "Which of these rivers, if any, flows north through the old town before it meets the sea?"
RUN = "Which of these rivers, if any, flows north through the old town before"
WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=30).map(" ".join)
TASKS = st.dictionaries(st.sampled_from(["one", "two"]), st.lists(WORDS, max_size=3))


def doc(text: str) -> Document:
    return Document("1", text, "s")


def plain_overlaps(text: str, tasks: dict[str, list[str]], n: int) -> Counter[str]:
    """All runs of a text against all runs of each task."""
    words, found = text.split(), Counter[str]()
    for task, texts in tasks.items():
        runs = {run for known in texts for run in plain_runs(known.split(), n)}
        for length in {len(run) for run in runs}:
            found[task] += sum(tuple(words[at : at + length]) in runs for at in range(len(words) - length + 1))
    return +found


def plain_runs(words: list[str], n: int) -> list[tuple[str, ...]]:
    if len(words) < min(n, SHORTEST):
        return []
    length = min(n, len(words))
    return [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]


@given(WORDS, TASKS, st.integers(2, 13))
def test_overlaps_are_those_of_the_rule_in_plain_python(text: str, tasks: dict[str, list[str]], n: int) -> None:
    assert overlaps(text, Index.build(tasks, n=n)) == plain_overlaps(text, tasks, n)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"He asked: {QUESTION} Nobody knew.", f'rivers has "{RUN}"'),
        (QUESTION.upper().replace(",", " -\n"), f'rivers has "{RUN.upper().replace(",", " -")}"'),
        (QUESTION[:60], None),
        (f"x{QUESTION[3:60]}", None),
        ("It is one more short question of eight words.", None),
        ("Say: a short question of no more than eight", 'short has "a short question of no more than eight"'),
        ("a question of four", None),
        ("1, 2, 3, 4, 5, 6, 7, 8, 9, 10", None),
        ("", None),
    ],
)
def test_contaminated(text: str, reason: str | None) -> None:
    short = ["A short question of no more than eight?", "1 2 3 4 5 6 7 8 9"]
    index = Index.build({"rivers": [QUESTION], "short": short, "none": []})
    assert contaminated(doc(text), index=index) == (f"contaminated: {reason}" if reason else None)
    assert index.tasks == {
        "rivers": {"texts": 1, "too_short": 0, "runs": 5},
        "short": {"texts": 2, "too_short": 0, "runs": 2},
        "none": {"texts": 0, "too_short": 0, "runs": 0},
    }


def test_one_task_must_overlap_often_enough() -> None:
    words = QUESTION.split()
    index = Index.build({"one": [QUESTION], "two": [" ".join(words[:14])]})
    assert overlaps(QUESTION, index) == {"one": 5, "two": 2}
    assert contaminated(doc(" ".join(words[:15])), index=index, min_overlap=3) is not None
    assert contaminated(doc(" ".join(words[:14])), index=index, min_overlap=3) is None
    assert contaminated(doc(QUESTION), index=Index.build({})) is None


def test_an_index_is_a_file(tmp_path: Path) -> None:
    index = Index.build({"one": [QUESTION], "two": [QUESTION, "x " * 20]}, n=9)
    for name in ("a", "b"):
        index.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = Index.load(tmp_path / "a")
    assert (again.n, again.tasks, again.lengths) == (9, index.tasks, (9,))
    assert overlaps(QUESTION, again) == overlaps(QUESTION, index) == {"one": 9, "two": 9}


def test_other_files_are_no_index(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"{}")
    for name in ("a", "b"):
        with pytest.raises(InputError, match="is no index of evaluation sets"):
            Index.load(tmp_path / name)


ROWS = [{"id": "1", "q": QUESTION, "choices": ["It is the first", {"b": ["of them, Sir"]}], "gold": 1}, {"id": "2"}]


def test_texts_of_an_evaluation_set_are_the_strings_of_its_rows(tmp_path: Path) -> None:
    files = {"a.jsonl": b"\n\n".join(map(orjson.dumps, ROWS)), "a.json": orjson.dumps(ROWS), "a.txt": QUESTION.encode()}
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(files["a.jsonl"]))
    pq.write_table(pa.table({"q": [QUESTION], "choices": [["one", "two"]]}), tmp_path / "a.parquet")
    found = {path.name: list(read_texts(path)) for path in tmp_path.iterdir()}
    assert found["a.jsonl"] == found["a.json"] == found["a.jsonl.gz"]
    assert found["a.json"] == [f"1\0{QUESTION}\0It is the first\0of them, Sir", "2"]
    assert found["a.txt"] == [QUESTION]
    assert found["a.parquet"] == [f"{QUESTION}\0one\0two"]
    index = Index.build({"it": found["a.json"]})
    assert overlaps("It is the first of them, Sir", index) == {}
    assert index.tasks["it"] == {"texts": 2, "too_short": 1, "runs": 5}


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "a.jsonl.gz", "none.jsonl"])
def test_a_file_that_is_no_evaluation_set_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name.replace("none", "other")).write_bytes(b"{no")
    with pytest.raises(InputError, match=f"{name}(, row 1)? cannot be read"):
        list(read_texts(tmp_path / name))


@pytest.mark.skipif(not DATA.is_dir(), reason="needs HORNBOOK_DATA")
def test_every_real_question_is_found_in_a_page_that_quotes_it() -> None:
    questions = list(read_texts(DATA / "openbook_qa.jsonl.gz"))
    index = Index.build({"openbook_qa": questions})
    pages = [f"Answers to last week's quiz. {question.upper()} Write to us!" for question in questions]
    found = sum(contaminated(doc(page), index=index) is not None for page in pages)
    assert found == len(questions) - index.tasks["openbook_qa"]["too_short"]
