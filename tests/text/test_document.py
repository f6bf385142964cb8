from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import InputError
from hornbook.text.document import (
    Document,
    document_id,
    held_out,
    order_key,
    read_documents,
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


