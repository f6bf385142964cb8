"""Models -> scores, beside each other, on what none of them was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from hornbook import asking
from hornbook.config import Bounds, Count, Takes
from hornbook.device import Device, Precision, arithmetic, choose_device, choose_precision
from hornbook.errors import InputError
from hornbook.improvements import improvements, newest_taught
from hornbook.judge.metrics import Accuracy, answer_log_likelihood, preference_accuracy
from hornbook.judge.score import bits_per_byte, log_likelihoods
from hornbook.judge.tasks.minimal_pairs import MinimalPair, minimal_pairs, read_pairs
from hornbook.learn.chat import encode_conversation, encode_preference
from hornbook.learn.examples import Example
from hornbook.learn.rows import read_conversations, read_preferences
from hornbook.run import Run
from hornbook.text import bpe, shards
from hornbook.training.judging import open_judge
from hornbook.training.opening import Opened, check_length, open_model
from hornbook.training.reading import Rows

MAKES = "scores"
fingerprint = arithmetic


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure models beside each other on held-out text, answers, preferences and minimal pairs.

    Bits per byte by source; log-likelihood of held-out answers per token; how often the chosen answer of a pair is
    more likely than the rejected one; how often a sentence is more likely than the same one spoilt; how often an answer
    is as it was told to be, refuses, is abusive, or is preferred by a reward model; and samples.
    """

    models: Annotated[dict[str, Path], Takes("model")]
    """Label = model, in the order in which they were made (`--models.base runs/pretrain-...`)."""
    tokens: Annotated[Path | None, Takes("tokens", when_there=True)] = None
    """Run of `tokenize`, for bits per byte."""
    rows: Annotated[Path | None, Takes("rows", when_there=True)] = None
    """Run of `instruct`, for answers, preferences and minimal pairs."""
    asked: Path | None = None
    """Questions to answer (rows with `prompt`, maybe `checks` of it): instructions followed, refusals, abuse."""
    reward: Annotated[Path | None, Takes("reward model", when_there=True)] = None
    """Reward model: how often it prefers a model's answer to that of the first model, and its mean reward."""
    minimal_pairs: Path | None = None
    """JSONL in BLiMP's format (`sentence_good`, `sentence_bad`), instead of the pairs in `rows`."""
    context: Count = 256
    """Tokens that a document is read in at a time."""
    length: Count = 512
    """Tokens of a conversation; a longer one is cut."""
    documents_tokens: Count = 100_000
    """Held-out tokens of each source, at most."""
    most_rows: Count = 500
    """Held-out rows of each kind, at most."""
    bad_rows: Literal["error", "skip"] = "error"
    """What to do with a held-out row that cannot be measured: end, or set it aside and count it."""
    prompts: tuple[str, ...] = ()
    """Questions to answer and show, besides some of the held-out rows."""
    texts: tuple[str, ...] = ()
    """Beginnings of texts to continue and show."""
    samples: Annotated[int, Bounds(least=0)] = 4
    """Held-out rows whose answers are shown."""
    max_new_tokens: Count = 80
    """Length of an answer, at most."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "auto"
    """Of matrix products."""


@dataclass(frozen=True)
class _Held:
    """What the models are measured on."""

    documents: Mapping[str, list[tuple[shards.Tokens, int]]]
    conversations: list[Any]
    preferences: list[Any]
    sentences: list[MinimalPair]
    prompts: list[str]
    asked: list[asking.Asked]
    """Questions whose answers are measured: those of a file, else those of the held-out rows."""
    cut: dict[str, dict[str, int]] = field(default_factory=lambda: {"conversations": {}, "pairs": {}})
    """Tokens left off each conversation and pair, by id: the most that a model's tokenizer made it."""


