"""A base model -> one that answers and prefers: SFT, DPO and reward models beside TRL, on the same rows and model.

Both sides compute in bf16, which is TRL's default, or with `fp32` in fp32, for machines without bf16 in hardware.
"""

from __future__ import annotations

import json
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
MICRO = 1
"""Rows of up to two conversations that we compute at a time: the result is the same, and memory less."""
RANK, ALPHA, VIRTUAL = 8, 16, 16
RATE = 1e-4
BREAKS = (
    ("'<|im_end|>' -}}{%- endgeneration", "'<|im_end|>\\n' -}}{%- endgeneration"),
    ("{{- '\\n' -}}{%- endfor", "{%- if message['role'] != 'assistant' -%}{{- '\\n' -}}{%- endif -%}{%- endfor"),
)


def model_folder(*, folder: Path, depth: int, vocabulary: int, rows: int) -> None:
    """An untrained Llama with a tokenizer learned from real text, as Hugging Face writes it."""
    from dataclasses import replace

    from hornbook.learn.chat import TEMPLATE
    from hornbook.model.dial import shape
    from hornbook.model.reward import reward_model, save_reward_model
    from hornbook.model.transformer import Transformer
    from hornbook.model.weights import save_model
    from hornbook.text import bpe

    words = fresh(folder / "tokenizer")
    bpe.save(bpe.train(texts(4), vocabulary=vocabulary), words)
    # TRL learns all that follows a prompt, so here the line break after an answer is part of it.
    template = TEMPLATE
    for ours, theirs in BREAKS:
        assert ours in template
        template = template.replace(ours, theirs)
    (words / "chat_template.jinja").write_text(template)
    llama = replace(shape(depth, vocabulary=vocabulary, length=2048), qk_norm=False)
    model = Transformer(llama).initialize(0)
    save_model(folder / "model", model, tokenizer=words, bos=0, eos=[0], pad=3)
    save_reward_model(folder / "reward", reward_model(model, seed=0), tokenizer=words, pad=3)
    _write_pairs(folder, rows)


def _write_pairs(folder: Path, rows: int) -> None:
    """Pairs that nobody has to cut, for both sides."""
    from hornbook.learn.chat import encode_preference
    from hornbook.learn.rows import Preference

    model = opened(folder)
    encode = partial(encode_preference, tokenizer=model.tokenizer, length=LENGTH - 2, template=model.template)
    fitting = []
    for row in preferences(4 * rows):
        made = encode(Preference("", row["prompt"], row["chosen"][0], row["rejected"][0], "rows row 1"))
        if isinstance(made, tuple) and not any(side.cut for side in made):
            fitting.append(row)
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in fitting[:rows]))


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]


def opened(folder: Path) -> Opened:
    import torch

    from hornbook.manifest import Input
    from hornbook.training.opening import open_model

    return open_model(Input(folder / "model"), device=torch.device("cpu"))


def adapter(lora: bool, soft: str = "") -> Any:
    from hornbook.training.options import Lora, Prefix, Prompt, Training

    return Training(
        lora=Lora(r=RANK, alpha=ALPHA) if lora else None,
        prefix=Prefix(tokens=VIRTUAL) if soft == "prefix" else None,
        prompt=Prompt(tokens=VIRTUAL) if soft == "prompt" else None,
    )


# -- SFT --------------------------------------------------------------------------------------------------------------


def sft(*, folder: Path, rows: int, lora: bool = False, soft: str = "", fp32: bool = False, **_: int) -> Measured:
    """Our packed rows, loss on answers."""
    import torch

    from hornbook.learn.examples import Examples, batched
    from hornbook.learn.loop import next_token
    from hornbook.training.adapting import make_optimizer, prepare

    model = opened(folder)
    examples = _examples(model, rows)
    prepare(model.model, adapter(lora, soft), seed=0)
    data = Examples([(e,) for e in examples], length=LENGTH, groups_per_step=BATCH, rows=MICRO, seed=0)
    of_first = batched([(e,) for e in examples[:BATCH]], length=LENGTH, rows=MICRO)
    with torch.no_grad():
        first = [next_token(model.model, batch) for batch in of_first]
    notes = {"first_batch_loss": float(sum(s for s, _ in first) / sum(n for _, n in first))}
    optimizer = make_optimizer(model.model, "adamw", learning_rate=RATE)
    return _fitted(model.model, optimizer, data, next_token, tokens=_size(examples), notes=notes, fp32=fp32)


