"""What the benchmarks read: real text from HORNBOOK_DATA where it is, else text made up from a seed."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

from measure import DATA

TEXTS = ("text/c4_sample", "text/dolma_cc_docs", "text/wikipedia_en_30", "text/books_train")
LONGEST = 1500
"""Characters of a conversation: all fit into the 512 tokens that training allows, so nothing is cut on either side."""
Messages = list[dict[str, str]]


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of a JSONL file of the data folder; none where it is absent."""
    path = DATA / f"{name}.jsonl.gz"
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def texts(megabytes: float) -> list[str]:
    """Documents of `megabytes` in all: web pages, encyclopedia, books."""
    found: list[str] = []
    left = megabytes * 1e6
    for text in _endless_texts():
        found.append(text)
        left -= len(text.encode())
        if left <= 0:
            return found
    return found


def _endless_texts() -> Iterator[str]:
    real = [row["text"] for name in TEXTS for row in rows(name)]
    # The later rounds are marked, so that no text is another's copy.
    again = (f"{text}\n{turn}" if turn else text for turn in count() for text in real)
    yield from again if real else map(made_up, count())


def made_up(seed: int, words: int = 300) -> str:
    """Sentences of invented words with the frequencies of real ones."""
    draw = random.Random(seed)
    letters = random.Random(0)
    known = ["".join(letters.choices("etaoinshrdlu", k=letters.randint(2, 9))) for _ in range(5000)]
    weights = [1 / (rank + 2) for rank in range(len(known))]
    chosen = draw.choices([*("the", "of", "and", "to"), *known[4:]], weights, k=words)
    sentences = [" ".join(chosen[at : at + 12]).capitalize() + "." for at in range(0, words, 12)]
    return "\n".join(" ".join(sentences[at : at + 4]) for at in range(0, len(sentences), 4))


def pages(megabytes: float) -> list[dict[str, str]]:
    """Web pages with `html` and, where people have marked the main text, `gold`; `megabytes` of HTML in all."""
    real = [row for row in rows("extraction/aeb") if "html" in row]
    made = ({"html": _page(made_up(seed))} for seed in count())
    found, left = [], megabytes * 1e6
    for row in cycle(real) if real else made:
        found.append(row)
        left -= len(row["html"].encode())
        if left <= 0:
            break
    return found


def _page(text: str) -> str:
    body = "".join(f"<p>{part}</p>" for part in text.split("\n"))
    menu = "".join(f'<li><a href="/{at}">Section {at}</a></li>' for at in range(200))
    head, nav = "<head><title>A page</title></head>", f"<nav><ul>{menu}</ul></nav>"
    return f"<html>{head}<body>{nav}<article>{body}</article></body></html>"


def conversations(number: int) -> list[Messages]:
    """Questions with answers."""
    real = [(row["prompt"], row["response"]) for row in rows("instruct/dolly_hhrlhf_small")]
    real = [row for row in real if sum(map(len, row)) < LONGEST]
    made = ((made_up(2 * seed, 40), made_up(2 * seed + 1, 80)) for seed in count())
    return [[_user(question), _assistant(answer)] for question, answer in islice(real or made, number)]


def preferences(number: int) -> list[dict[str, Messages]]:
    """Questions with a better and a worse answer."""
    real = [
        (row["conversations"][0]["value"], row["chosen"]["value"], row["rejected"]["value"])
        for row in rows("preference/dpo_en_demo")
        if len(row["conversations"]) == 1
    ]
    real = [row for row in real if len(row[0]) + max(map(len, row[1:])) < LONGEST]
    made = ((made_up(3 * seed, 40), made_up(3 * seed + 1, 80), made_up(3 * seed + 2, 80)) for seed in count())
    return [
        {"prompt": [_user(prompt)], "chosen": [_assistant(better)], "rejected": [_assistant(worse)]}
        for prompt, better, worse in islice(real or made, number)
    ]


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text.strip()}


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text.strip()}


def write_jsonl(path: Path, values: list[Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path
