"""The commands, one file each, in the order in which a system is built. They meet on disk, never in an import."""

from __future__ import annotations

from importlib import import_module

from hornbook.config import Stage

SUMMARIES = {
    "plan": "Say what to do with a model, data, a machine and hours: train, adapt, prompt or nothing.",
    "crawl": "Gather pages from a site into a WARC file, or take files that are there.",
    "classify": "Train a small model that judges texts, for `curate` to filter with.",
    "curate": "Turn what was gathered into a clean corpus, and keep every removed page with its reason.",
    "inspect": "Look at what was removed or kept, a page of samples at a time, or try filters before they run.",
    "tokenize": "Train or take a tokenizer and write the corpus as token shards.",
    "instruct": "Make instruction rows, preference pairs and minimal pairs from a corpus.",
    "pretrain": "Train a language model on tokens: from scratch, or on from a base, whole or by LoRA.",
    "scale": "Train a ladder of small models, and predict what a larger one would reach before paying for it.",
    "sft": "Teach a base model to answer: supervised finetuning on conversations.",
    "reward": "Teach a model to judge answers: a reward model from pairs of a better and a worse one.",
    "align": "Teach a model what is preferred: by DPO or another loss, on pairs or on judged answers.",
    "sample": "Answer questions several times and keep what the reward prefers, as rows for `sft` and `align`.",
    "reinforce": "Teach a model what is rewarded: reinforcement learning from its own answers.",
    "quantize": "Put a model's projections into 4 or 8 bits, for less memory wherever it is read.",
    "merge": "Merge an adapter into its base: a plain model, which needs neither.",
    "evaluate": "Measure models beside each other on held-out text, answers, preferences and minimal pairs.",
    "generate": "Continue a prompt.",
    "chat": "Talk with a model.",
}
"""What `hornbook --help` lists, without importing any stage (and so without torch)."""

NAMES = tuple(SUMMARIES)
MAKERS = tuple(name for name in NAMES if name not in ("plan", "inspect", "generate", "chat"))
"""The stages that make a folder, and so have a place in a recipe."""


def load(name: str) -> Stage:
    """The stage of that name: `hornbook.stages.<name>` has the function `<name>` and the config `<Name>`."""
    module = import_module(f"hornbook.stages.{name}")
    return Stage(
        name=name,
        config=getattr(module, name.capitalize()),
        function=getattr(module, name),
        makes=getattr(module, "MAKES", None),
        fingerprint=getattr(module, "fingerprint", None),
        shared=getattr(module, "SHARED", False),
    )
