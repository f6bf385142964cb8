from __future__ import annotations

import pytest

from hornbook.text.consent import opt_out


@pytest.mark.parametrize(
    ("headers", "meta", "reason"),
    [
        ({}, {}, None),
        ({"x-robots-tag": "noindex, nofollow"}, {"robots": "index"}, None),
        ({"x-robots-tag": "otherbot: NoAI"}, {}, "opt_out: X-Robots-Tag says noai"),
        ({}, {"robots": "noindex,noml"}, "opt_out: meta robots says noml"),
        ({"tdm-reservation": "1"}, {}, "opt_out: header tdm-reservation is 1"),
        ({"tdm-reservation": "0"}, {"tdm-reservation": " 1 "}, "opt_out: meta tdm-reservation is 1"),
        ({}, {"robots": "noaindex"}, None),
    ],
)
def test_opt_out(headers: dict[str, str], meta: dict[str, str], reason: str | None) -> None:
    assert opt_out(headers, meta) == reason