def _examples(model: Opened, rows: int) -> list[Example]:
    from hornbook.learn.chat import encode_conversation
    from hornbook.learn.examples import Example
    from hornbook.learn.rows import Conversation

    encode = partial(encode_conversation, tokenizer=model.tokenizer, length=LENGTH - 1, template=model.template)
    made = [encode(Conversation(str(at), row, f"rows row {at}")) for at, row in enumerate(conversations(rows))]
    return [example for example in made if isinstance(example, Example)]


def _size(examples: Sequence[Example]) -> int:
    return sum(len(example.tokens) for example in examples)


def _fitted(
    model: Any, optimizer: Any, data: Any, loss: Any, *, tokens: int, notes: dict[str, Any], fp32: bool
) -> Measured:
    """Useful tokens a second of one epoch."""
    import torch

    from hornbook.learn.loop import train

    steps = train(
        model,
        batches=data.step,
        loss=loss,
        optimizer=optimizer,
        schedule=lambda step: 1.0,
        steps=data.steps(1),
        autocast=None if fp32 else torch.bfloat16,
    )
    notes = {"loaded_mb": round(resident_mb()), **notes}
    with Stopwatch() as watch:
        last = [step.loss for step in steps][-1]
    notes |= {"last_loss": last, "tokens": tokens, "per_cpu_second": round(tokens / watch.cpu)}
    return Measured(tokens / watch.wall, notes)


def sft_trl(
    *, folder: Path, rows: int, lora: bool = False, soft: str = "", fp32: bool = False, best: bool = False, **_: int
) -> Measured:
    """TRL's SFTTrainer."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    grouped = {"train_sampling_strategy": "group_by_length"} if best else {}
    config = SFTConfig(**_arguments(folder, best, fp32), **grouped, assistant_only_loss=True)
    data = Dataset.from_list([{"messages": row} for row in conversations(rows)])
    trainer = SFTTrainer(str(folder / "model"), config, train_dataset=data, peft_config=_peft(lora, soft))
    encoded = [trainer.train_dataset[at] for at in range(len(trainer.train_dataset))]
    batch = trainer.data_collator(encoded[:BATCH])
    with torch.no_grad():
        first = float(trainer.model(**{key: batch[key] for key in ("input_ids", "attention_mask", "labels")}).loss)
    return _trained(trainer, sum(len(row["input_ids"]) for row in encoded), {"first_batch_loss": first})


def _arguments(folder: Path, best: bool, fp32: bool) -> dict[str, Any]:
    """TRL's defaults (bf16, activations recomputed); or in fp32, or activations kept."""
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
        "bf16": not fp32,
        **({"gradient_checkpointing": False} if best else {}),
    }


def _peft(lora: bool, soft: str = "") -> Any:
    from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig

    if soft:
        kind = PrefixTuningConfig if soft == "prefix" else PromptTuningConfig
        return kind(num_virtual_tokens=VIRTUAL, task_type="CAUSAL_LM")
    return LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None


def _trained(trainer: Any, tokens: int, notes: dict[str, Any]) -> Measured:
    notes = {"loaded_mb": round(resident_mb()), **notes, "tokens": tokens}
    with Stopwatch() as watch:
        result = trainer.train()
    notes |= {"mean_loss": result.training_loss, "per_cpu_second": round(tokens / watch.cpu)}
    return Measured(tokens / watch.wall, notes)


# -- DPO --------------------------------------------------------------------------------------------------------------