def evaluate(config: Evaluate, run: Run) -> None:
    device = choose_device(config.device)
    rows = Rows(run, config.bad_rows)
    held = _held(config, run, rows)
    scores: dict[str, dict[str, float]] = {}
    intervals: dict[str, dict[str, Any]] = {}
    by_kind: dict[str, dict[str, Any]] = {}
    samples: list[dict[str, Any]] = [{"prompt": prompt, "chat": True, "answers": {}} for prompt in held.prompts]
    samples += [{"prompt": text, "chat": False, "answers": {}} for text in config.texts]
    said: dict[str, list[str]] = {}
    by_check: dict[str, dict[str, Any]] = {}
    with run.progress("evaluate", total=len(config.models), unit="models") as bar:
        for label, source in run.inputs("models").items():
            bar.note(label)
            opened = open_model(source, device=device)
            if config.tokens is not None:
                check_length(opened.model, config.context, option="context")
            if config.rows is not None:
                check_length(opened.model, config.length)
            autocast = choose_precision(config.precision, device)
            exact, kinds = _measure(config, opened, held, rows, autocast)
            if held.asked:
                prompts = [one.prompt for one in held.asked]
                said[label] = asking.answers(opened, prompts, max_new_tokens=config.max_new_tokens)
                rates, checks = asking.measured(held.asked, said[label])
                exact |= rates
                by_check[label] = {check: asdict(value) for check, value in checks.items()}
            scores[label] = {key: value.value if isinstance(value, Accuracy) else value for key, value in exact.items()}
            by_kind[label] = {kind: asdict(value) for kind, value in kinds.items()}
            intervals[label] = {key: asdict(value) for key, value in exact.items() if isinstance(value, Accuracy)}
            for sample, answer in zip(samples, _answers(config, opened, samples), strict=True):
                sample["answers"][label] = answer
            bar.advance()
    if said and config.reward is not None:
        _compare(config, run, held.asked, said, scores, intervals)
    rows.set_aside()
    for kind, cut in held.cut.items():
        if cut:
            rows.tell_cut(kind, list(cut.values()))
    run.result(
        speaker=newest_taught(run.inputs("models")),
        labels=list(scores),
        models=scores,
        intervals=intervals,
        minimal_pairs_by_kind=by_kind,
        instructions_by_check=by_check,
        samples=samples,
        improvements=improvements(run.inputs("models"), scores),
    )
    (run.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    (run.out / "samples.json").write_text(json.dumps(samples, indent=1, ensure_ascii=False) + "\n")


def _held(config: Evaluate, run: Run, rows: Rows) -> _Held:
    documents = {}
    if config.tokens is not None:
        valid = shards.read(run.input("tokens").file, "valid")
        documents = valid.by_source(most=config.documents_tokens)
    conversations: list[Any] = []
    preferences: list[Any] = []
    control = _control(run)
    sentences = run.input("minimal_pairs").path if config.minimal_pairs else None
    if config.rows is not None:
        source = run.input("rows")
        conversations = rows.sift(read_conversations(source.file("sft.valid.jsonl"), control=control))
        preferences = rows.sift(read_preferences(source.file("preference.valid.jsonl"), control=control))
        conversations, preferences = conversations[: config.most_rows], preferences[: config.most_rows]
        sentences = sentences or source.file("minimal_pairs.jsonl")
    # A text has no more tokens than bytes, so these fit where a conversation does.
    asked = [row.messages[0]["content"] for row in conversations]
    asked = [prompt for prompt in asked if len(prompt.encode()) <= config.length][: config.samples]
    pairs = read_pairs(sentences)[: config.most_rows] if sentences else []
    for prompt in config.prompts:
        if found := [token for token in control if token in prompt]:
            raise InputError(f"the prompt {prompt!r} holds the control token {found[0]!r}")
    shown = [*config.prompts, *asked]
    return _Held(documents, conversations, preferences, pairs, shown, _questions(config, run, rows, conversations))


def _questions(config: Evaluate, run: Run, rows: Rows, conversations: Sequence[Any]) -> list[asking.Asked]:
    """Those of a file; else, where a reward model is to compare answers, the held-out rows' own."""
    if config.asked is not None:
        return rows.sift(asking.read_asked(run.input("asked").path, control=_control(run)))[: config.most_rows]
    if config.reward is None:
        return []
    return [asking.Asked(row.messages[:-1]) for row in conversations if len(row.messages) > 1]


def _control(run: Run) -> tuple[str, ...]:
    """Control tokens of any of the models, which no message may hold."""
    tokenizers = [bpe.load(source.folder()) for source in run.inputs("models").values()]
    return tuple(dict.fromkeys(token for tokenizer in tokenizers for token in bpe.control_tokens(tokenizer)))


def _measure(
    config: Evaluate, opened: Opened, held: _Held, rows: Rows, autocast: torch.dtype | None
) -> tuple[dict[str, float | Accuracy], dict[str, Accuracy]]:
    """Every measure that there is something for, and the minimal pairs by kind."""
    found: dict[str, float | Accuracy] = {}
    kinds: dict[str, Accuracy] = {}
    for source, documents in held.documents.items():
        score = bits_per_byte(
            opened.model, documents, separator=opened.separator, context=config.context, autocast=autocast
        )
        found[f"bits_per_byte/{source}"] = score.bits_per_byte
    if held.conversations:
        examples = rows.sift(
            encode_conversation(
                row, opened.tokenizer, length=config.length, template=opened.template, special=opened.special
            )
            for row in held.conversations
        )
        _note_cut(held.cut["conversations"], [(example,) for example in examples])
        if examples:
            found["answer_log_likelihood"] = answer_log_likelihood(_likelihoods(opened, examples, autocast))
    if held.preferences:
        pairs = rows.sift(
            encode_preference(
                row, opened.tokenizer, length=config.length, template=opened.template, special=opened.special
            )
            for row in held.preferences
        )
        _note_cut(held.cut["pairs"], pairs)
        if pairs:
            chosen, rejected = (_likelihoods(opened, list(side), autocast) for side in zip(*pairs, strict=True))
            found["preference_accuracy"] = preference_accuracy(chosen, rejected)
    if held.sentences:
        judged = minimal_pairs(
            opened.model,
            held.sentences,
            encode=lambda text: bpe.encode_texts(opened.tokenizer, [text])[0],
            separator=opened.separator,
            autocast=autocast,
        )
        found["minimal_pairs"], kinds = judged.overall, judged.by_kind
    return found, kinds


def _note_cut(cut: dict[str, int], groups: Iterable[tuple[Example, ...]]) -> None:
    for group in groups:
        cut[group[0].id] = max(cut.get(group[0].id, 0), sum(example.cut for example in group))


def _likelihoods(opened: Opened, examples: list[Any], autocast: torch.dtype | None) -> list[Any]:
    sequences = [(example.tokens.tolist(), example.answer.tolist()) for example in examples]
    return log_likelihoods(opened.model, sequences, autocast=autocast)


def _answers(config: Evaluate, opened: Opened, samples: list[dict[str, Any]]) -> list[str]:
    """The questions come before the beginnings of texts."""
    prompts = [[{"role": "user", "content": sample["prompt"]}] for sample in samples if sample["chat"]]
    texts = [sample["prompt"] for sample in samples if not sample["chat"]]
    most = config.max_new_tokens
    answered = asking.answers(opened, prompts, max_new_tokens=most)
    return answered + asking.continuations(opened, texts, max_new_tokens=most)


def _compare(
    config: Evaluate,
    run: Run,
    asked: Sequence[asking.Asked],
    said: asking.Answers,
    scores: dict[str, dict[str, float]],
    intervals: dict[str, dict[str, Any]],
) -> None:
    """Add what a reward model thinks of the answers."""
    device = choose_device(config.device)
    judge = open_judge(run.input("reward"), device=device)
    means, wins = asking.win_rates(judge, asked, said, autocast=choose_precision(config.precision, device))
    for label, mean in means.items():
        scores[label]["reward"] = mean
    for label, win in wins.items():
        scores[label]["win_rate"], intervals[label]["win_rate"] = win.value, asdict(win)
