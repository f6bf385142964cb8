from __future__ import annotations

from typing import Any

from hornbook.text.corpus import contents
from hornbook.text.document import Document


def test_contents_are_of_what_lasts_and_of_no_order() -> None:
    def hashed(**changed: Any) -> int:
        fields = {"url": "http://x", "created": "2024", "metadata": {"title": "T", "record": "<r>"}} | changed
        return contents(iter([Document("1", "a", "s", **fields), Document("2", "b", "s")]))

    assert hashed(created="2025", metadata={"record": "<q>", "title": "T"}) == hashed()
    assert len({hashed(), hashed(url="http://y"), hashed(metadata={"title": "U"})}) == 3
    parts = [contents(iter([Document(name, name, "s")])) for name in "ab"]
    assert contents(iter([Document(name, name, "s") for name in "ba"])) == sum(parts) % 2**256
