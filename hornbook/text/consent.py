"""Opt-out signals: what a page says about being learned from.

Sources: `noai` and `noml` in X-Robots-Tag and in meta robots (DeviantArt 2022, Spawning), and the TDM Reservation
Protocol (W3C community report 2024): header or meta `tdm-reservation: 1`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

DIRECTIVES = ("noai", "noml")


def opt_out(headers: Mapping[str, str], meta: Mapping[str, str]) -> str | None:
    """Why a page may not be learned from, or None. Names in `headers` and `meta` are lower case."""
    for place, value in (("X-Robots-Tag", headers.get("x-robots-tag")), ("meta robots", meta.get("robots"))):
        words = set(re.split(r"[\s,:;]+", (value or "").lower()))
        if found := [word for word in DIRECTIVES if word in words]:
            return f"opt_out: {place} says {found[0]}"
    for place, value in (("header", headers.get("tdm-reservation")), ("meta", meta.get("tdm-reservation"))):
        if (value or "").strip() == "1":
            return f"opt_out: {place} tdm-reservation is 1"
    return None
