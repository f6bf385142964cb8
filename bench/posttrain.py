"""A base model -> one that answers and prefers: SFT and DPO beside TRL, on the same rows and the same model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inputs import conversations, preferences, texts
from measure import Measured, Peer, Row, Stopwatch, fresh, main, resident_mb

if TYPE_CHECKING:
    from hornbook.learn.examples import Example
    from hornbook.training.opening import Opened

LENGTH = 512
"""Tokens of a conversation, at most."""
BATCH = 8
"""Conversations, or pairs, in a step."""
RANK, ALPHA = 8, 16
RATE = 1e-4


def model_folder(*, folder: Path, depth: int, vocabulary: int, rows: int) -> None:
    """An untrained Llama with a tokenizer learned from real text, as Hugging Face writes it."""
    from dataclasses import replace

    from hornbook.learn.chat import TEMPLATE
    from hornbook.model.dial import shape
    from hornbook.model.transformer import Transformer
    from hornbook.model.weights import save_model
    from hornbook.text import bpe

    words = fresh(folder / "tokenizer")
    bpe.save(bpe.train(texts(4), vocabulary=vocabulary), words)
    (words / "chat_template.jinja").write_text(TEMPLATE)
    llama = replace(shape(depth, vocabulary=vocabulary, length=2048), qk_norm=False)
    model = Transformer(llama).initialize(0)
    save_model(folder / "model", model, tokenizer=words, bos=0, eos=[0], pad=3)


def opened(folder: Path) -> Opened:
    import torch

    from hornbook.manifest import Input
    from hornbook.training.opening import open_model

    return open_model(Input(folder / "model"), device=torch.device("cpu"))


def adapter(lora: bool) -> Any:
    from hornbook.training.options import Lora, Training

    return Training(lora=Lora(r=RANK, alpha=ALPHA) if lora else None)


# -- SFT --------------------------------------------------------------------------------------------------------------


def sft(*, folder: Path, rows: int, lora: bool = False, **_: int) -> Measured:
    """Our packed rows, loss on answers, bf16."""
    import torch

    from hornbook.learn.examples import Examples, batched
    from hornbook.learn.loop import next_token
    from hornbook.training.adapting import make_optimizer, prepare

    model = opened(folder)
    examples = _examples(model, rows)
    prepare(model.model, adapter(lora), seed=0)
    data = Examples([(e,) for e in examples], length=LENGTH, groups_per_step=BATCH, rows=BATCH, seed=0)
    of_first = batched([(e,) for e in examples[:BATCH]], length=LENGTH, rows=BATCH)
    with torch.no_grad():
        first = [next_token(model.model, batch) for batch in of_first]
    notes = {"first_batch_loss": float(sum(s for s, _ in first) / sum(n for _, n in first))}
    optimizer = make_optimizer(model.model, "adamw", learning_rate=RATE)
    return _fitted(model, optimizer, data, next_token, tokens=_size(examples), notes=notes)


def _examples(model: Opened, rows: int) -> list[Example]:
    from hornbook.learn.chat import encode_conversation
    from hornbook.learn.examples import Example
    from hornbook.learn.rows import Conversation

    encode = partial(encode_conversation, tokenizer=model.tokenizer, length=LENGTH - 1, template=model.template)
    made = [encode(Conversation(str(at), row, f"rows row {at}")) for at, row in enumerate(conversations(rows))]
    return [example for example in made if isinstance(example, Example)]


def _size(examples: Sequence[Example]) -> int:
    return sum(len(example.tokens) for example in examples)


def _fitted(model: Opened, optimizer: Any, data: Any, loss: Any, *, tokens: int, notes: dict[str, Any]) -> Measured:
    """Useful tokens a second of one epoch."""
    import torch

    from hornbook.learn.loop import train

    steps = train(
        model.model,
        batches=data.step,
        loss=loss,
        optimizer=optimizer,
        schedule=lambda step: 1.0,
        steps=data.steps(1),
        autocast=torch.bfloat16,
    )
    notes = {"loaded_mb": round(resident_mb()), **notes}
    with Stopwatch() as watch:
        last = [step.loss for step in steps][-1]
    notes |= {"last_loss": last, "tokens": tokens, "per_cpu_second": round(tokens / watch.cpu)}
    return Measured(tokens / watch.wall, notes)


def sft_trl(*, folder: Path, rows: int, lora: bool = False, best: bool = False, **_: int) -> Measured:
    """TRL's SFTTrainer."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    grouped = {"train_sampling_strategy": "group_by_length"} if best else {}
    config = SFTConfig(**_arguments(folder, best), **grouped, assistant_only_loss=True)
    data = Dataset.from_list([{"messages": row} for row in conversations(rows)])
    trainer = SFTTrainer(str(folder / "model"), config, train_dataset=data, peft_config=_peft(lora))
    encoded = [trainer.train_dataset[at] for at in range(len(trainer.train_dataset))]
    batch = trainer.data_collator(encoded[:BATCH])
    with torch.no_grad():
        first = float(trainer.model(**{key: batch[key] for key in ("input_ids", "attention_mask", "labels")}).loss)
    return _trained(trainer, sum(len(row["input_ids"]) for row in encoded), {"first_batch_loss": first})


def _arguments(folder: Path, best: bool) -> dict[str, Any]:
    """TRL's defaults (bf16, activations recomputed); or activations kept."""
    return {
        "output_dir": str(fresh(folder / "trl")),
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "max_length": LENGTH,
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": 1,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        **({"gradient_checkpointing": False} if best else {}),
    }


