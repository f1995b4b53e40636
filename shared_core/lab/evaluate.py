"""Figures: how well predictions order prompts, and how far they can be believed.

In: what was predicted and what came out, as arrays over prompts. Out: plain numbers, or with
`with_intervals` a `Figure` each: the value and its 95 % bootstrap interval over prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypedDict

import numpy as np
import numpy.typing as npt

__all__ = [
    "BINS",
    "Figure",
    "auc",
    "brier",
    "calibration_error",
    "cost_quality",
    "equal_mass_bins",
    "recovery",
    "with_intervals",
]

BINS: Final = 15
"""Bins of the expected calibration error, as in Guo et al. 2017 (arXiv 1706.04599), but of equal
mass: with equal width most of them would be empty."""

Floats = npt.NDArray[np.floating[Any]]


class Figure(TypedDict):
    """A value with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


def recovery(order_by: Floats, gain: Floats) -> tuple[Floats, Floats]:
    """Return the curve of RouteLLM (Ong et al. 2024, arXiv 2406.18665, section 2.2).

    Prompts go to the strong model in the order of `order_by`, highest first; equal ones go
    together, between which the curve is straight (what a random order of them gives on average).

    Args:
        order_by: Predicted gain, n.
        gain: Score of the strong model minus that of the weak one, n.

    Returns:
        Share of the prompts that go to the strong model, from 0 to 1, and the share of the gap
        between the two models that is recovered; NaN where there is no gap.
    """
    _, group = np.unique(-np.asarray(order_by, float), return_inverse=True)
    share = np.concatenate([[0.0], np.cumsum(np.bincount(group))]) / len(group)
    recovered = np.concatenate([[0.0], np.cumsum(np.bincount(group, weights=gain))])
    gap = recovered[-1]
    return share, recovered / gap if gap > 0 else np.full(len(recovered), np.nan)


def cost_quality(order_by: Floats, gain: Floats) -> Floats:
    """Return APGR, CPT(50 %) and CPT(80 %) of an order of prompts, as RouteLLM defines them.

    APGR is the area under `recovery` (random: 0.5), CPT(x) the smallest share of prompts at which x
    of the gap is recovered; all NaN where the strong model is no better than the weak one.
    """
    share, recovered = recovery(order_by, gain)
    if np.isnan(recovered[-1]):
        return np.full(3, np.nan)
    area = np.sum(np.diff(share) * (recovered[1:] + recovered[:-1]) / 2)
    return np.array([area, *(_first_share(share, recovered, level) for level in (0.5, 0.8))])


def _first_share(share: Floats, recovered: Floats, level: float) -> float:
    after = int(np.argmax(recovered >= level))
    before = after - 1
    part = (level - recovered[before]) / (recovered[after] - recovered[before])
    return float(share[before] + part * (share[after] - share[before]))


def equal_mass_bins(predicted: Floats, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Return mean prediction, mean score and prompts of each of at most `BINS` bins."""
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return (
        np.array([predicted[part].mean() for part in parts]),
        np.array([scores[part].mean() for part in parts]),
        np.array([len(part) for part in parts], float),
    )


def calibration_error(predicted: Floats, scores: Floats) -> float:
    """Return the expected calibration error (ECE): the mean |prediction - score| over bins.

    Noise within bins adds to it: few prompts, and bootstrap samples of them, show more than there
    is, so its interval lies high.
    """
    expected, observed, prompts = equal_mass_bins(predicted, scores)
    return float(np.average(np.abs(expected - observed), weights=prompts))


def brier(predicted: Floats, scores: Floats) -> float:
    """Return the mean squared difference (Brier 1950): 0 is perfect, always 0.5 gives 0.25."""
    return float(np.mean((predicted - scores) ** 2))


def auc(predicted: Floats, scores: Floats) -> float:
    """Return the chance that a good answer (score 0.5 or more) was predicted above a bad one.

    Equal predictions count half; NaN where all answers are good, or all are bad.
    """
    good = np.asarray(scores) >= 0.5
    goods, bads = int(good.sum()), int((~good).sum())
    if not goods or not bads:
        return float("nan")
    _, place, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((rank[good].sum() - goods * (goods + 1) / 2) / (goods * bads))


def with_intervals(
    statistic: Callable[..., Any], *arrays: Floats, draws: int = 1000, seed: int = 0
) -> list[Figure]:
    """Return each figure of a statistic with its 95 % bootstrap interval over prompts.

    Args:
        statistic: Takes the arrays, returns one number or an array of them.
        arrays: Over the same n prompts.
        draws: Bootstrap samples.
        seed: Of the draws.
    """
    rng, n = np.random.default_rng(seed), len(arrays[0])
    value = np.atleast_1d(statistic(*arrays))
    drawn = np.empty((draws, len(value)))
    for draw in range(draws):
        rows = rng.integers(0, n, n)
        drawn[draw] = statistic(*(array[rows] for array in arrays))
    return [_figure(one, column) for one, column in zip(value, drawn.T, strict=True)]


def _figure(value: float, drawn: Floats) -> Figure:
    defined = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not len(defined):
        return {"value": None, "low": None, "high": None}
    low, high = np.quantile(defined, [0.025, 0.975])
    return {"value": round(float(value), 4), "low": round(low, 4), "high": round(high, 4)}
