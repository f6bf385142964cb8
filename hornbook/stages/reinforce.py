"""A model that answers -> one that answers as a reward asks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch

from hornbook.config import Bounds, Count, NotNegative, Positive, Probability, Takes, options
from hornbook.device import arithmetic, choose_device, choose_precision
from hornbook.errors import UsageError
from hornbook.learn.carry import carried
from hornbook.learn.lessons import held_out
from hornbook.learn.methods import METHODS, Method, Name
from hornbook.learn.parallel import processes
from hornbook.learn.reinforcement import Plan, Reinforcement, add_critic, drop_critic
from hornbook.learn.rewards import Judged
from hornbook.learn.rollout import Completion, Judge, Prompt, Sampling
from hornbook.learn.rows import Question, read_questions
from hornbook.model.adapters.attached import adapter_off, adapters
from hornbook.model.recompute import recompute_layers
from hornbook.model.transformer import Transformer, keyed_seed
from hornbook.run import Run
from hornbook.training.adapting import check_base, make_optimizer, prepare
from hornbook.training.fitting import fit
from hornbook.training.opening import Opened, check_length, open_model
from hornbook.training.options import FromRows
from hornbook.training.reading import Rows
from hornbook.training.rewarding import Rewarded, encode_question, make_judge
from hornbook.training.saving import save_on_base

MAKES = "model"
SHARED = True
fingerprint = arithmetic


@options
class Reinforce(Rewarded, FromRows):
    """Teach a model what is rewarded: reinforcement learning from its own answers.

    Each step it answers questions several times, the answers are rewarded, and what was better than the others becomes
    likelier. The model that training starts from is the reference that it is held to.
    """

    base: Annotated[Path, Takes("model")]
    """Model to start from, most often one made by `sft`."""
    _: KW_ONLY
    rows: Annotated[Path, Takes("rows")]
    """Questions: a run of `instruct`, or a file with `question` and `answer`, or `messages`, in each row."""
    method: Name = "grpo"
    """Where the gradient comes from: groups of answers, or a value head (ppo)."""
    beta: NotNegative | None = None
    """How strongly the model is held to the reference (default: 0.04 grpo, 0.05 rloo and ppo, else 0)."""
    epochs: Positive = 1.0
    """Times that each question is asked."""
    questions: Count = 8
    """Questions in a step."""
    samples: Annotated[int, Bounds(least=1)] = 8
    """Answers to each question."""
    micro: Count = 8
    """Answers computed at a time: less memory, same result up to rounding."""
    updates: Count = 1
    """Steps that learn from the same answers, held near to the model that gave them by clipping."""
    resample: Annotated[int, Bounds(least=0)] = 0
    """Times that questions whose answers all earn the same are replaced by others (arXiv 2503.14476)."""
    overlong: Annotated[int, Bounds(least=0)] = 0
    """Last tokens of max_new_tokens that are punished, so that answers end before they are cut (arXiv 2503.14476)."""
    prompt_length: Count = 512
    """Tokens of a question; a longer one cannot be learned from."""
    max_new_tokens: Count = 256
    """Tokens of an answer; a longer one is cut, and counted."""
    temperature: Positive = 1.0
    """Of the answers, and of the distribution that learns."""
    top_p: Probability = 1.0
    """Draw from the likeliest tokens that together have this probability; what learns is the whole distribution."""
    learning_rate: Positive | None = None
    """Peak rate of AdamW (default: 1e-5, for an adapter 1e-4)."""
    evaluation_rows: Count = 100
    """Held-out questions that are answered while training, at most."""
    seed: int = 0
    """Chooses the order of the questions, and every draw."""


def reinforce(config: Reinforce, run: Run) -> None:
    run.track(config.track)
    device = choose_device(config.device, deterministic=config.deterministic)
    method = _method(config)
    check_base(run.input("base"), config)
    opened = open_model(run.input("base"), device=device, quantize=config.quantize)
    length = config.prompt_length + config.max_new_tokens
    check_length(opened.model, length, option="prompt_length + max_new_tokens", before=config.begun)
    asked, train, valid = _questions(config, run, opened)
    judge = make_judge(config, run, opened, asked, device=device)
    reference = _Reference(run, opened.model, device, stays=method.beta > 0 and not config.adapts)
    prepare(opened.model, config, seed=config.seed, tokenizer=opened.tokenizer)
    if method.critic:
        add_critic(opened.model)
    if config.recompute:
        recompute_layers(opened.model)
    learning = _learning(config, run, opened, method, train, judge, reference)
    prompts = valid[: config.evaluation_rows]

    def answers() -> tuple[list[Completion], list[Judged]]:
        learning.refresh()
        groups = learning.say(prompts, samples=1, seed=keyed_seed(config.seed, "held out"))
        said, judged = zip(*(pair for group in groups for pair in group), strict=True)
        return list(said), list(judged)

    def evaluate() -> dict[str, float]:
        if not prompts:
            return {}
        said, judged = answers()
        with reference() as frozen:
            before = learning.score(frozen, said)["old"]
        return held_out(said, judged, learning.score(opened.model, said)["old"], before)

    fit(
        run,
        opened.model,
        partial(make_optimizer, kind="adamw", learning_rate=config.learning_rate or (1e-4 if config.adapts else 1e-5)),
        label="reinforce",
        device=device,
        batches=learning.batches,
        loss=learning.loss,
        steps=max(1, -(-round(config.epochs * len(train)) // config.questions)) * config.updates,
        autocast=choose_precision(config.precision, device),
        evaluate=evaluate,
        carry=partial(carried, autocast=choose_precision(config.precision, device)),
    )
    if prompts:
        _write(run.out / "completions.jsonl", *answers(), opened)
    _count(run)
    drop_critic(opened.model)
    save_on_base(run, opened, quantize=config.quantize)


def _method(config: Reinforce) -> Method:
    method = METHODS[config.method]
    if not method.critic and config.samples < 2:
        raise UsageError(
            f"{config.method} compares the answers to a question with each other: samples = {config.samples}",
            hint='samples = 8, or method = "ppo"',
        )
    if config.overlong >= config.max_new_tokens:
        raise UsageError(
            f"overlong = {config.overlong} leaves none of the {config.max_new_tokens} tokens of an answer unpunished",
            hint=f"overlong = {config.max_new_tokens // 4}",
        )
    return method if config.beta is None else replace(method, beta=config.beta)


def _questions(config: Reinforce, run: Run, opened: Opened) -> tuple[dict[str, Question], list[Prompt], list[Prompt]]:
    """Questions by id, and those for training and held out as tokens; what is set aside is counted."""
    rows = Rows(run, config.bad_rows)
    parts = rows.read(run.input("rows"), "sft", partial(read_questions, control=opened.control))
    encode = partial(encode_question, opened=opened, options=config, length=config.prompt_length)
    train, valid = (rows.sift(map(encode, part)) for part in parts)
    rows.close(learned=train)
    run.count(questions=len(train), questions_held_out=len(valid))
    return {question.id: question for part in parts for question in part}, train, valid


def _learning(
    config: Reinforce,
    run: Run,
    opened: Opened,
    method: Method,
    prompts: Sequence[Prompt],
    judge: Judge,
    reference: _Reference,
) -> Reinforcement:
    sampling = Sampling(
        max_new_tokens=config.max_new_tokens,
        stop=opened.stop,
        temperature=config.temperature,
        top_p=config.top_p,
    )
    plan = Plan(
        questions=config.questions,
        samples=config.samples,
        updates=config.updates,
        rows=config.micro,
        resample=config.resample,
        overlong=config.overlong,
        seed=config.seed,
    )
    return Reinforcement(
        opened.model,
        prompts,
        judge=judge,
        method=method,
        sampling=sampling,
        plan=plan,
        reference=reference,
        autocast=choose_precision(config.precision, next(opened.model.parameters()).device),
        keep=_Rollouts(run, config.updates),
    )


class _Reference:
    """The model that training starts from: the adapter switched off; else read again, and kept where it `stays`."""

    def __init__(self, run: Run, model: Transformer, device: torch.device, *, stays: bool) -> None:
        self._run, self._model, self._device, self._stays = run, model, device, stays
        self._read: Transformer | None = None

    @contextmanager
    def __call__(self) -> Iterator[Transformer]:
        if adapters(self._model):
            with adapter_off(self._model):
                yield self._model
            return
        read = self._read or open_model(self._run.input("base"), device=self._device).model.requires_grad_(False)
        self._read = read if self._stays else None
        yield read


class _Rollouts:
    """Rollouts beside the run's checkpoints, as long as one may go on inside of them; the first process writes them."""

    def __init__(self, run: Run, updates: int) -> None:
        self._run, self._updates, self._folder = run, updates, run.checkpoints.parent / "rollouts"

    def read(self, number: int) -> Any:
        return json.loads(self._path(number).read_bytes())

    def write(self, number: int, rollout: Any) -> None:
        if processes().rank > 0:
            return
        self._folder.mkdir(exist_ok=True)
        with self._run.atomic(self._path(number)) as temporary:
            temporary.write_text(json.dumps(rollout))
        saved = [int(path.name.removeprefix("step-")) for path in self._run.checkpoints.glob("step-*")]
        for path in self._folder.glob("*.json"):
            if saved and int(path.stem) < min(saved) // self._updates:
                path.unlink()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.json"


def _write(path: Path, said: Sequence[Completion], judged: Sequence[Judged], opened: Opened) -> None:
    """What the model says to held-out questions in the end, and what it earns."""
    texts = opened.tokenizer.decode_batch([completion.said(opened.stop) for completion in said])
    rows = [
        {"id": c.prompt.id, "completion": text, "reward": earned.total, "rewards": earned.parts, "cut": c.cut}
        for c, text, earned in zip(said, texts, judged, strict=True)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _count(run: Run) -> None:
    """Tokens of the whole run by kind, from what was recorded of its steps."""
    rows = run.recorded()
    kinds = ("prompt", "sampled", "padded", "learned")
    run.count(**{f"tokens_{kind}": round(sum(row.get(f"tokens/{kind}", 0) for row in rows)) for kind in kinds})