def _peft(lora: bool) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None


def _trained(trainer: Any, tokens: int, notes: dict[str, Any]) -> Measured:
    notes = {"loaded_mb": round(resident_mb()), **notes, "tokens": tokens}
    with Stopwatch() as watch:
        result = trainer.train()
    notes |= {"mean_loss": result.training_loss, "per_cpu_second": round(tokens / watch.cpu)}
    return Measured(tokens / watch.wall, notes)


# -- DPO --------------------------------------------------------------------------------------------------------------


def dpo(*, folder: Path, rows: int, lora: bool = False, **_: int) -> Measured:
    """Our packed pairs, bf16; encoding the rows and the pass of the reference are part of the time."""
    from hornbook.learn.examples import Examples
    from hornbook.training.adapting import make_optimizer, prepare

    model = opened(folder)
    notes = {"loaded_mb": round(resident_mb())}
    with Stopwatch() as watch:
        pairs = _pairs(model, rows)
        known = _reference(model, pairs)
    prepare(model.model, adapter(lora), seed=0)
    data = Examples(pairs, length=2 * LENGTH, groups_per_step=BATCH, rows=BATCH, seed=0)
    tokens = sum(map(_size, pairs))
    optimizer = make_optimizer(model.model, "adamw", learning_rate=RATE)
    measured = _fitted(model, optimizer, data, _preference_loss(known), tokens=tokens, notes=notes)
    return Measured(tokens / (watch.wall + tokens / measured.value), measured.notes)


def _pairs(model: Opened, rows: int) -> list[tuple[Example, Example]]:
    from hornbook.learn.chat import encode_preference
    from hornbook.learn.rows import Preference

    encode = partial(encode_preference, tokenizer=model.tokenizer, length=LENGTH - 1, template=model.template)
    made = [
        encode(Preference(str(at), row["prompt"], row["chosen"][0], row["rejected"][0], f"rows row {at}"))
        for at, row in enumerate(preferences(rows))
    ]
    return [pair for pair in made if isinstance(pair, tuple)]


def _reference(model: Opened, pairs: Sequence[tuple[Example, Example]]) -> dict[str, float]:
    import torch

    from hornbook.learn.examples import batched
    from hornbook.learn.loop import answer_log_probabilities, precision

    known: dict[str, float] = {}
    for batch in batched(pairs, length=2 * LENGTH, rows=BATCH):
        with precision(torch.device("cpu"), torch.bfloat16):
            values = answer_log_probabilities(model.model, batch).detach()
        known |= zip(batch.document_ids, values.tolist(), strict=True)
    return known


def _preference_loss(known: dict[str, float]) -> Any:
    from hornbook.learn import losses
    from hornbook.learn.loop import answer_log_probabilities

    def loss(model: Any, batch: Any) -> Any:
        policy = answer_log_probabilities(model, batch)
        reference = policy.new_tensor([known[name] for name in batch.document_ids])
        return losses.dpo(policy[0::2], policy[1::2], reference[0::2], reference[1::2], beta=0.1)

    return loss


def dpo_trl(*, folder: Path, rows: int, lora: bool = False, best: bool = False, **_: int) -> Measured:
    """TRL's DPOTrainer; its best takes the reference's log-probabilities once, as ours, when it is made."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    config = DPOConfig(**_arguments(folder, best), precompute_ref_log_probs=best)
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    notes = {"loaded_mb": round(resident_mb())}
    data = Dataset.from_list(preferences(rows))
    with Stopwatch() as watch:
        words = AutoTokenizer.from_pretrained(folder / "model")
        trainer = DPOTrainer(model, None, config, train_dataset=data, processing_class=words, peft_config=_peft(lora))
    encoded = [trainer.train_dataset[at] for at in range(len(trainer.train_dataset))]
    sides = ("chosen_ids", "rejected_ids")
    tokens = sum(min(LENGTH, len(row["prompt_ids"]) + len(row[side])) for row in encoded for side in sides)
    measured = _trained(trainer, tokens, notes)
    return Measured(tokens / (watch.wall + tokens / measured.value), measured.notes)


BEST = "bf16, activations kept"
SIZES: dict[str, dict[str, Any]] = {
    "4 M": {"depth": 4, "vocabulary": 4096, "rows": 32},
    "32 M": {"depth": 8, "vocabulary": 16384, "rows": 16},
}
WITH_LORA = {f"{size}, LoRA": {**options, "lora": True} for size, options in SIZES.items()}
CORES = os.cpu_count() or 1


def versus_trl(name: str, sizes: dict[str, dict[str, Any]], ours: Any, trl: Any, best: str = BEST) -> Row:
    """A row of useful (not padding) tokens a second against TRL's defaults and its best."""
    peers = (Peer(trl, "trl", config="defaults"), Peer(partial(trl, best=True), "trl", label="best", config=best))
    return Row(name, "useful tokens/s", sizes, ours, peers, prepare=_prepare, threads=CORES, repeats=2)


def _prepare(*, folder: Path, lora: bool = False, **sizes: int) -> None:
    model_folder(folder=folder, **sizes)


ROWS = (
    versus_trl("sft", SIZES, sft, sft_trl, f"{BEST}, rows of like length together"),
    versus_trl("dpo", WITH_LORA, dpo, dpo_trl, f"{BEST}, reference precomputed"),
)

if __name__ == "__main__":
    main(ROWS)
