"""Finetuning on small machines: LoRA, prefix and prompt tuning beside TRL and PEFT, and switching between adapters."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from measure import Measured, Peer, Row, main
from posttrain import ALPHA, BEST, FP32, RANK, SIZES, WITH_LORA, model_folder, opened, sft, sft_trl, versus_trl

NAMES = ("law", "care")
SWITCHES = 200


def _adapters(*, folder: Path, **sizes: int) -> None:
    """A model, and two adapters of it."""
    from hornbook.model.adapters.folder import save_adapter
    from hornbook.model.adapters.lora import attach

    model_folder(folder=folder, **sizes)
    for seed, name in enumerate(NAMES):
        model = opened(folder).model
        attach(model, r=RANK, alpha=ALPHA, targets="all-linear", seed=seed)
        save_adapter(model, folder / name, base_name=str(folder / "model"))


def switching(*, folder: Path, **_: int) -> Measured:
    """Microseconds to use another of the adapters that are on a model."""
    from hornbook.model.adapters.attached import switch
    from hornbook.model.adapters.folder import load_adapter

    model = opened(folder).model
    for name in NAMES:
        load_adapter(model, folder / name, name=name)
    return _timed(lambda name: switch(model, name))


def switching_peft(*, folder: Path, **_: int) -> Measured:
    """PEFT's `set_adapter`."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder / "model")
    model = PeftModel.from_pretrained(base, folder / NAMES[0], adapter_name=NAMES[0])
    model.load_adapter(folder / NAMES[1], adapter_name=NAMES[1])
    return _timed(model.set_adapter)


def _timed(use) -> Measured:  # type: ignore[no-untyped-def]
    spans = []
    for turn in range(SWITCHES):
        started = time.perf_counter()
        use(NAMES[turn % 2])
        spans.append(time.perf_counter() - started)
    return Measured(1e6 * median(spans))


WITH_SOFT = {
    f"{size}, {soft}": {**options, "soft": soft}
    for size, options in {**FP32, **SIZES}.items()
    for soft in ("prefix", "prompt")
}
GROUPED = f"{BEST}, rows of like length together"
ROWS = (
    versus_trl("lora", WITH_LORA, sft, sft_trl, GROUPED),
    versus_trl("soft", WITH_SOFT, sft, sft_trl, GROUPED),
    Row(
        "switch",
        "us a switch",
        SIZES,
        switching,
        (Peer(switching_peft, "peft"),),
        prepare=_adapters,
        less_is_better=True,
    ),
)

if __name__ == "__main__":
    main(ROWS)
