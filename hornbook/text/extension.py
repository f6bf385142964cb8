"""New pieces for a language that a tokenizer cuts into small ones: its BPE training goes on where it ended.

The new merges come after all old ones, so a text is encoded as before wherever no new piece applies, and every old
token keeps its id.
"""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer

from hornbook.errors import EmptyInput, InputError
from hornbook.text.bpe import encode_texts

BYTE = re.compile(r"<0x[0-9A-F]{2}>")
"""How SentencePiece writes a byte of a character that it does not know."""
SPACE = "\u2581"
Pair = tuple[str, str]


def extended(tokenizer: Tokenizer, texts: Iterable[str], *, pieces: int) -> Tokenizer:
    """The tokenizer with at most `pieces` more, learned from texts; fewer where no pair occurs twice.

    Characters that a vocabulary with byte fallback lacks come first: they are what further pieces are made of.

    Raises:
        InputError: it is not a BPE tokenizer.
        EmptyInput: the texts hold nothing to learn.
    """
    data = json.loads(tokenizer.to_str())
    if data["model"]["type"] != "BPE":
        raise InputError(
            f"a tokenizer of the kind {data['model']['type']} cannot be extended", hint="only BPE has merges to add to"
        )
    known = _vocabulary(data)
    counts = word_counts(tokenizer, texts)
    letters = _letters(tokenizer, counts)[:pieces]
    start = Tokenizer.from_str(_with(data, known, letters, ()))
    merges = more_merges(
        {word: [token.value for token in start.model.tokenize(word)] for word in counts},
        counts,
        known={*known, *letters},
        most=pieces - len(letters),
    )
    if not letters and not merges:
        raise EmptyInput("no pair of pieces occurs twice: there is nothing to add to the vocabulary")
    return Tokenizer.from_str(_with(data, known, letters, merges))


def _vocabulary(data: Mapping[str, Any]) -> dict[str, int]:
    """All tokens with their ids, added ones too: these would else move behind the new pieces when it is loaded."""
    return {**data["model"]["vocab"], **{token["content"]: token["id"] for token in data["added_tokens"]}}


def _with(data: Mapping[str, Any], known: Mapping[str, int], letters: Sequence[str], merges: Sequence[Pair]) -> str:
    """A tokenizer's JSON with more pieces, numbered from behind all that there are."""
    first = max(known.values()) + 1
    new = {piece: first + at for at, piece in enumerate([*letters, *("".join(pair) for pair in merges)])}
    model = data["model"]
    return json.dumps(
        {**data, "model": {**model, "vocab": {**known, **new}, "merges": [*model["merges"], *map(list, merges)]}}
    )


# -- learning ---------------------------------------------------------------------------------------------------------


def word_counts(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs, as the tokenizer divides and writes words."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_words(tokenizer, text))
    return counts


def _words(tokenizer: Tokenizer, text: str) -> Iterator[str]:
    """Where a tokenizer takes a whole text for a word, as SentencePiece's do, words are divided before spaces."""
    plain = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
    words = (
        [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain)] if tokenizer.pre_tokenizer else [plain]
    )
    for word in words:
        yield from re.findall(f"{SPACE}*[^{SPACE}]+", word) if SPACE in word else (word,)


def _letters(tokenizer: Tokenizer, counts: Mapping[str, int]) -> list[str]:
    """Characters that are spelt in bytes, the commonest first."""
    spelt: Counter[str] = Counter()
    for word, count in counts.items():
        if any(BYTE.fullmatch(token.value) for token in tokenizer.model.tokenize(word)):
            for letter in word:
                spelt[letter] += count
    lacking = [letter for letter, count in spelt.items() if count > 1 and tokenizer.token_to_id(letter) is None]
    return sorted(lacking, key=lambda letter: (-spelt[letter], letter))


