"""What both fits share: folds by prompt, and a logistic regression under a prior."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["FOLDS", "folds_of", "map_logistic"]

FOLDS: Final = 5

Floats = npt.NDArray[np.floating[Any]]


def folds_of(prompts: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of each row; those of one prompt, by its number, are in one of them."""
    known, place = np.unique(prompts, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(known)) % FOLDS)[place]


def map_logistic(
    inputs: Floats,
    scores: Floats,
    prior_mean: Floats,
    prior_sd: Floats,
    *,
    positive: bool = True,
) -> tuple[Floats, Floats]:
    """Return the weights of a logistic regression under a Gaussian prior, and their covariance.

    Newton's method; scores between 0 and 1 count as shares. With `positive` all but the first stay
    at 0 or over: where they are parts that others have learned, noise would speak below.
    """
    weights, free = prior_mean.copy(), np.ones(len(prior_mean), bool)
    while True:
        weights[~free] = 0.0
        hessian = _newton(inputs[:, free], scores, weights, free, prior_mean[free], prior_sd[free])
        negative = np.flatnonzero(weights[1:] < 0) + 1
        if not positive or not len(negative):
            break
        free[negative] = False
    covariance = np.zeros((len(weights), len(weights)))
    covariance[np.ix_(free, free)] = np.linalg.inv(hessian)
    return weights, covariance


def _newton(
    inputs: Floats,
    scores: Floats,
    weights: Floats,
    free: npt.NDArray[np.bool_],
    prior_mean: Floats,
    prior_sd: Floats,
) -> Floats:
    """Move the free weights to the posterior's mode; return its Hessian there."""
    precision = np.diag(prior_sd**-2.0)
    for _ in range(50):
        quality = 1.0 / (1.0 + np.exp(-np.clip(inputs @ weights[free], -30, 30)))
        gradient = inputs.T @ (quality - scores) + precision @ (weights[free] - prior_mean)
        hessian = (inputs * (quality * (1 - quality))[:, None]).T @ inputs + precision
        step = np.linalg.solve(hessian, gradient)
        weights[free] -= step
        if np.abs(step).max() < 1e-8:
            break
    return hessian
