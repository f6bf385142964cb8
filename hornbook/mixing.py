"""What pretraining reads: the sources of its tokens and of those that it replays, and how much of each when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenizers import Tokenizer

from hornbook.errors import EmptyInput, InputError
from hornbook.learn import curriculum
from hornbook.learn.curriculum import Phase
from hornbook.learn.sources import Source, sources_of
from hornbook.manifest import Input
from hornbook.text import bpe, shards

REPLAY = "replay/"
"""Before the names of sources that are replayed."""
Documents = list[tuple[shards.Tokens, int]]
"""(token ids, UTF-8 bytes)"""


def opened(tokens: Input, replay: Input | None, *, separator: int) -> dict[str, Source]:
    """The sources of a run of `tokenize`, and those of another by names of their own."""
    found = sources_of(shards.read(tokens.file, "train"), separator=separator)
    if replay is not None:
        general = sources_of(shards.read(replay.file, "train"), separator=separator)
        found |= {f"{REPLAY}{name}": source for name, source in general.items()}
    return found


def check_tokenizer(replay: Input, tokenizer: Tokenizer) -> None:
    """That what is replayed has the tokens of what is learned.

    Raises:
        InputError: it has not.
    """
    if bpe.load(replay.folder()).to_str() != tokenizer.to_str():
        raise InputError(
            f"{replay.path}, to be replayed, has another tokenizer",
            hint="tokenize its corpus again: hornbook tokenize CORPUS --tokenizer TOKENS",
        )


def weights_of(sources: Mapping[str, Source], weights: Mapping[str, float] | None, *, where: str) -> dict[str, float]:
    """Weight of each source that is not replayed: as given, else its tokens.

    Raises:
        EmptyInput: a source that was asked for has no tokens.
    """
    there = {name: source.tokens for name, source in sources.items() if not name.startswith(REPLAY)}
    for name in weights or ():
        if name not in there:
            known = ", ".join(sorted(there)) or "none"
            raise EmptyInput(f"{where} has no tokens of source {name!r} to train on", hint=f"its sources are: {known}")
    return dict(weights or there)


def with_replay(phases: Sequence[Phase], sources: Mapping[str, Source], *, share: float) -> list[Phase]:
    """Phases in which a share of all sequences is replayed, from the replayed sources by their tokens."""
    general = {name: source.tokens for name, source in sources.items() if name.startswith(REPLAY)}
    whole = sum(general.values())
    replayed = {name: share * tokens / whole for name, tokens in general.items()}
    return [Phase(phase.until, {**_scaled(phase.weights, 1 - share), **replayed}) for phase in phases]


def _scaled(weights: Mapping[str, float], whole: float) -> dict[str, float]:
    total = sum(weights.values())
    return {name: whole * weight / total for name, weight in weights.items()} if total else dict(weights)


def limits(
    sources: Mapping[str, Source], *, epochs: Mapping[str, float], caps: Mapping[str, float], where: str
) -> dict[str, float]:
    """Epochs of each source, at most, that `epochs` and `caps` (in tokens) allow.

    Raises:
        EmptyInput: one is for a source that is not there.
    """
    for name in (*epochs, *caps):
        weights_of(sources, {name: 1.0}, where=where)
    from_caps = {name: most / sources[name].tokens for name, most in caps.items()}
    return {name: min(epochs.get(name, float("inf")), from_caps.get(name, float("inf"))) for name in {**epochs, **caps}}


def planned(
    sources: Mapping[str, Source],
    *,
    weights: Mapping[str, float] | None,
    phases: Sequence[Phase],
    late: Sequence[str],
    where: str,
) -> list[Phase]:
    """The phases of training: as given, or one; or one for what comes first and one for each source to come late."""
    for phase in phases:
        weights_of(sources, phase.weights, where=where)
    if phases:
        curriculum.check(phases)
        return list(phases)
    shares = weights_of(sources, weights, where=where)
    weights_of(sources, dict.fromkeys(late, 1.0), where=where)
    return curriculum.last(shares, late)


def held_out(tokens: Input, replay: Input | None, *, most: int) -> dict[str, Documents]:
    """Held-out documents of each source, of about `most` tokens each."""
    found = shards.read(tokens.file, "valid").by_source(most=most)
    if replay is not None:
        general = shards.read(replay.file, "valid").by_source(most=most)
        found |= {f"{REPLAY}{name}": documents for name, documents in general.items()}
    return found


def told(columns: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Bits per byte by source as lines of a table: before, after and what changed between the first and the last."""
    named = {title: {key.partition("/")[2]: value for key, value in row.items()} for title, row in columns.items()}
    first, *_, last = named.values()
    width = max(len(name) for name in ("bits per byte", *last))
    lines = [[*(f"{row[name]:.3f}" for row in named.values()), f"{last[name] / first[name] - 1:+.1%}"] for name in last]
    table = zip(("bits per byte", *last), [[*named, "change"], *lines], strict=True)
    return [f"{name:{width}}" + "".join(f"{cell:>10}" for cell in cells) for name, cells in table]
