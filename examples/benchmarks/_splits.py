"""Labelled prompts and the others: what a learner says of prompts that it has not seen.

In: a learner and a table. Out: predicted scores in the order of the prompts, one entry a seed; NaN
where a prompt was labelled. And figures over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

import shared_core.lab.fit as fit_module
from examples.benchmarks.baselines import Learner
from shared_core.lab.evaluate import Figure
from shared_core.lab.table import Outcomes
from shared_core.prediction import learned
from shared_core.prediction.features import features
from shared_core.prediction.prior import prompt_difficulty

Floats = np.ndarray[Any, Any]


def remember_features() -> None:
    """Compute the features of a text once: the scripts fit again and again on the same texts."""
    for name, function in (
        ("features", cache(features)),
        ("prompt_difficulty", cache(prompt_difficulty)),
    ):
        for module in (fit_module, learned):
            setattr(module, name, function)


def split(n: int, labels: int, seed: int) -> tuple[Floats, Floats]:
    """Return the places of the labelled prompts, drawn at random, and of all others."""
    order = np.random.default_rng(seed).permutation(n)
    return order[:labels], order[labels:]


def held_out(learner: Learner, table: Outcomes, labels: int, seed: int) -> Floats:
    """Learn from some prompts and predict all others, n x models."""
    chosen, others = split(len(table.prompts), labels, seed)
    found = np.full(table.scores.shape, np.nan)
    found[others] = _learned(learner, table, chosen, others)
    return found


def cross_fitted(learner: Learner, table: Outcomes, folds: int, seed: int) -> Floats:
    """Predict each fold from all others, n x models."""
    fold = np.random.default_rng(seed).permutation(len(table.prompts)) % folds
    found = np.empty(table.scores.shape)
    for one in range(folds):
        others = np.flatnonzero(fold == one)
        found[others] = _learned(learner, table, np.flatnonzero(fold != one), others)
    return found


def _learned(learner: Learner, table: Outcomes, chosen: Floats, others: Floats) -> Floats:
    predict = learner([table.prompts[row] for row in chosen], table.scores[chosen])
    return predict([table.prompts[row] for row in others])


def over_seeds(
    statistic: Callable[..., Any],
    seeds: list[tuple[Floats, ...]],
    draws: int,
    seed: int,
) -> list[Figure]:
    """Return the mean of a statistic over seeds, and what one seed gives in 95 % of the cases.

    Args:
        statistic: Takes the arrays of one seed, returns an array of numbers.
        seeds: The arrays of each, over its prompts.
        draws: Bootstrap samples: each of the prompts of a seed drawn at random.
        seed: Of the draws.
    """
    values = np.array([np.atleast_1d(statistic(*arrays)) for arrays in seeds])
    drawn = np.array([np.atleast_1d(one) for one in _drawn(statistic, seeds, draws, seed)])
    return [figure(float(v), d) for v, d in zip(values.mean(axis=0), drawn.T, strict=True)]


def _drawn(
    statistic: Callable[..., Any], seeds: list[tuple[Floats, ...]], draws: int, seed: int
) -> Iterator[Any]:
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        arrays = seeds[rng.integers(len(seeds))]
        rows = rng.integers(0, len(arrays[0]), len(arrays[0]))
        yield statistic(*(array[rows] for array in arrays))


def figure(value: float, drawn: Floats, digits: int = 4) -> Figure:
    """Return a value with the middle 95 % of what was drawn."""
    defined = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not len(defined):
        return {"value": None, "low": None, "high": None}
    low, high = np.quantile(defined, [0.025, 0.975])
    ends = {"value": value, "low": float(low), "high": float(high)}
    return {end: round(one, digits) for end, one in ends.items()}
