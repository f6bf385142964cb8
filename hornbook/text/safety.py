"""What should not be learned: documents and lines that hold phrases of a blocklist, and pages of listed domains."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO, cast
from urllib.parse import urlsplit

import numpy as np
import orjson
import re2
from numpy.typing import NDArray

from hornbook.errors import EmptyInput, InputError
from hornbook.text.document import Document

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts written without spaces between words: there a phrase has no borders."""

WORD = r"\pL\pN\pM_"
NOTHING = r"[^\x00-\x{10FFFF}]"


def blocklist(document: Document, *, phrases: tuple[str, ...], max_count: int = 0) -> str | None:
    """A filter: at most `max_count` occurrences of the phrases as whole words, in any case. Linear time (RE2)."""
    data = document.text.encode("utf-8", "surrogatepass")
    hits = list(_hits(data, phrases))
    if len(hits) <= max_count:
        return None
    start, end = hits[0]
    return f"blocklist: {len(hits)} hits, the first is {data[start:end].decode()!r}"


def drop_lines(text: str, *, phrases: tuple[str, ...]) -> tuple[str, int]:
    """A text without the lines that hold a phrase of the list, and how many these were."""
    data = text.encode("utf-8", "surrogatepass")
    kept, at, dropped = list[bytes](), 0, 0
    for start, end in _hits(data, phrases):
        if end > at:  # in a line that is not dropped yet
            first = data.rfind(b"\n", at, start) + 1 or at
            kept.append(data[at:first])
            at = data.find(b"\n", end) + 1 or len(data) + 1
            dropped += 1
    left = b"".join([*kept, data[at:]])
    return (left if at <= len(data) else left[:-1]).decode("utf-8", "surrogatepass"), dropped


