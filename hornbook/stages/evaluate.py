"""Models -> scores, beside each other, on what none of them was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from hornbook.config import Bounds, Count, Takes
from hornbook.device import Device, Precision, arithmetic, choose_device, choose_precision
from hornbook.errors import InputError
from hornbook.judge.metrics import Accuracy, answer_log_likelihood, preference_accuracy
from hornbook.judge.score import bits_per_byte, log_likelihoods
from hornbook.judge.tasks.minimal_pairs import MinimalPair, minimal_pairs, read_pairs
from hornbook.learn.chat import encode, encode_conversation, encode_preference
from hornbook.learn.examples import Example
from hornbook.learn.rows import read_conversations, read_preferences
from hornbook.manifest import Manifest
from hornbook.model.sample import complete
from hornbook.run import Run
from hornbook.text import bpe, shards
from hornbook.training.opening import Opened, check_length, open_model
from hornbook.training.reading import Rows

MAKES = "scores"
fingerprint = arithmetic


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure models beside each other on held-out text, answers, preferences and minimal pairs.

    Bits per byte by source; log-likelihood of held-out answers per token; how often the chosen answer of a pair is
    more likely than the rejected one; how often a sentence is more likely than the same one spoilt; and samples.
    """

    models: Annotated[dict[str, Path], Takes("model")]
    """Label = model, in the order in which they were made (`--models.base runs/pretrain-...`)."""
    tokens: Annotated[Path | None, Takes("tokens", when_there=True)] = None
    """Run of `tokenize`, for bits per byte."""
    rows: Annotated[Path | None, Takes("rows", when_there=True)] = None
    """Run of `instruct`, for answers, preferences and minimal pairs."""
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
    """Length of a sample."""
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
            scores[label] = {key: value.value if isinstance(value, Accuracy) else value for key, value in exact.items()}
            by_kind[label] = {kind: asdict(value) for kind, value in kinds.items()}
            intervals[label] = {key: asdict(value) for key, value in exact.items() if isinstance(value, Accuracy)}
            for sample, answer in zip(samples, _answers(config, opened, samples), strict=True):
                sample["answers"][label] = answer
            bar.advance()
    rows.set_aside()
    for kind, cut in held.cut.items():
        if cut:
            rows.tell_cut(kind, list(cut.values()))
    run.result(
        speaker=_speaker(run),
        labels=list(scores),
        models=scores,
        intervals=intervals,
        minimal_pairs_by_kind=by_kind,
        samples=samples,
        improvements=_improvements(run, scores),
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
    return _Held(documents, conversations, preferences, pairs, [*config.prompts, *asked])


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
    """Greedy answers, so that they show the model and not the dice."""
    ids = [(_asked if sample["chat"] else _begun)(opened, sample["prompt"]) for sample in samples]
    completions = complete(opened.model, ids, max_new_tokens=config.max_new_tokens, stop=opened.stop) if ids else []
    return [opened.tokenizer.decode(list(completion)) for completion in completions]


def _asked(opened: Opened, question: str) -> list[int]:
    messages = [{"role": "user", "content": question}]
    return encode(messages, opened.tokenizer, template=opened.template, special=opened.special, prompt=True)[0]


def _begun(opened: Opened, text: str) -> list[int]:
    return [opened.separator, *bpe.encode_texts(opened.tokenizer, [text])[0]]


MEANT = {"sft": "answer_log_likelihood", "align": "preference_accuracy"}
"""What a stage is meant to raise; pretraining is meant to lower the bits per byte of what it trains on."""


def _improvements(run: Run, scores: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """For each model, the measures that its stage is meant to improve: of what it was made from, and of itself."""
    models = run.inputs("models")
    labels = {source.name: label for label, source in models.items()}
    found = []
    for label, source in models.items():
        if source.manifest is None:
            continue
        base = labels.get(source.manifest.inputs.get("base", {}).get("name", ""))
        before = scores[base] if base else source.manifest.results.get("before", {})
        after = scores[label] if base else source.manifest.results.get("after", {})
        for metric, better in _meant(source.manifest):
            if metric in before and metric in after:
                found.append(
                    {
                        "stage": label,
                        "metric": metric,
                        "better": better,
                        "before": before[metric],
                        "after": after[metric],
                    }
                )
    return found


def _speaker(run: Run) -> str:
    """The label of the newest model that was taught to answer, else of the newest."""
    models = run.inputs("models")
    taught = [label for label, source in models.items() if source.manifest and source.manifest.stage in MEANT]
    return (taught or list(models))[-1]


def _meant(manifest: Manifest) -> list[tuple[str, str]]:
    """(measure, "higher" or "lower") of what a model's stage is for."""
    if manifest.stage in MEANT:
        return [(MEANT[manifest.stage], "higher")]
    return [(f"bits_per_byte/{source}", "lower") for source in manifest.results.get("epochs", {})]
