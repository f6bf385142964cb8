"""A plan in words and in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hornbook.planning import cluster
from hornbook.planning.memory import CONTEXT, CPU_MARGIN, HOLES, MARGIN, MOST_PROCESS, expected
from hornbook.planning.plan import Option, Plan
from hornbook.planning.speed import COOLING, EFFICIENCY
from hornbook.report import wording

Json = dict[str, Any]


def as_json(plan: Plan, *, source: Path) -> Json:
    """Everything that was found, in plain values; bytes, seconds, tokens a second, dollars, kWh."""
    return {
        "data": _data(plan, source),
        "base": _base(plan),
        "machine": _machine(plan),
        "hours": plan.hours,
        "options": [_option(plan, option) for option in plan.options],
        "decision": {
            "way": plan.decision.way,
            "because": list(plan.decision.because),
            "would_change": list(plan.decision.would_change),
            "source": plan.decision.source,
        },
        "chosen": _chosen(plan),
        "gpus": [_share(plan, share) for share in plan.shares],
        "assumptions": _assumptions(plan),
    }


def _data(plan: Plan, source: Path) -> Json:
    found = {name: value for name, value in vars(plan.data).items() if name != "examples"}
    return {
        "source": str(source),
        **{name: dict(value) if hasattr(value, "items") else value for name, value in found.items()},
        "tokens": plan.data.tokens,
        "learned": plan.data.learned,
        "fertility": plan.data.fertility,
    }


def _base(plan: Plan) -> Json | None:
    base = plan.base
    if base is None:
        return None
    return {
        "folder": str(base.folder),
        "family": base.family,
        "parameters": base.parameters,
        "positions": base.architecture.max_position_embeddings,
        "weights": base.has_weights,
        "tokenizer": base.tokenizer is not None,
    }


def _machine(plan: Plan) -> Json:
    machine = plan.machine
    return {
        "name": machine.name,
        "kind": machine.kind,
        "memory": machine.memory,
        "precision": machine.precision,
        "flops_per_second": machine.rate,
        "bandwidth": machine.bandwidth,
        "watts": machine.watts,
        "dollars_per_hour": machine.price,
        "measured": machine.measured,
        "note": machine.note,
    }


def _option(plan: Plan, option: Option) -> Json:
    return {
        "method": option.method,
        "title": option.title,
        "learns": option.learns,
        "fits": option.fits,
        "needed": option.needed,
        "peak": option.memory.peak,
        "expected": expected(option.memory, plan.machine, plan.data.kind),
        "phase": option.memory.phase,
        "kinds": option.memory.kinds,
        "phases": {phase: kinds.total() for phase, kinds in option.memory.phases.items()},
        "merging": option.memory.merging,
        "host": option.memory.host,
        "rows": option.cell.rows,
        "length": option.cell.length,
        "recompute": option.cell.recompute,
        "tokens_per_second": option.speed.tokens_per_second,
        "probed": option.speed.probed,
        "hours_buy": option.hours_buy,
        "seconds_an_epoch": option.seconds(plan.data.tokens),
    }


def _chosen(plan: Plan) -> Json | None:
    if plan.chosen is None or plan.bill is None:
        return None
    return {
        "method": plan.chosen.method,
        "tokens": plan.tokens,
        "epochs": plan.epochs,
        "depth": plan.depth,
        "seconds": plan.bill.hours * 3600,
        "kilowatt_hours": plan.bill.kilowatt_hours,
        "dollars": plan.bill.dollars,
    }


def _share(plan: Plan, share: cluster.Share) -> Json:
    cost = share.bill(plan.tokens or plan.data.tokens, plan.machine)
    return {**vars(share), "hours": cost.hours, "dollars": cost.dollars}


def _assumptions(plan: Plan) -> list[str]:
    cpu = plan.machine.kind == "cpu"
    efficiency = EFFICIENCY.get(plan.machine.kind, 0.4)
    besides = (
        f"{HOLES:.0%} of what passes for holes in the heap, {CPU_MARGIN:.0%} to be sure, "
        f"{MOST_PROCESS / 1e6:.0f} MB of the process"
        if cpu
        else f"{MARGIN:.0%} to be sure, {CONTEXT / 1e6:.0f} MB of CUDA"
    )
    rate = "measured now" if plan.machine.measured else "of the data sheet"
    told = [
        f"memory: counted, plus {besides}",
        f"time: {plan.machine.rate / 1e12:.3g} tera-FLOPs a second in {plan.machine.precision}, {rate}, "
        f"of which training reaches {efficiency:.0%}",
        f"energy: {plan.machine.watts:.0f} W, times {COOLING} for the rest of the computer",
    ]
    if plan.chosen and plan.chosen.speed.probed:
        told[1] = "time: by a probe of the training itself on this machine"
    if plan.machine.price:
        told.append(f"money: {plan.machine.price:.2f} dollars an hour, about what clouds ask")
    return told


def as_text(plan: Plan, *, source: Path) -> str:
    """The plan for a person at a terminal."""
    parts = [_facts(plan, source), _table(plan), _shares(plan), _decision(plan)]
    return "\n\n".join(part for part in parts if part)


def dumped(plan: Plan, *, source: Path) -> str:
    """The plan for a program."""
    return json.dumps(as_json(plan, source=source), indent=1)


def _facts(plan: Plan, source: Path) -> str:
    data, base, machine = plan.data, plan.base, plan.machine
    share = max(data.languages.values(), default=0.0)
    lines = [
        f"data     {source}: {count(data.documents)} {data.kind}, {size(data.bytes)}, about {count(data.tokens)} "
        "tokens",
        f"         {share:.0%} {data.language}; duplicates: {data.exact_duplicates:.1%} exact, "
        f"{data.near_duplicates:.1%} near; {data.bytes_per_token:.2f} bytes a token, "
        f"{data.general_bytes_per_token:.2f} in general text",
    ]
    if data.bits_per_byte is not None and data.general_bits_per_byte is not None:
        lines.append(
            f"         the base needs {data.bits_per_byte:.2f} bits a byte, and "
            f"{data.general_bits_per_byte:.2f} for general text"
        )
    for name, leaked in data.leaks.items():
        lines.append(f"         {count(leaked)} share a run of 13 words with {name}")
    if data.malformed:
        lines.append(f"         {count(data.malformed)} rows or records cannot be read")
    if base:
        there = "weights are there" if base.has_weights else "no weights there: shapes are enough"
        lines.append(
            f"base     {base.folder}: {base.family}, {count(base.parameters)} parameters, "
            f"{base.architecture.max_position_embeddings:,} positions; {there}"
        )
    note = f" ({machine.note})" if machine.note else ""
    lines.append(
        f"machine  {machine.name}{note}: {size(machine.memory)}, {machine.rate / 1e12:.3g} tera-FLOPs a second in "
        f"{machine.precision}, {machine.bandwidth / 1e9:.3g} GB a second"
    )
    return "\n".join(lines)


def _table(plan: Plan) -> str:
    rows = [("way", "learns", "needs", "fits", "rows x length", "tokens/s", "an epoch", f"{plan.hours:g} h buy")]
    for one in plan.options:
        shape = f"{one.cell.rows} x {one.cell.length}" + (", recomputed" if one.cell.recompute else "")
        rate = count(one.speed.tokens_per_second) + (", measured" if one.speed.probed else "")
        epochs = epochs_of(one.hours_buy / plan.data.tokens) if one.fits else ""
        time = duration(one.seconds(plan.data.tokens)) if one.fits else ""
        fits = "yes" if one.fits else "no"
        rows.append(
            (one.title, count(one.learns), size(one.needed), fits, shape, rate if one.fits else "", time, epochs)
        )
    return _columns(rows)


def _shares(plan: Plan) -> str:
    if not plan.shares:
        return ""
    rows = [("GPUs", "sharding", "each needs", "fits", "tokens/s", "dollars")]
    for one in plan.shares:
        cost = one.bill(plan.tokens or plan.data.tokens, plan.machine)
        fits = "yes" if one.fits else "no"
        rows.append(
            (str(one.gpus), one.sharding, size(one.per_gpu), fits, count(one.tokens_per_second), f"{cost.dollars:,.2f}")
        )
    return _columns(rows)


def _decision(plan: Plan) -> str:
    lines = [f"decision: {plan.decision.way}", *(f"  because {reason}" for reason in plan.decision.because)]
    lines += [f"  it would change: {what}" for what in plan.decision.would_change]
    lines.append(f"  source: {plan.decision.source}")
    if plan.chosen and plan.bill and plan.chosen.fits:
        lines.append(
            f"  {_way(plan)} {count(plan.tokens)} tokens ({epochs_of(plan.epochs)}) in "
            f"{duration(plan.bill.hours * 3600)}, {plan.bill.kilowatt_hours:.2g} kWh"
            + (f", {plan.bill.dollars:.2f} dollars" if plan.bill.dollars else "")
        )
    return "\n".join([*lines, "", *(f"assumed: {one}" for one in _assumptions(plan))])


def _way(plan: Plan) -> str:
    """What is planned, in words; and whether it is what was decided."""
    assert plan.chosen is not None
    layers = f" of {plan.depth} layer{'s' if plan.depth != 1 else ''}" if plan.depth else ""
    asked = "" if plan.as_decided else ", as --method asks,"
    return f"planned: {plan.chosen.title}{layers}{asked} on"


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def size(value: float) -> str:
    """Bytes, as `report.wording` has them, with plain spaces."""
    return wording.size(value).replace("\u00a0", " ")


def count(value: float) -> str:
    """A number, the same way."""
    return wording.compact(value).replace("\u00a0", " ")


def duration(seconds: float) -> str:
    """A time, the same way."""
    return wording.duration(seconds).replace("\u00a0", " ")


def epochs_of(value: float) -> str:
    """How often data are read, in words."""
    told = f"{value:.2g}" if value < 10 else f"{value:,.0f}"
    return f"{told} epoch{'' if told == '1' else 's'}"