def read_phrases(path: Path) -> tuple[str, ...]:
    """The phrases of a blocklist: one a line, in UTF-8; empty lines and lines that begin with # are left out.

    Raises:
        InputError: the file cannot be read.
        EmptyInput: it holds no phrase.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"blocklist {path}: {error}") from error
    phrases = tuple(sorted({line.strip() for line in lines if line.strip() and not line.startswith("#")}))
    if not phrases:
        raise EmptyInput(f"blocklist {path} holds no phrase", hint="one word or phrase a line")
    return phrases


def _hits(data: bytes, phrases: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """First byte and last byte + 1 of each phrase in the text, in order."""
    pattern, at = _search(phrases), 0
    while match := pattern.search(data, at):
        group = 1 if match[1] else 2
        yield match.span(group)
        # What stands behind a phrase can be the border of the next one.
        at = match.end(group)


@lru_cache(maxsize=4)
def _search(phrases: tuple[str, ...]) -> Any:
    options = re2.Options()
    options.max_mem = 64 * 2**20
    words, others = list[str](), list[str]()
    for phrase in filter(None, phrases):
        (others if re2.search(f"[{UNSPACED}]", phrase) else words).append(re2.escape(phrase))
    parts = [rf"(?:^|[^{WORD}])({'|'.join(words)})(?:$|[^{WORD}])"] if words else []
    parts += [f"({'|'.join(others)})"] if others else []
    return re2.compile(f"(?i){'|'.join(parts) or NOTHING}".encode(), options)


# -- domains --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Domains:
    """Listed hosts and beginnings of URLs (`example.org/shop`, without `www.`), each with its category or "".

    Kept as sorted hashes, 9 bytes an entry: lists of adult sites have millions. Of a million URLs that are not on a
    list of ten millions, fewer than one in a million will be taken for one that is.
    """

    hashes: NDArray[np.uint64]
    codes: NDArray[np.uint8]
    categories: tuple[str, ...]

    @classmethod
    def of(cls, entries: Iterable[tuple[str, str]]) -> Domains:
        """From entries and their categories, of which there are at most 256; the first category of an entry counts."""
        hashes, codes, categories = array("Q"), array("B"), dict[str, int]()
        for entry, category in entries:
            hashes.append(_hash(entry))
            codes.append(categories.setdefault(category, len(categories)))
        unique, first = np.unique(np.frombuffer(hashes, np.uint64), return_index=True)
        return cls(unique, np.frombuffer(codes, np.uint8)[first], tuple(categories))

    @classmethod
    def read(cls, path: Path, *, categories: tuple[str, ...] = ()) -> Domains:
        """Read a list: a domain or the beginning of a URL a line, or JSONL rows with `entry` and `category`, also .gz.

        A folder is read as one of the UT1 list (Université Toulouse Capitole): the files `domains` and `urls` in it and
        in its folders, whose names are the categories. `categories` keeps only these.

        Raises:
            InputError: a file cannot be read, or a line is no domain and no URL.
            EmptyInput: there is no entry.
        """
        files = sorted(found for name in ("domains", "urls") for found in path.rglob(name)) if path.is_dir() else [path]
        domains = cls.of(
            (_normal(file, number, entry), category)
            for file in files
            for number, category, entry in _lines(file, file.parent.name if path.is_dir() else "")
            if not categories or category in categories
        )
        if not len(domains.hashes):
            raise EmptyInput(f"domain list {path} holds no entry", hint="a domain such as example.org a line")
        return domains

    def entry(self, url: str) -> tuple[str, str] | None:
        """The entry that a URL falls under, by host, by a domain above it, or by the beginning of its path.

        Returns:
            The entry and its category; None where there is none.
        """
        host, path = host_and_path(url)
        steps = _beginnings(path)
        asked = [domain + step for domain in _domains(host) for step in steps]
        hashes = np.array([_hash(entry) for entry in asked], np.uint64)
        places = np.searchsorted(self.hashes, hashes)
        for entry, hash, place in zip(asked, hashes, places, strict=True):
            if place < len(self.hashes) and self.hashes[place] == hash:
                return entry, self.categories[self.codes[place]]
        return None


def _hash(entry: str) -> int:
    return int.from_bytes(hashlib.blake2b(entry.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def domain_list(document: Document, *, domains: Domains) -> str | None:
    """No page of a listed domain, of a host below one, or whose URL begins like a listed one."""
    found = domains.entry(document.url)
    if not found:
        return None
    entry, category = found
    return f"domain_list: {entry} is listed{f' as {category}' if category else ''}"


def host_and_path(url: str) -> tuple[str, str]:
    """Host in lower case and Punycode, without the dot at its end, and path with query; ("", "") for what is no URL."""
    try:
        parts = urlsplit(url.strip() if "://" in url else f"//{url.strip()}")
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return "", ""
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            return "", ""
    return host, parts.path + (f"?{parts.query}" if parts.query else "")


def _domains(host: str) -> Iterator[str]:
    """`a.b.c`, `b.c`, `c`."""
    at = 0
    while host[at:]:
        yield host[at:]
        at = host.find(".", at) + 1 or len(host)


def _beginnings(path: str) -> list[str]:
    """"" and the path up to each of its slashes and to its query: `/a/b?c` has `/a`, `/a/b`, `/a/b?c`."""
    ends = [at for at, sign in enumerate(path[:2048]) if sign in "/?" and at]
    return ["", *(path[:end] for end in ends), path.rstrip("/")]


PLAIN = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z0-9-]+")


def _normal(file: Path, number: int, entry: str) -> str:
    if PLAIN.fullmatch(entry):
        return entry.removeprefix("www.")
    host, path = host_and_path(entry)
    if not host or " " in entry:
        hint = "a domain such as example.org, or the beginning of a URL such as example.org/shop"
        raise InputError(f"domain list {file}, line {number}: {entry[:80]!r} is neither a domain nor a URL", hint=hint)
    return host.removeprefix("www.") + path.rstrip("/")


def _open(file: Path) -> TextIO:
    if file.suffix == ".gz":
        return cast("TextIO", gzip.open(file, "rt", encoding="utf-8-sig"))
    return file.open(encoding="utf-8-sig")


def _lines(file: Path, category: str) -> Iterator[tuple[int, str, str]]:
    """Line number, category and entry."""
    try:
        with _open(file) as stream:
            for number, line in enumerate(stream, 1):
                if ".jsonl" in file.suffixes and line.strip():
                    row = orjson.loads(line)
                    yield number, str(row.get("category", "")), row["entry"]
                elif line.strip() and not line.startswith("#"):
                    yield number, category, line.strip()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"domain list {file}: {error}") from error
    except (ValueError, KeyError, AttributeError) as error:
        hint = 'rows such as {"category": "adult", "entry": "example.org"}'
        raise InputError(f"domain list {file}, line {number}: no row of a list: {error}", hint=hint) from error
