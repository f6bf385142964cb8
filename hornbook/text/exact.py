"""Exact duplicates: of URLs, of texts, and of lines that many documents share."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hornbook.text.document import Document


def fingerprint(text: str) -> bytes:
    """16 bytes that are equal for texts that differ in nothing but case, white space and Unicode form."""
    plain = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    return hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=16).digest()


def url_key(url: str) -> bytes:
    """16 bytes that are equal for URLs that differ in nothing but http or https, `www.` and a final slash."""
    plain = re.sub(r"^https?://(www\.)?", "", url, flags=re.IGNORECASE).rstrip("/")
    return hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=16).digest()


@dataclass
class Seen:
    """Remembers who was first: a filter over documents in their order. A document whose `key` is None stays."""

    rule: str
    what: str
    key: Callable[[Document], bytes | None]
    first: dict[bytes, str] = field(default_factory=dict)

    def __call__(self, document: Document) -> str | None:
        key = self.key(document)
        survivor = self.first.setdefault(key, document.id) if key is not None else document.id
        return None if survivor == document.id else f"{self.rule}: same {self.what} as {survivor}"


def same_id() -> Callable[[Document], str | None]:
    """A filter that keeps the first document of each id; ids name documents, so this is not an option."""
    seen: set[str] = set()

    def check(document: Document) -> str | None:
        if document.id in seen:
            return f"duplicate_id: {document.id} was there before"
        seen.add(document.id)
        return None

    return check


def same_url() -> Seen:
    """A filter that keeps the first document of each URL; documents without one all stay."""
    return Seen("duplicate_url", "URL", lambda document: url_key(document.url) if document.url else None)


def same_text() -> Seen:
    """A filter that keeps the first document of each text."""
    return Seen("duplicate_text", "text", lambda document: fingerprint(document.text))


@dataclass
class Lines:
    """Drops lines that were there `times` times already, in earlier documents or in this one, in the documents' order.

    Boilerplate (navigation, inherited methods, licence headers) is what pages share line by line; CCNet (Wenzek et al.
    2020, arXiv 1911.00359) drops it so. Shorter lines than `min_characters` stay, since structure is made of them.
    """

    times: int = 3
    min_characters: int = 20
    counts: Counter[bytes] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def __call__(self, text: str) -> str:
        """The text without those lines; empty lines that then follow each other become one."""
        kept: list[str] = []
        for line in text.split("\n"):
            plain = line.strip()
            if len(plain) >= self.min_characters and self._again(plain):
                self.dropped[plain] += 1
            elif plain or (kept and kept[-1]):
                kept.append(line)
        return "\n".join(kept).strip("\n")

    def _again(self, plain: str) -> bool:
        key = hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=12).digest()
        self.counts[key] += 1
        return self.counts[key] > self.times
