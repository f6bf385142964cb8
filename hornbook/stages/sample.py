"""A model and questions -> rows: its own best answers, and pairs of its best and its worst."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from hornbook.config import Count, Positive, Probability, Takes, Unhashed, options
from hornbook.device import Device, choose_device
from hornbook.errors import EmptyInput
from hornbook.learn.parallel import processes
from hornbook.learn.rewards import Judged
from hornbook.learn.rollout import Group, Judge, Prompt, Sampling, answer
from hornbook.learn.rows import Question, read_questions
from hornbook.model.decode import decoder
from hornbook.run import Run
from hornbook.training.opening import Opened, check_length, open_model
from hornbook.training.reading import Rows
from hornbook.training.rewarding import Rewarded, encode_question, make_judge

MAKES = "rows"
SHARED = True
SPLITS = ("train", "valid")


@options
class Sample(Rewarded):
    """Answer questions several times and keep what the reward prefers, as rows for `sft` and `align`.

    The best answer to each question becomes a conversation (rejection sampling, best of n); the best and the worst
    become a pair, where they earn differently.
    """

    model: Annotated[Path, Takes("model")]
    """Model that answers."""
    _: KW_ONLY
    rows: Annotated[Path, Takes("rows")]
    """Questions: a run of `instruct`, or a file with `question` and `answer`, or `messages`, in each row."""
    n: Count = 8
    """Answers to each question."""
    least: float | None = None
    """A best answer that earns less is left out of the conversations (default: none is)."""
    most_questions: Count = 20000
    """Questions of each split, at most."""
    prompt_length: Count = 512
    """Tokens of a question; a longer one cannot be answered."""
    max_new_tokens: Count = 256
    """Tokens of an answer; a longer one is cut, and is never a best one."""
    temperature: Positive = 1.0
    """Of the draws."""
    top_p: Probability = 1.0
    """Draw from the likeliest tokens that together have this probability."""
    at_once: Annotated[Count, Unhashed()] = 64
    """Answers decoded together."""
    bad_rows: Literal["error", "skip"] = "error"
    """What to do with a row that is no question: end, or set it aside and count it."""
    seed: int = 0
    """Chooses the draws."""
    device: Device = "auto"
    """Where to compute."""


def sample(config: Sample, run: Run) -> None:
    device = choose_device(config.device)
    opened = open_model(run.input("model"), device=device)
    check_length(opened.model, config.prompt_length + config.max_new_tokens, option="prompt_length + max_new_tokens")
    rows = Rows(run, config.bad_rows)
    parts = rows.read(run.input("rows"), "sft", partial(read_questions, control=opened.control))
    questions = {question.id: question for part in parts for question in part}
    judge = make_judge(config, run, opened, questions, device=device)
    encode = partial(encode_question, opened=opened, options=config, length=config.prompt_length)
    asked = [rows.sift(encode(question) for question in part[: config.most_questions]) for part in parts]
    rows.close(learned=asked[0])
    told: dict[str, Any] = {}
    with run.progress("sample", total=sum(map(len, asked)), unit="questions") as bar:
        for split, prompts in zip(SPLITS, asked, strict=True):
            groups = []
            for group in _answered(config, opened, prompts, judge):
                groups.append(group)
                bar.advance()
            told[split] = _write(run, split, groups, questions, opened, least=config.least)
    if not run.counts["train_conversations"] + run.counts["train_preferences"]:
        raise EmptyInput(
            f"of {len(asked[0])} questions none has a best answer that could be kept, or two that earn differently",
            hint="a higher temperature, more answers, or a reward that tells them apart",
        )
    run.result(reward_by_split=told)


def _answered(config: Sample, opened: Opened, prompts: Sequence[Prompt], judge: Judge) -> Iterator[Group]:
    """The answers to each question with what they earn, in each process a batch of questions at a time."""
    made = decoder(opened.model)
    sampling = Sampling(
        max_new_tokens=config.max_new_tokens,
        stop=opened.stop,
        temperature=config.temperature,
        top_p=config.top_p,
        at_once=config.at_once,
    )
    size = max(1, config.at_once // config.n) * processes().size
    for start in range(0, len(prompts), size):
        part = prompts[start : start + size]
        yield from answer(made, part, judge=judge, samples=config.n, seed=config.seed, sampling=sampling)


def _write(
    run: Run,
    split: str,
    groups: Sequence[Group],
    questions: dict[str, Question],
    opened: Opened,
    *,
    least: float | None,
) -> dict[str, float]:
    """The two files of a split; what the first, the best and the worst answer earn on average."""
    conversations, pairs = list[dict[str, Any]](), list[dict[str, Any]]()
    for group in groups:
        # Of equals the first: the order of the samples is that of nothing.
        ranked = sorted(group, key=lambda pair: -pair[1].total)
        question = questions[group[0][0].prompt.id]
        best, worst = ranked[0], ranked[-1]
        texts = [opened.tokenizer.decode(completion.said(opened.stop)) for completion, _ in (best, worst)]
        kept = bool(texts[0].strip()) and not best[0].cut
        if kept and (least is None or best[1].total >= least):
            conversations.append(_conversation(question, texts[0], best[1]))
        if kept and texts[1].strip() and best[1].total > worst[1].total:
            pairs.append(_pair(question, texts, best[1], worst[1]))
    _lines(run.out / f"sft.{split}.jsonl", conversations)
    _lines(run.out / f"preference.{split}.jsonl", pairs)
    run.count(**{f"{split}_conversations": len(conversations), f"{split}_preferences": len(pairs)})
    run.count(**{f"{split}_questions": len(groups), f"{split}_answers_cut": sum(c.cut for g in groups for c, _ in g)})
    earned = [[judged.total for _, judged in group] for group in groups]
    columns = {"mean": [sum(g) / len(g) for g in earned], "best": [*map(max, earned)], "worst": [*map(min, earned)]}
    return {name: sum(column) / len(column) for name, column in columns.items() if column}


def _conversation(question: Question, answer: str, earned: Judged) -> dict[str, Any]:
    messages = [*question.prompt, {"role": "assistant", "content": answer}]
    return {"id": question.id, "messages": messages, "reward": earned.total}


def _pair(question: Question, texts: Sequence[str], best: Judged, worst: Judged) -> dict[str, Any]:
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in texts)
    row = {"id": question.id, "prompt": question.prompt, "chosen": chosen, "rejected": rejected}
    return {**row, "reward_chosen": best.total, "reward_rejected": worst.total}


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
