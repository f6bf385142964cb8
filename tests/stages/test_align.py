from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from hornbook.config import build
from hornbook.errors import Interrupted, UsageError
from hornbook.execute import execute
from hornbook.learn.preferences import LOSSES, REFERENCE_FREE
from hornbook.manifest import read_manifest
from hornbook.run import Run
from hornbook.stages import load
from hornbook.training import reference
from tests.stages.preferring import folder as folder
from tests.stages.preferring import judged, write

FIRST = {"dpo": math.log(2), "robust": math.log(2), "ipo": 25.0, "hinge": 1.0, "apo_zero": 1.0, "apo_down": 1.0,
         "kto": 0.5}  # fmt: skip
"""The loss while the policy is the reference."""


def made(**values: Any) -> Path:
    stage = load("align")
    given = {"base": "model", "rows": "pairs.jsonl", "length": 64, "batch": 8, "learning_rate": 3e-3} | values
    return execute(stage, build(stage.config, given, where="align"), runs=Path("runs"))


def recorded(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_teaches_what_is_preferred(folder: Path, loss: str) -> None:
    run = made(loss=loss, **({"rows": "judged.jsonl"} if loss == "kto" else {}))
    steps = [row for row in recorded(run) if "loss" in row]
    if loss in FIRST:
        assert steps[0]["loss"] == pytest.approx(FIRST[loss], abs=1e-4)
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert steps[-1]["margin"] > steps[0]["margin"]
    results = read_manifest(run).results
    told = "reward_auc" if loss == "kto" else "reward_accuracy"
    assert results["after"][told] == 1.0
    assert results["loss"]["name"] == loss
    if loss not in REFERENCE_FREE:
        assert results["before"][told] == 0.5
    if loss == "kto":
        assert {"kl", "margin"} <= steps[0].keys()
    else:
        before, after = (results[when]["preference_loss"] for when in ("before", "after"))
        assert before == pytest.approx(FIRST.get(loss, before), abs=1e-9)
        assert after < before
        sides = ("chosen", "rejected")
        assert all(
            f"{kind}/{side}" in steps[0] for kind in ("reward", "log_probability", "answer_tokens") for side in sides
        )
        assert steps[-1]["accuracy"] == 1.0


def test_micro_batches_do_not_change_ktos_loss(folder: Path) -> None:
    """Its estimate of the divergence is that of the whole step."""
    write("pairs.jsonl", *(json.loads(line) for line in Path("pairs.jsonl").read_text().splitlines()[:12]))
    losses = [[row["loss"] for row in recorded(made(loss="kto", micro=micro)) if "loss" in row] for micro in (1, 8)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize(
    ("good", "told"),
    [
        ("tf", None),
        ("t", r"\d+ good answers and 0 bad ones: the more numerous are what is learned from\n"),
        ("tttf", r"undesirable_weight = [23].\d+ would balance them"),
    ],
)
def test_judgements_out_of_balance_are_said(
    folder: Path, capsys: pytest.CaptureFixture[str], good: str, told: str | None
) -> None:
    rows = [json.loads(line) for line in Path("pairs.jsonl").read_text().splitlines()]
    write("judged.jsonl", *(judged(row, good=good[n % len(good)] == "t") for n, row in enumerate(rows)))
    counts = read_manifest(made(rows="judged.jsonl", loss="kto", epochs=0.1)).counts
    assert counts["good"] + counts["bad"] <= counts["answers"] == 100
    said = capsys.readouterr().err
    assert re.search(told, said) if told else "good answers" not in said


def test_kto_learns_from_pairs_too(folder: Path) -> None:
    manifest = read_manifest(made(loss="kto"))
    assert manifest.counts["answers"] == 200
    assert manifest.results["after"]["reward_auc"] == 1.0


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_stopped_and_gone_on_it_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    values = {"loss": loss, "lora": {"r": 2}}
    whole = made(**values)
    files = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file() and path.name != "report.html"}
    whole.rename("aside")
    asked = 0

    def computed(*given: Any, **named: Any) -> Any:
        nonlocal asked
        asked += 1
        return compute(*given, **named)

    compute = reference._asked
    monkeypatch.setattr(reference, "_asked", computed)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "stop_requested", lambda run: (run.scratch / "metrics.jsonl").read_text().count("loss") > 3)
        with pytest.raises(Interrupted):
            made(**values)
    again = made(**values)
    assert again.name == whole.name
    assert {name: (again / name).read_bytes() for name in files} == files
    assert asked == 1, "the reference is asked once"


def test_a_stored_reference_that_is_not_of_these_rows_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("pairs.jsonl", *(json.loads(line) for line in Path("pairs.jsonl").read_text().splitlines()[:50]))
    whole = made()
    weights = (whole / "model.safetensors").read_bytes()
    whole.rename("aside")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "stop_requested", lambda run: (run.scratch / "metrics.jsonl").read_text().count("loss") > 3)
        with pytest.raises(Interrupted):
            made()
    (stored,) = Path("runs").glob(".tmp-*/scratch/reference.safetensors")
    tensors = load_file(stored)
    save_file({name: tensor - 5 for name, tensor in tensors.items()}, stored, {"of": "other rows"})
    capsys.readouterr()
    assert (made() / "model.safetensors").read_bytes() == weights
    assert "reference.safetensors is of other rows or another model: computed anew" in capsys.readouterr().err


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_the_reference_is_asked_for_what_is_learned_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    groups: list[Any] = []

    def counted(run: Any, model: Any, asked: Any, **named: Any) -> Any:
        groups.extend(asked)
        return compute(run, model, asked, **named)

    compute = reference._asked
    monkeypatch.setattr(reference, "_asked", counted)
    made(loss=loss, epochs=0.15)
    # Of 100 pairs, of which some are held out: two steps of 8 pairs, or four of 8 answers and 8 mismatched ones.
    assert len(groups) == {"dpo": 16, "kto": 64}[loss]


def test_without_held_out_rows_nothing_is_measured_on_them(folder: Path) -> None:
    rows = [json.loads(line) for line in Path("pairs.jsonl").read_text().splitlines()]
    write("pairs.jsonl", *rows[:1])
    for loss in ("dpo", "kto", "simpo"):
        assert read_manifest(made(loss=loss, epochs=1)).results["after"].keys() <= {"reward_auc"}


def test_a_parameter_of_another_loss_is_refused_before_anything_is_read(folder: Path) -> None:
    Path("pairs.jsonl").write_text("")
    with pytest.raises(UsageError, match='loss = "dpo" has no gamma'):
        made(gamma=0.5)
