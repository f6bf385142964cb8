from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from hornbook.report import render_recipe
from hornbook.report.adaptation import adaptation, adapted
from hornbook.report.folder import Run, load
from tests.report.conftest import make_run

DOMAIN, GENERAL = "bits_per_byte/domain", "bits_per_byte/general"
SCORES = {
    "base": {DOMAIN: 2.0, GENERAL: 1.5},
    "lora": {DOMAIN: 1.75, GENERAL: 1.625},
    "full": {DOMAIN: 1.5, GENERAL: 2.0},
}


def tree(runs: Path, *, scores: dict[str, dict[str, float]] = SCORES, replayed: str = "") -> dict[str, Path]:
    """A base, two ways of adapting it, and their scores."""
    made = {"base": make_run(runs, "pretrain", "model", table="base", results={"epochs": {"general": 1.0}})}
    for seconds, label in enumerate(("lora", "full"), 10):
        epochs = {"domain": 2.0, **({"general": 0.2} if label == replayed else {})}
        learned = {"results": {"epochs": epochs}, "seconds": float(seconds)}
        base = {"base": made["base"].name}
        made[label] = make_run(runs, "pretrain", "model", table=label, inputs=base, **learned)
    models = {f"models.{label}": made[label].name for label in scores}
    made["evaluate"] = make_run(runs, "evaluate", "scores", inputs=models, results={"models": scores})
    return made


def loaded(made: dict[str, Path]) -> list[Run]:
    return [load(folder, table=table, order=list(made)) for table, folder in made.items()]


def test_gain_and_loss_are_taken_beside_the_base(tmp_path: Path) -> None:
    rows = adapted(loaded(tree(tmp_path)))
    assert [(row.label, row.gained, row.lost, row.seconds) for row in rows] == [
        ("lora", 0.25, 0.125, 10.0),
        ("full", 0.5, 0.5, 11.0),
    ]
    assert rows[0].memory < rows[1].memory


def test_text_that_one_of_them_saw_again_is_no_domain(tmp_path: Path) -> None:
    rows = adapted(loaded(tree(tmp_path, replayed="full")))
    assert [(row.label, row.gained, row.lost) for row in rows] == [("lora", 0.25, 0.125), ("full", 0.5, 0.5)]


def test_the_picture_is_on_the_recipes_page(tmp_path: Path) -> None:
    made = tree(tmp_path)
    figure = adaptation(loaded(made))
    assert figure is not None
    ElementTree.fromstring(figure.picture)
    page = render_recipe("domain", made)
    assert "lora: gained 0.250, lost 0.125; full: gained 0.500, lost 0.500" in page
    assert "1 lora" in page
    assert "0.250 gained, 0.125 lost" in page


@pytest.mark.parametrize("left", [("base", "lora"), ("lora", "full")])
def test_without_two_adapted_and_their_base_there_is_none(tmp_path: Path, left: tuple[str, ...]) -> None:
    assert adaptation(loaded(tree(tmp_path, scores={label: SCORES[label] for label in left}))) is None


def test_without_other_text_there_is_none(tmp_path: Path) -> None:
    scores = {label: {DOMAIN: values[DOMAIN]} for label, values in SCORES.items()}
    assert adaptation(loaded(tree(tmp_path, scores=scores))) is None
