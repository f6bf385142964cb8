"""What the processes of `tests.forked` have imported when they are forked."""

from __future__ import annotations

from importlib import import_module

import torch

for name in (
    "torch._dynamo",
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
    "hornbook.cli",
    "hornbook.execute",
    "hornbook.recipe",
    "hornbook.report",
    "hornbook.stages.align",
    "hornbook.stages.curate",
    "hornbook.stages.evaluate",
    "hornbook.stages.instruct",
    "hornbook.stages.pretrain",
    "hornbook.stages.sft",
    "hornbook.stages.tokenize",
    "tests.learn.test_parallel",
):
    import_module(name)
torch.set_num_threads(1)