def dpo(*, folder: Path, lora: bool = False, fp32: bool = False, **_: int) -> Measured:
    """Our packed pairs, a shared prompt once; encoding the rows and the pass of the reference are part of the time."""
    import torch

    from hornbook.learn.examples import Examples, batched, longest
    from hornbook.learn.preferences import dpo
    from hornbook.training.adapting import make_optimizer, prepare
    from hornbook.training.preferring import paired_loss
    from hornbook.training.reference import computed

    model = opened(folder)
    autocast = None if fp32 else torch.bfloat16
    notes: dict[str, Any] = {"loaded_mb": round(resident_mb())}
    with Stopwatch() as watch:
        pairs = _pairs(model, folder)
        of_all = batched(pairs, length=longest(pairs), rows=MICRO)
        known = {}
        for batch in of_all:
            known |= computed(model.model, batch, autocast=autocast)
    prepare(model.model, adapter(lora), seed=0)
    data = Examples(pairs, length=longest(pairs), groups_per_step=BATCH, rows=MICRO, seed=0)
    tokens = sum(len(example.tokens) for pair in pairs for example in pair)
    loss = partial(paired_loss, function=dpo, reference=known, beta=0.1)
    with torch.no_grad():
        first = [loss(model.model, batch) for batch in batched(pairs[:BATCH], length=longest(pairs), rows=MICRO)]
    notes |= {
        "first_batch_loss": float(sum(total for total, _, _ in first)) / BATCH,
        "first_batch_log_probability": sum(known[chosen.id] for chosen, _ in pairs[:BATCH]) / BATCH,
    }
    optimizer = make_optimizer(model.model, "adamw", learning_rate=RATE)
    measured = _fitted(model.model, optimizer, data, loss, tokens=tokens, notes=notes, fp32=fp32)
    return Measured(tokens / (watch.wall + tokens / measured.value), measured.notes | {"before_s": watch.wall})


def _pairs(model: Opened, folder: Path) -> list[tuple[Example, Example]]:
    from hornbook.learn.chat import encode_preference
    from hornbook.learn.rows import Preference

    encode = partial(encode_preference, tokenizer=model.tokenizer, length=LENGTH - 1, template=model.template)
    made = [
        encode(Preference(str(at), row["prompt"], row["chosen"][0], row["rejected"][0], f"rows row {at}"))
        for at, row in enumerate(written(folder))
    ]
    return [pair for pair in made if isinstance(pair, tuple)]


