"""Finetuning on small machines: LoRA beside TRL and PEFT."""

from __future__ import annotations

from measure import main
from posttrain import BEST, WITH_LORA, sft, sft_trl, versus_trl

ROWS = (versus_trl("lora", WITH_LORA, sft, sft_trl, f"{BEST}, rows of like length together"),)

if __name__ == "__main__":
    main(ROWS)
