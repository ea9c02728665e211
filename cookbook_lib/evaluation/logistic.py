"""Logistic regression of "the first is better" on differences, for many bootstrap draws at once.

    β = argmin  sum_i w_i log(1 + exp(-x_i · β))  +  ridge / 2 · |β|²          x_i = features of chosen - of rejected

There is no intercept: swapping the answers turns x into -x and the label with it. Newton's method; a step that does not lower
the loss is halved. Calibration is the case of one feature (β = 1 / temperature), bias the case of two.
"""

import numpy as np

from cookbook_lib.evaluation.intervals import Weights
from cookbook_lib.evaluation.measure import Floats

STEPS, HALVINGS, TOLERANCE = 60, 30, 1e-9


def fit_logistic(x: Floats, weights: Weights, ridge: float = 0.0, start: Floats | None = None) -> Floats:
    """(draws, k) coefficients for x (n, k), features about 1 in size; NaN where Newton did not arrive.

    Where every row is on the right side of some β, and ridge is 0, the optimum is at infinity: ask before (calibration.py).
    start: (1, k) where to begin, as a rule the coefficients of the rows undrawn.
    """
    beta = np.zeros((len(weights), x.shape[1])) if start is None else np.repeat(start, len(weights), 0)
    size = weights.sum(1) * np.abs(x).max(initial=1.0)
    for _ in range(STEPS):
        gradient, curvature = _derivatives(beta, x, weights, ridge)
        active = np.abs(gradient).max(1) > TOLERANCE * size
        if not active.any():
            break
        step = _solve(curvature, gradient)
        step[~active] = 0.0
        beta = beta - _halved(beta, step, x, weights, ridge)
    gradient, _ = _derivatives(beta, x, weights, ridge)
    return np.where((np.abs(gradient).max(1) <= 1e3 * TOLERANCE * size)[:, None], beta, np.nan)


def _loss(beta: Floats, x: Floats, weights: Weights, ridge: float) -> Floats:
    return (weights * np.logaddexp(0.0, -(beta @ x.T))).sum(1) + ridge / 2 * (beta * beta).sum(1)


def _derivatives(beta: Floats, x: Floats, weights: Weights, ridge: float) -> tuple[Floats, Floats]:
    """(draws, k) gradient and (draws, k, k) curvature."""
    wrong = 0.5 * (1 - np.tanh(beta @ x.T / 2))  # (draws, n) = 1 - sigmoid, without overflow
    gradient = -(weights * wrong) @ x + ridge * beta
    outer = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    curvature = ((weights * wrong * (1 - wrong)) @ outer).reshape(len(beta), x.shape[1], x.shape[1])
    return gradient, curvature + ridge * np.eye(x.shape[1])


def _solve(curvature: Floats, gradient: Floats) -> Floats:
    """Newton's step; a curvature that has vanished is lifted, which shortens the step."""
    k = curvature.shape[1]
    lifted = curvature + 1e-12 * (1 + np.trace(curvature, axis1=1, axis2=2))[:, None, None] * np.eye(k)
    return np.linalg.solve(lifted, gradient[:, :, None])[:, :, 0]


def _halved(beta: Floats, step: Floats, x: Floats, weights: Weights, ridge: float) -> Floats:
    before = _loss(beta, x, weights, ridge)
    slack = 1e-12 * (1 + np.abs(before))
    for _ in range(HALVINGS):
        worse = _loss(beta - step, x, weights, ridge) > before + slack
        if not worse.any():
            break
        step = np.where(worse[:, None], step / 2, step)
    return step
