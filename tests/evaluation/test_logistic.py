"""The vectorised Newton finds what a library's optimiser finds, draw by draw."""

import numpy as np
import pytest
from scipy.optimize import minimize

from cookbook_lib.evaluation.logistic import fit_logistic


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_each_draw_is_at_its_own_optimum(ridge):
    random = np.random.default_rng(0)
    x = random.normal(0.3, 1, (80, 2)) * [1, 3]
    weights = random.integers(0, 4, (5, 80)).astype(float)
    found = fit_logistic(x, weights, ridge)
    for beta, drawn in zip(found, weights, strict=True):
        best = minimize(lambda b, w=drawn: w @ np.logaddexp(0, -(x @ b)) + ridge / 2 * b @ b, np.zeros(2), tol=1e-10)
        assert beta == pytest.approx(best.x, abs=1e-4)


def test_an_outlier_does_not_throw_newton_off():
    x = np.array([[1.0], [-0.9], [60.0], [0.1]])
    beta = fit_logistic(x, np.ones((1, 4)))[0, 0]
    gradient = (x[:, 0] * (1 / (1 + np.exp(x[:, 0] * beta)))).sum()
    assert gradient == pytest.approx(0, abs=1e-6)
