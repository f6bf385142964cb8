"""Each loss against its equation, written out again here by the paper, and against numbers of TRL.

Those numbers are what the code of TRL 1.16.0 gave for `CHOSEN` and `REJECTED` in fp32: `DPOTrainer._compute_loss`
(sigmoid, robust, ipo, hinge, apo_zero, apo_down), `CPOTrainer.cpo_loss` (sigmoid with label smoothing; simpo),
`ORPOTrainer.odds_ratio_loss` (to which ORPO adds the likelihood), `KTOTrainer._compute_loss`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import UsageError
from hornbook.learn.preferences import LOSSES, REFERENCE_FREE, Answers, bradley_terry, choose, knobs, kto

CHOSEN = [(-12.5, -13.0, 5), (-30.25, -29.0, 11), (-8.0, -9.0, 4), (-41.0, -45.0, 20)]
REJECTED = [(-14.0, -12.0, 7), (-22.5, -24.0, 8), (-9.5, -9.25, 4), (-60.0, -52.0, 31)]
"""log pi, log ref, tokens"""
MISMATCHED = [(-20, -21), (-33, -33.5), (-10, -9), (-50, -53), (-15, -15.5), (-28, -27), (-11, -11.25), (-70, -70)]
"""log pi and log ref of answers to other prompts."""
Side = tuple[float, float, int]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def preferred(won: Side, lost: Side, *, beta: float) -> float:
    """DPO's p(y_w > y_l | x), eq. 6 of its paper: 1 / (1 + exp(beta log(pi/ref)(lost) - beta log(pi/ref)(won)))."""
    return 1 / (1 + math.exp(beta * math.log(ratio(lost)) - beta * math.log(ratio(won))))


def ratio(side: Side) -> float:
    """pi(y | x) / ref(y | x)"""
    return math.exp(side[0]) / math.exp(side[1])


def dpo(won: Side, lost: Side, *, beta: float, label_smoothing: float) -> float:
    p = preferred(won, lost, beta=beta)
    return -(1 - label_smoothing) * math.log(p) - label_smoothing * math.log(1 - p)


def robust(won: Side, lost: Side, *, beta: float, label_smoothing: float) -> float:
    right, wrong = (-math.log(preferred(*sides, beta=beta)) for sides in ((won, lost), (lost, won)))
    return ((1 - label_smoothing) * right - label_smoothing * wrong) / (1 - 2 * label_smoothing)


def ipo(won: Side, lost: Side, *, beta: float) -> float:
    h = math.log(ratio(won)) / won[2] - math.log(ratio(lost)) / lost[2]
    return (h - 1 / (2 * beta)) ** 2


def hinge(won: Side, lost: Side, *, beta: float) -> float:
    return max(0.0, 1 - (beta * math.log(ratio(won)) - beta * math.log(ratio(lost))))


def apo_zero(won: Side, lost: Side, *, beta: float) -> float:
    return -sigmoid(beta * math.log(ratio(won))) + sigmoid(beta * math.log(ratio(lost))) + 1


def apo_down(won: Side, lost: Side, *, beta: float) -> float:
    r = math.log(ratio(won))
    return sigmoid(beta * r) - sigmoid(beta * (r - math.log(ratio(lost)))) + 1


def orpo(won: Side, lost: Side, *, beta: float) -> float:
    p, q = (math.exp(side[0] / side[2]) for side in (won, lost))
    odds_ratio = (p / (1 - p)) / (q / (1 - q))
    return -math.log(p) + beta * -math.log(sigmoid(math.log(odds_ratio)))


def simpo(won: Side, lost: Side, *, beta: float, gamma: float) -> float:
    return -math.log(sigmoid(beta / won[2] * won[0] - beta / lost[2] * lost[0] - gamma))


ORPO = 0.07344155758619308 + sum(-p / n for p, _, n in CHOSEN) / 4
TABLE: list[tuple[str, Mapping[str, float], Callable[..., float], float]] = [
    ("dpo", {"beta": 0.1, "label_smoothing": 0.0}, dpo, 0.577972948551178),
    ("dpo", {"beta": 0.5, "label_smoothing": 0.0}, dpo, 0.5708795189857483),
    ("dpo", {"beta": 0.1, "label_smoothing": 0.2}, dpo, 0.6429729461669922),
    ("robust", {"beta": 0.1, "label_smoothing": 0.1}, robust, 0.5373479127883911),
    ("robust", {"beta": 0.5, "label_smoothing": 0.3}, robust, -0.6478705406188965),
    ("ipo", {"beta": 0.1}, ipo, 22.998878479003906),
    ("hinge", {"beta": 0.1}, hinge, 0.7250000238418579),
    ("apo_zero", {"beta": 0.1}, apo_zero, 0.9216042160987854),
    ("apo_down", {"beta": 0.1}, apo_down, 0.95284104347229),
    ("orpo", {"beta": 0.1}, orpo, ORPO),
    ("simpo", {"beta": 2.0, "gamma": 1.0}, simpo, 1.4154953956604004),
    ("simpo", {"beta": 2.5, "gamma": 0.5}, simpo, 1.1124351024627686),
]
"""One row a loss and setting: what the paper says, and TRL's mean over the four pairs."""


def answers(sides: list[Side], **of: Any) -> Answers:
    policy, reference, tokens = (torch.tensor(column, **of) for column in zip(*sides, strict=True))
    return Answers(policy=policy, reference=reference, tokens=tokens)


