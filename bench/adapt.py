"""Finetuning on small machines: LoRA beside TRL and PEFT."""

from __future__ import annotations

from measure import main
from posttrain import WITH_LORA, sft, sft_trl, versus_trl

ROWS = (versus_trl("lora", WITH_LORA, sft, sft_trl),)

if __name__ == "__main__":
    main(ROWS)
