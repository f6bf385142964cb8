"""Models in 4 bits: making the folder, and training an adapter on it, beside transformers, TRL, PEFT and bitsandbytes.

Both sides of `qlora` compute in fp32: bf16 is emulated on a machine that has none in hardware, and slows both down.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inputs import conversations
from measure import Measured, Peer, Row, Stopwatch, fresh, main, resident_mb
from posttrain import BATCH, CORES, LENGTH, MICRO, RATE, _arguments, _examples, _fitted, _peft, _size, _trained, adapter
from posttrain import model_folder as qlora_folder

# -- quantize ---------------------------------------------------------------------------------------------------------


def dense_folder(*, folder: Path, depth: int, vocabulary: int) -> None:
    """An untrained Llama in bfloat16."""
    from dataclasses import replace

    import torch

    from hornbook.model.dial import shape
    from hornbook.model.transformer import Transformer
    from hornbook.model.weights import save_model

    llama = replace(shape(depth, vocabulary=vocabulary, length=2048), qk_norm=False)
    save_model(folder / "model", Transformer(llama).initialize(0).to(torch.bfloat16), eos=[0])


def quantize(*, folder: Path, **_: int) -> Measured:
    """Ours, a tensor at a time."""
    from hornbook.model.quantize_folder import quantize_folder, size_of

    out = fresh(folder / "ours")
    megabytes = size_of(folder / "model") / 1e6
    notes: dict[str, Any] = {"loaded_mb": round(resident_mb())}
    with Stopwatch() as watch:
        for _written in quantize_folder(folder / "model", out, "nf4"):
            pass
    notes["written_mb"] = round((out / "model.safetensors").stat().st_size / 1e6, 1)
    return Measured(megabytes / watch.wall, notes | {"per_cpu_second": round(megabytes / watch.cpu, 1)})


def quantize_bnb(*, folder: Path, **_: int) -> Measured:
    """transformers reads the model into bitsandbytes' layers, and saves them."""
    import torch
    from transformers import AutoModelForCausalLM

    out = fresh(folder / "theirs")
    megabytes = (folder / "model" / "model.safetensors").stat().st_size / 1e6
    notes: dict[str, Any] = {"loaded_mb": round(resident_mb())}
    with Stopwatch() as watch:
        config = _config(torch.bfloat16)
        model = AutoModelForCausalLM.from_pretrained(folder / "model", quantization_config=config, dtype=torch.bfloat16)
        model.save_pretrained(out)
    notes["written_mb"] = round((out / "model.safetensors").stat().st_size / 1e6, 1)
    return Measured(megabytes / watch.wall, notes | {"per_cpu_second": round(megabytes / watch.cpu, 1)})


def _config(dtype: Any) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


# -- QLoRA ------------------------------------------------------------------------------------------------------------


def qlora(*, folder: Path, rows: int, **_: int) -> Measured:
    """SFT of an adapter on a base that is quantized as it is read."""
    import torch

    from hornbook.learn.examples import Examples
    from hornbook.learn.loop import next_token
    from hornbook.manifest import Input
    from hornbook.training.adapting import make_optimizer, prepare
    from hornbook.training.opening import open_model

    model = open_model(Input(folder / "model"), device=torch.device("cpu"), quantize="nf4")
    examples = _examples(model, rows)
    prepare(model.model, adapter(True), seed=0)
    data = Examples([(e,) for e in examples], length=LENGTH, groups_per_step=BATCH, rows=MICRO, seed=0)
    optimizer = make_optimizer(model.model, "adamw", learning_rate=RATE)
    return _fitted(model.model, optimizer, data, next_token, tokens=_size(examples), notes={}, fp32=True)


def qlora_trl(*, folder: Path, rows: int, **_: int) -> Measured:
    """TRL's SFTTrainer with PEFT on bitsandbytes' layers."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(**_arguments(folder, False, True), assistant_only_loss=True)
    model = AutoModelForCausalLM.from_pretrained(
        folder / "model", quantization_config=_config(torch.float32), dtype=torch.float32
    )
    data = Dataset.from_list([{"messages": row} for row in conversations(rows)])
    words = AutoTokenizer.from_pretrained(folder / "model")
    trainer = SFTTrainer(model, config, train_dataset=data, processing_class=words, peft_config=_peft(True))
    tokens = sum(len(trainer.train_dataset[at]["input_ids"]) for at in range(len(trainer.train_dataset)))
    return _trained(trainer, tokens, {})


ROWS = (
    Row(
        "quantize",
        "MB/s",
        {"32 M": {"depth": 8, "vocabulary": 16384}, "110 M": {"depth": 12, "vocabulary": 32768}},
        quantize,
        (Peer(quantize_bnb, "bitsandbytes"),),
        prepare=dense_folder,
    ),
    Row(
        "qlora",
        "useful tokens/s",
        {
            "4 M, fp32": {"depth": 4, "vocabulary": 4096, "rows": 32},
            "32 M, fp32": {"depth": 8, "vocabulary": 16384, "rows": 16},
        },
        qlora,
        (Peer(qlora_trl, "trl", config="defaults, bitsandbytes"),),
        prepare=qlora_folder,
        threads=CORES,
        trains=True,
        repeats=2,
    ),
)

if __name__ == "__main__":
    main(ROWS)