@pytest.mark.parametrize(("name", "values", "equation", "trl"), TABLE, ids=[f"{r[0]}-{r[1]}" for r in TABLE])
def test_a_loss_is_its_equation_and_trls_number(
    name: str, values: Mapping[str, float], equation: Callable[..., float], trl: float
) -> None:
    sides = [answers(s, dtype=torch.float64) for s in (CHOSEN, REJECTED)]
    total, count = LOSSES[name](*sides, **values)
    expected = math.fsum(equation(won, lost, **values) for won, lost in zip(CHOSEN, REJECTED, strict=True))
    assert count.item() == 4
    assert total.item() == pytest.approx(expected, rel=1e-12)
    assert total.item() / 4 == pytest.approx(trl, rel=1e-6)


def test_every_loss_on_pairs_has_a_row() -> None:
    assert {row[0] for row in TABLE} | {"kto"} == LOSSES.keys()
    assert all(row[1].keys() == knobs(row[0]).keys() for row in TABLE)


@pytest.mark.parametrize(
    ("values", "shift", "trl"),
    [
        ({"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}, 0, 0.46096140146255493),
        ({"beta": 0.2, "desirable_weight": 1.33, "undesirable_weight": 0.8}, 0, 0.46784305572509766),
        ({"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}, -10, 0.4608021378517151),
    ],
)
def test_kto_is_its_equation_and_trls_number(values: Mapping[str, float], shift: float, trl: float) -> None:
    judged = answers([*CHOSEN, *REJECTED], dtype=torch.float64)
    good = torch.arange(8) < 4
    kl = sum(p + shift - r for p, r in MISMATCHED) / 8
    total, count = kto(judged, good, torch.tensor(kl, dtype=torch.float64), **values)
    beta, z, expected = values["beta"], max(0.0, kl), []
    for place, side in enumerate([*CHOSEN, *REJECTED]):
        r = math.log(ratio(side))
        if place < 4:
            expected.append(values["desirable_weight"] * (1 - sigmoid(beta * (r - z))))
        else:
            expected.append(values["undesirable_weight"] * (1 - sigmoid(beta * (z - r))))
    assert count.item() == 8
    assert total.item() == pytest.approx(math.fsum(expected), rel=1e-12)
    assert total.item() / 8 == pytest.approx(trl, rel=1e-6)


@given(st.lists(st.floats(-50, -0.5), min_size=2, max_size=2), st.integers(1, 30))
def test_no_policy_but_the_reference_is_indifferent(log_probabilities: list[float], tokens: int) -> None:
    sides = [answers([(value, value, tokens)], dtype=torch.float64) for value in log_probabilities]
    known = {"dpo": math.log(2), "robust": math.log(2), "ipo": 25.0, "hinge": 1.0, "apo_zero": 1.0, "apo_down": 1.0}
    for name, value in known.items():
        assert LOSSES[name](*sides)[0].item() == pytest.approx(value)


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"kto"}))
def test_a_step_down_the_gradient_widens_the_margin(name: str) -> None:
    policy = torch.tensor([[-12.0], [-12.5]], requires_grad=True)
    tokens = torch.tensor([6.0])
    sides = [Answers(policy=p, reference=torch.tensor([-12.25]), tokens=tokens) for p in policy]
    LOSSES[name](*sides)[0].backward()
    assert policy.grad is not None
    assert policy.grad[0].item() < policy.grad[1].item()


def test_orpo_is_finite_where_an_answer_is_certain() -> None:
    policy = torch.tensor([[0.0], [-3.0]], requires_grad=True)
    sides = [Answers(policy=p, reference=None, tokens=torch.ones(1)) for p in policy]
    total, _ = LOSSES["orpo"](*sides)
    total.backward()
    assert total.isfinite()
    assert policy.grad is not None
    assert policy.grad.isfinite().all()


def test_a_parameter_that_a_loss_has_not_is_refused() -> None:
    loss, values = choose("simpo", {"beta": None, "gamma": 0.5, "label_smoothing": None})
    assert values == {"beta": 2.0, "gamma": 0.5}
    sides = [answers(s) for s in (CHOSEN, REJECTED)]
    assert torch.equal(loss(*sides)[0], LOSSES["simpo"](*sides, beta=2.0, gamma=0.5)[0])
    with pytest.raises(UsageError, match='loss = "ipo" has no label_smoothing') as refused:
        choose("ipo", {"label_smoothing": 0.1})
    assert refused.value.hint == 'label_smoothing is a parameter of dpo, robust; "ipo" has beta'


def test_those_without_a_reference_need_none() -> None:
    for name in REFERENCE_FREE:
        sides = [Answers(policy=torch.tensor([-5.0]), reference=None, tokens=torch.tensor([n])) for n in (4, 6)]
        assert LOSSES[name](*sides)[0].isfinite()


def test_bradley_terry_is_its_equation() -> None:
    chosen, rejected = [2.0, -1.0, 0.5], [1.0, 1.0, 0.5]
    total, count = bradley_terry(*(torch.tensor(side, dtype=torch.float64) for side in (chosen, rejected)))
    odds = [math.exp(c) / (math.exp(c) + math.exp(r)) for c, r in zip(chosen, rejected, strict=True)]
    assert count.item() == 3
    assert total.item() == pytest.approx(-math.fsum(map(math.log, odds)), rel=1e-14)
    assert bradley_terry(torch.tensor([-1e4]), torch.tensor([0.0]))[0].item() == 1e4
