from __future__ import annotations

from xml.etree import ElementTree

from hornbook.report.charts import curves
from hornbook.report.overoptimization import overoptimization

ROWS = [
    {"step": 0, "held_out_kl": 0.0, "held_out_reward": 0.25, "held_out_length": 10.0},
    *({"step": step, "reward": 0.25 + step / 16} for step in range(1, 5)),
    {"step": 4, "held_out_kl": 0.04, "held_out_reward": 0.5, "held_out_length": 20.0},
    *({"step": step, "reward": 1.0} for step in range(5, 9)),
    {"step": 8, "held_out_kl": 0.25, "held_out_reward": 0.375, "held_out_length": 60.0},
]


def test_reward_is_drawn_over_the_distance_beside_what_was_learned_from() -> None:
    figure = overoptimization("reinforce", ROWS)
    assert figure is not None
    ElementTree.fromstring(figure.picture)
    assert dict(figure.legend) == {
        "held out": "0.25 to 0.375",
        "learned from": "0.4062 to 1",
        "KL": "0 to 0.25",
        "tokens of an answer": "10 to 60",
    }


def test_one_evaluation_is_no_line() -> None:
    assert overoptimization("reinforce", ROWS[:5]) is None


def test_it_is_among_the_curves_of_a_run() -> None:
    class Run:
        table, metrics, timings = "reinforce", ROWS, ()

    assert "Reward by distance" in [figure.title for figure in curves(Run())]
    Run.metrics = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    assert "Reward by distance" not in [figure.title for figure in curves(Run())]