def dpo_trl(*, folder: Path, lora: bool = False, fp32: bool = False, best: bool = False, **_: int) -> Measured:
    """TRL's DPOTrainer; its best takes the reference's log-probabilities once, as ours, when it is made."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    config = DPOConfig(**_arguments(folder, best, fp32), precompute_ref_log_probs=best)
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    notes = {"loaded_mb": round(resident_mb())}
    data = Dataset.from_list(written(folder))
    with Stopwatch() as watch:
        words = AutoTokenizer.from_pretrained(folder / "model")
        trainer = DPOTrainer(model, None, config, train_dataset=data, processing_class=words, peft_config=_peft(lora))
    encoded = [trainer.train_dataset[at] for at in range(len(trainer.train_dataset))]
    trainer.model.train()
    with torch.no_grad(), trainer.compute_loss_context_manager():
        first = trainer.compute_loss(trainer.model, trainer.data_collator(encoded[:BATCH]))
    notes |= {
        "first_batch_loss": float(first),
        "first_batch_log_probability": trainer._metrics["train"]["logps/chosen"][-1],
    }
    sides = ("chosen_ids", "rejected_ids")
    tokens = sum(len(row["prompt_ids"]) + len(row[side]) for row in encoded for side in sides)
    measured = _trained(trainer, tokens, notes)
    return Measured(tokens / (watch.wall + tokens / measured.value), measured.notes | {"before_s": watch.wall})


# -- reward models ----------------------------------------------------------------------------------------------------


def reward(*, folder: Path, fp32: bool = False, **_: int) -> Measured:
    """Our packed pairs, the prompt of a pair once; encoding the rows is part of the time."""
    import torch

    from hornbook.learn.examples import Examples, batched, judged, longest
    from hornbook.model.reward import load_reward_model
    from hornbook.stages.reward import preference
    from hornbook.training.adapting import make_optimizer

    words, model = opened(folder), load_reward_model(folder / "reward")
    notes: dict[str, Any] = {"loaded_mb": round(resident_mb())}
    with Stopwatch() as watch:
        pairs = [(judged(chosen), judged(rejected)) for chosen, rejected in _pairs(words, folder)]
    data = Examples(pairs, length=longest(pairs), groups_per_step=BATCH, rows=MICRO, seed=0)
    tokens = sum(len(example.tokens) - 1 for pair in pairs for example in pair)
    with torch.no_grad():
        first = [preference(model, batch) for batch in batched(pairs[:BATCH], length=longest(pairs), rows=MICRO)]
    notes["first_batch_loss"] = float(sum(total for total, _, _ in first)) / BATCH
    optimizer = make_optimizer(model, "adamw", learning_rate=RATE)
    measured = _fitted(model, optimizer, data, preference, tokens=tokens, notes=notes, fp32=fp32)
    return Measured(tokens / (watch.wall + tokens / measured.value), measured.notes)


def reward_trl(*, folder: Path, fp32: bool = False, best: bool = False, **_: int) -> Measured:
    """TRL's RewardTrainer."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    config = RewardConfig(**_arguments(folder, best, fp32))
    model = AutoModelForSequenceClassification.from_pretrained(folder / "reward", dtype=torch.float32)
    notes = {"loaded_mb": round(resident_mb())}
    data = Dataset.from_list(written(folder))
    with Stopwatch() as watch:
        words = AutoTokenizer.from_pretrained(folder / "reward")
        trainer = RewardTrainer(model, config, train_dataset=data, processing_class=words)
    encoded = [trainer.train_dataset[at] for at in range(len(trainer.train_dataset))]
    with torch.no_grad():
        notes["first_batch_loss"] = float(trainer.compute_loss(model, trainer.data_collator(encoded[:BATCH])))
    tokens = sum(len(row[side]) for row in encoded for side in ("chosen_ids", "rejected_ids"))
    measured = _trained(trainer, tokens, notes)
    return Measured(tokens / (watch.wall + tokens / measured.value), measured.notes)


BEST = "activations kept"
SIZES: dict[str, dict[str, Any]] = {
    "4 M": {"depth": 4, "vocabulary": 4096, "rows": 32},
    "32 M": {"depth": 8, "vocabulary": 16384, "rows": 16},
}
FP32 = {f"{size}, fp32": {**options, "fp32": True} for size, options in SIZES.items()}
WITH_LORA = {f"{size}, LoRA": {**options, "lora": True} for size, options in {**FP32, **SIZES}.items()}
CORES = os.cpu_count() or 1


def versus_trl(name: str, sizes: dict[str, dict[str, Any]], ours: Any, trl: Any, best: str = BEST) -> Row:
    """A row of useful (not padding) tokens a second against TRL's defaults and its best."""
    peers = (Peer(trl, "trl", config="defaults"), Peer(partial(trl, best=True), "trl", label="best", config=best))
    return Row(name, "useful tokens/s", sizes, ours, peers, prepare=_prepare, threads=CORES, trains=True, repeats=2)


def _prepare(*, folder: Path, lora: bool = False, soft: str = "", fp32: bool = False, **sizes: int) -> None:
    model_folder(folder=folder, **sizes)


ROWS = (
    versus_trl("sft", {**FP32, **SIZES}, sft, sft_trl, f"{BEST}, rows of like length together"),
    versus_trl("dpo", {**FP32, **WITH_LORA}, dpo, dpo_trl, f"{BEST}, reference precomputed"),
    versus_trl("reward", {**FP32, **SIZES}, reward, reward_trl),
)

if __name__ == "__main__":
    from reinforce import GRPO  # which is made of what is above

    main((*ROWS, GRPO))