def more_merges(words: dict[str, list[str]], counts: Mapping[str, int], *, known: set[str], most: int) -> list[Pair]:
    """The merges that BPE training would make next (Sennrich et al., arXiv 1508.07909), at most `most`.

    Args:
        words: pieces of each word; changed as merges are made.
        known: tokens that there are already. A pair that makes one of them is left alone, since old text would else be
            encoded otherwise without a new piece.
    """
    pairs: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[str]] = defaultdict(set)
    for word, pieces in words.items():
        _count(pieces, counts[word], word, pairs, where)
    queue = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(queue)
    merges: list[Pair] = []
    while queue and len(merges) < most:
        count, pair = heapq.heappop(queue)
        if -count != pairs[pair]:  # an entry that was overtaken; the pair's own is elsewhere in the queue
            continue
        if -count < 2:
            break
        made = "".join(pair)
        if made in known or any(BYTE.fullmatch(piece) for piece in pair):
            continue
        known.add(made)
        merges.append(pair)
        for changed in _merge(pair, words, counts, pairs, where):
            heapq.heappush(queue, (-pairs[changed], changed))
    return merges


def _count(
    pieces: Sequence[str], count: int, word: str, pairs: Counter[Pair], where: defaultdict[Pair, set[str]]
) -> set[Pair]:
    found = set()
    for pair in pairwise(pieces):
        pairs[pair] += count
        where[pair].add(word)
        found.add(pair)
    return found


def _merge(
    pair: Pair,
    words: dict[str, list[str]],
    counts: Mapping[str, int],
    pairs: Counter[Pair],
    where: defaultdict[Pair, set[str]],
) -> list[Pair]:
    """Make a merge in all words that have the pair; returns the pairs whose counts changed, in order."""
    changed: set[Pair] = set()
    for word in where.pop(pair):
        for old in pairwise(words[word]):
            pairs[old] -= counts[word]
            changed.add(old)
        words[word] = _joined(words[word], pair)
        changed |= _count(words[word], counts[word], word, pairs, where)
    pairs.pop(pair, None)
    return sorted(changed - {pair})


def _joined(pieces: Sequence[str], pair: Pair) -> list[str]:
    joined: list[str] = []
    at = 0
    while at < len(pieces):
        both = tuple(pieces[at : at + 2]) == pair
        joined.append("".join(pair) if both else pieces[at])
        at += 2 if both else 1
    return joined


# -- reading ----------------------------------------------------------------------------------------------------------


def new_pieces(base: Tokenizer, other: Tokenizer) -> dict[int, list[int]] | None:
    """The tokens that `other` has beyond `base`, each as base spells it; None where it is no extension of it.

    None too where the two are the same but for anything else than vocabulary and merges.
    """
    old, new = json.loads(base.to_str()), json.loads(other.to_str())
    known, vocabulary = _vocabulary(old), _vocabulary(new)
    before, after = old["model"].pop("merges", ()), new["model"].pop("merges", ())
    old["model"].pop("vocab"), new["model"].pop("vocab")
    kept = after[: len(before)] == before and known.items() <= vocabulary.items()
    if old != new or not kept:
        return None
    added = sorted(vocabulary.items() - known.items(), key=lambda item: item[1])
    return {id: [token.id for token in base.model.tokenize(piece)] for piece, id in added}


def fertility(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Tokens per word, words being what white space divides; of no text, 0."""
    words = sum(len(text.split()) for text in texts)
    encoded = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return sum(len(encoding.ids) for encoding in encoded) / words if words else 0.0


def respelt(documents: Sequence[tuple[Any, int]], tokenizer: Tokenizer, other: Tokenizer) -> list[tuple[Any, int]]:
    """Documents, as (token ids with the separator in front, UTF-8 bytes), in another tokenizer's ids without it."""
    texts = [tokenizer.decode([int(id) for id in tokens[1:]], skip_special_tokens=False) for tokens, _ in documents]
    encoded = encode_texts(other, texts)
    return [(ids, bytes_) for ids, (_, bytes_) in zip(encoded, documents, strict=True)]
