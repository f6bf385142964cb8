"""The row `grpo` of `posttrain.py`: a step of 8 completions of 64 tokens to one prompt, beside TRL's, fp32 on both."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from inputs import conversations
from measure import Measured, Peer, Row, Stopwatch, fresh, resident_mb
from posttrain import CORES, model_folder, opened

SAMPLES, TOKENS = 8, 64
STEPS = 4
"""Of which the first, where kernels and caches are made, is not counted."""
RATE = 1e-5


def reward(text: str) -> float:
    """Something that tells completions apart."""
    return float(len(set(text)))


def grpo(*, folder: Path, rows: int, **_: int) -> Measured:
    """Our decoder, refreshed each step, and one forward and backward pass over packed completions."""
    from contextlib import nullcontext

    from hornbook.learn.chat import encode
    from hornbook.learn.loop import train
    from hornbook.learn.methods import METHODS
    from hornbook.learn.reinforcement import Plan, Reinforcement
    from hornbook.learn.rewards import Judged
    from hornbook.learn.rollout import Completion, Prompt, Sampling
    from hornbook.training.adapting import make_optimizer

    held = opened(folder)

    def judge(completions: Any) -> list[Judged]:
        said: list[Completion] = list(completions)
        return [Judged(reward(text)) for text in held.tokenizer.decode_batch([list(c.tokens) for c in said])]

    asked = [row[:1] for row in conversations(rows)]
    prompts = [
        Prompt(str(at), tuple(encode(row, held.tokenizer, template=held.template, prompt=True)[0]))
        for at, row in enumerate(asked)
    ]
    learning = Reinforcement(
        held.model,
        prompts,
        judge=judge,
        method=METHODS["dapo"],
        sampling=Sampling(max_new_tokens=TOKENS, stop=frozenset()),
        plan=Plan(questions=1, samples=SAMPLES),
        reference=lambda: nullcontext(held.model),
    )
    optimizer = make_optimizer(held.model, "adamw", learning_rate=RATE)
    steps = train(
        held.model,
        batches=learning.batches,
        loss=learning.loss,
        optimizer=optimizer,
        schedule=lambda step: 1.0,
        steps=STEPS,
    )
    notes: dict[str, Any] = {"loaded_mb": round(resident_mb())}
    first = next(steps)
    with Stopwatch() as watch:
        last = list(steps)[-1]
    count = STEPS - 1
    notes |= {"first_loss": first.loss, "completion_length": last.measured["completion_length"]}
    return Measured(watch.wall / count, {**notes, "cpu_seconds_a_step": round(watch.cpu / count, 2)})


def grpo_trl(*, folder: Path, rows: int, **_: int) -> Measured:
    """TRL's GRPOTrainer with its defaults (no reference model), in fp32."""
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=str(fresh(folder / "trl")),
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        max_steps=STEPS,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        per_device_train_batch_size=SAMPLES,
        num_generations=SAMPLES,
        max_completion_length=TOKENS,
        gradient_checkpointing=False,
        generation_kwargs={"min_new_tokens": TOKENS},
    )
    notes: dict[str, Any] = {}
    watch = Stopwatch()

    class Watched(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 1:
                notes["loaded_mb"] = round(resident_mb())
                watch.__enter__()

    trainer = GRPOTrainer(
        str(folder / "model"),
        lambda completions, **_: [reward(c[0]["content"] if isinstance(c, list) else c) for c in completions],
        args=config,
        train_dataset=Dataset.from_list([{"prompt": row[:1]} for row in conversations(rows)]),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
        callbacks=[Watched()],
    )
    trainer.train()
    watch.__exit__()
    logs = [row for row in trainer.state.log_history if "loss" in row]
    notes |= {"first_loss": logs[0]["loss"], "completion_length": logs[-1].get("completions/mean_length")}
    count = STEPS - 1
    return Measured(watch.wall / count, {**notes, "cpu_seconds_a_step": round(watch.cpu / count, 2)})


SIZES: dict[str, dict[str, Any]] = {
    "4 M": {"depth": 4, "vocabulary": 4096, "rows": 8},
    "32 M": {"depth": 8, "vocabulary": 16384, "rows": 8},
}


def _prepare(*, folder: Path, **sizes: int) -> None:
    model_folder(folder=folder, **sizes)


GRPO = Row(
    "grpo",
    "s a step",
    SIZES,
    grpo,
    (Peer(partial(grpo_trl), "trl", config="defaults, fp32, activations kept"),),
    prepare=_prepare,
    less_is_better=True,
    threads=CORES,
    trains=True,
    repeats=2,
)
