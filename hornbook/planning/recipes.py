"""A plan as a recipe: what `hornbook run` makes, with what was planned beside each table that trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from hornbook.errors import UsageError
from hornbook.planning.base import Base
from hornbook.planning.memory import expected
from hornbook.planning.methods import METHODS
from hornbook.planning.plan import EPOCHS, Option, Plan, vocabulary
from hornbook.planning.work import CONVERSATIONS, examples

Tables = dict[str, dict[str, Any]]


def write(plan: Plan, path: Path, *, source: Path) -> None:
    """Write the recipe.

    Raises:
        UsageError: the plan is to train nothing, or nothing that fits.
    """
    made = tomli_w.dumps(tables(plan, source=source))
    path.write_text(_remarks(plan) + made)


def tables(plan: Plan, *, source: Path) -> Tables:
    """The recipe's tables, in order."""
    option = plan.chosen
    if option is None:
        raise UsageError(
            f"the plan is to train nothing ({plan.decision.way}), so there is no recipe to write",
            hint=f"--method {plan.options[0].method} plans that all the same",
        )
    if not option.fits:
        raise UsageError(
            f"{option.title} does not fit {plan.machine.name}: it needs {option.needed / 1e9:.3g} GB",
            hint="another --gpu, a shorter --length, or --method qlora",
        )
    if plan.data.kind == "documents":
        return _pretraining(plan, option, source)
    if plan.base is None:
        raise UsageError(f"{source} holds conversations, and a new model learns from documents", hint="--base FOLDER")
    if plan.data.examples and not examples(plan.data, length=option.cell.length):
        raise UsageError(
            f"no conversation of {source} has an answer in its first {option.cell.length} tokens",
            hint=f"--length {plan.data.longest}",
        )
    return _finetuning(plan, plan.base, option, source)


def planned(plan: Plan, option: Option) -> dict[str, float]:
    """What a run is compared with: seconds, bytes and tokens a second."""
    return {
        "seconds": round(option.seconds(plan.tokens), 1),
        "memory": expected(option.memory, plan.machine, plan.data.kind),
        "memory_at_most": option.needed,
        "tokens_per_second": round(option.speed.tokens_per_second, 1),
    }


def _finetuning(plan: Plan, base: Base, option: Option, source: Path) -> Tables:
    table = {
        "base": str(base.folder),
        "rows": str(_one_file(source)),
        "epochs": round(min(EPOCHS["conversations"], plan.epochs), 3),
        "length": option.cell.length,
        "batch": CONVERSATIONS,
        "micro": option.cell.rows,
        # What has no answer within the length, or is no conversation, is counted and told, and the rest is learned.
        "bad_rows": "skip",
        **_shared(option),
        "planned": planned(plan, option),
    }
    return {"sft": table}


def _pretraining(plan: Plan, option: Option, source: Path) -> Tables:
    base = {"base": str(plan.base.folder)} if plan.base else {"depth": plan.depth}
    words = {"tokenizer": str(plan.base.folder)} if plan.base else {"vocabulary": vocabulary(plan.data)}
    return {
        "crawl": {"source": str(source)},
        # The text is the user's own, and wanted: duplicates go, and nothing is judged.
        "curate": {"filters": {}},
        "tokenize": words,
        "pretrain": {
            **base,
            "length": option.cell.length,
            "rows": option.cell.rows,
            "batch": max(1, option.step_tokens // option.cell.length),
            "train_tokens": round(plan.tokens),
            **_shared(option),
            "planned": planned(plan, option),
        },
    }


def _shared(option: Option) -> Mapping[str, Any]:
    again = {"recompute": True} if option.cell.recompute else {}
    method = METHODS[option.method]
    return {**method.options, **({"quantize": "nf4"} if method.four_bit else {}), **again}


def _one_file(source: Path) -> Path:
    """The rows of `sft` are one file."""
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*.json*") if path.is_file())
    if len(files) != 1:
        raise UsageError(
            f"{source} holds {len(files)} files of conversations, and `sft` takes one",
            hint=f"cat {source}/*.jsonl > rows.jsonl, and plan for that",
        )
    return files[0]


def _remarks(plan: Plan) -> str:
    """The decision as comments; where another method was asked for, that too."""
    assert plan.chosen is not None
    asked = () if plan.as_decided else (f"Planned all the same: {plan.chosen.title}",)
    lines = [f"Decided: {plan.decision.way}", *plan.decision.because, *asked]
    return "".join(f"# {line}\n" for line in lines) + "\n"
