"""The law finds its own numbers again, predicts what it was not shown, and refuses what cannot be fitted."""

from itertools import product

import numpy as np
import pytest

from hornbook.errors import InputError
from hornbook.judge.scaling_law import Rung, ScalingLaw, error_of_largest, fit, predict

# Published for Chinchilla in nats per token (arXiv 2203.15556, appendix D.3), and one with numbers of our sizes.
CHINCHILLA = ScalingLaw(E=1.69, A=406.4, alpha=0.34, B=410.7, beta=0.28)
LAWS = {"chinchilla": CHINCHILLA, "small": ScalingLaw(E=1.2, A=55.0, alpha=0.38, B=90.0, beta=0.31)}


def ladder(law: ScalingLaw, *, noise: float = 0.0) -> list[Rung]:
    random = np.random.default_rng(0)
    return [
        Rung(parameters=n, tokens=n * r, loss=law.loss(parameters=n, tokens=n * r) * (1 + noise * random.normal()))
        for n, r in product((2e5, 6e5, 2e6, 5e6), (5, 10, 20))
    ]


@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_found_again_from_what_it_says(name):
    law, found = LAWS[name], fit(ladder(LAWS[name]))
    assert found.alpha == pytest.approx(law.alpha, abs=2e-3)
    assert found.beta == pytest.approx(law.beta, abs=2e-3)
    assert found.loss(parameters=4e7, tokens=8e8) == pytest.approx(law.loss(parameters=4e7, tokens=8e8), rel=1e-4)


@pytest.mark.parametrize("name", LAWS)
def test_four_times_larger_is_predicted_within_a_few_percent_from_noisy_rungs(name):
    found = predict(ladder(LAWS[name], noise=0.003), parameters=2e7, tokens=4e8)
    true = LAWS[name].loss(parameters=2e7, tokens=4e8)
    assert found.loss == pytest.approx(true, rel=0.05)
    assert found.low <= found.loss <= found.high
    assert found.low < found.high


def test_nothing_is_negative_where_data_say_so():
    falling = [
        Rung(parameters=n, tokens=t, loss=5.0 - 1e-7 * n)
        for n, t in [(1e6, 1e7), (2e6, 1e7), (4e6, 2e7), (8e6, 2e7), (9e6, 4e7)]
    ]
    law = fit(falling)
    assert min(law.E, law.A, law.B) >= 0


def test_the_largest_rung_is_predicted_from_the_others():
    rungs = ladder(CHINCHILLA)
    error = error_of_largest(rungs)
    assert error is not None
    assert abs(error) < 1e-3
    # Twice as bad as the others promise.
    largest = max(rungs, key=lambda rung: rung.flops)
    worse = [*(r for r in rungs if r is not largest), Rung(**{**vars(largest), "loss": 2 * largest.loss})]
    assert error_of_largest(worse) == pytest.approx(-0.5, abs=1e-3)
    assert error_of_largest(rungs[:5]) is None


def test_the_optimum_has_the_least_loss_of_its_flops():
    flops = 1e18
    n, d = CHINCHILLA.optimum(flops)
    assert 6 * n * d == pytest.approx(flops)
    best = CHINCHILLA.loss(parameters=n, tokens=d)
    assert all(best <= CHINCHILLA.loss(parameters=n * f, tokens=d / f) for f in (0.5, 0.9, 1.1, 2.0))


def test_too_little_is_refused():
    with pytest.raises(InputError, match="cannot be fitted to 4 models"):
        fit(ladder(CHINCHILLA)[:4])
    with pytest.raises(InputError, match="several sizes"):
        fit([Rung(parameters=1e6, tokens=t, loss=3.0) for t in (1e6, 2e6, 3e6, 4e6, 5e6)])
