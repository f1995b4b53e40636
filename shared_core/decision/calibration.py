"""From a promise to a threshold: δ out of a calibration sample.

In: a policy, the candidates, and prompts whose predicted qualities (and, for `quality`, whose
scores) are known. Out: a `Threshold`: δ, and whether the sample bears it out.

`Policy(quality=q)` is learned, then tested (Angelopoulos et al., "Learn then Test", 2021,
arXiv 2110.01052): δ is walked up from 0 over levels that no score has touched, and the last one
before the first failure is kept, so that the chance of breaking the promise is at most ALPHA over
all levels together. At each level the null hypothesis is that for some candidate c the mean of
(score of the routed choice - q x score of c) is below 0. It is rejected when it is for every c
(intersection-union), so that the best candidate need not be known. Each test bets against the
hypothesis (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
2023, arXiv 2010.09686, section 4): valid at every sample size for prompts drawn alike, no normal
approximation. The promise is about the average over such traffic, not about each prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared_core.decision.policy import Policy, Threshold
from shared_core.errors import NotCalibratedError
from shared_core.types import CalibrationSample, Candidate

__all__ = ["ALPHA", "routed", "threshold"]

ALPHA: Final = 0.05
"""Chance that a promise does not hold although the sample bore it out."""

_LEVELS: Final = 100
_CAUTION: Final = 0.75  # largest share of the capital that one bet may lose; the paper's c
_SEED: Final = 0  # bets depend on the order of the prompts; tables come sorted

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@lru_cache(maxsize=32)  # copies of a router with another setting need not walk again
def threshold(
    policy: Policy, candidates: tuple[Candidate, ...], sample: CalibrationSample
) -> Threshold:
    """Return the δ that keeps the policy's promise on prompts like the sample's.

    Args:
        policy: With `quality` or `strong_share`.
        candidates: Weakest first. Without all of them in the sample nothing can be promised.
        sample: Predicted qualities, and scores where `quality` is to be kept.

    Raises:
        NotCalibratedError: The policy gives a `strong_share` and the sample lacks a candidate.
    """
    missing = [c.name for c in candidates if c.name not in sample.names]
    if missing:
        return _uncalibrated(policy, f"the calibration sample has no candidate {missing[0]!r}")
    columns = [sample.names.index(c.name) for c in candidates]
    predicted = np.asarray(sample.predicted, float)[:, columns]
    objective = _objectives(policy, candidates, sample, columns)
    levels = _levels(predicted)
    if policy.quality is None:
        return _by_share(policy, candidates, predicted, objective, levels)
    if sample.scores is None:
        return _uncalibrated(policy, "the calibration sample has no scores")
    scores = np.asarray(sample.scores, float)[:, columns]
    known = ~np.isnan(scores).any(axis=1)
    order = np.random.default_rng(_SEED).permutation(np.flatnonzero(known))
    return _by_quality(
        policy, candidates, predicted[order], objective[order], scores[order], levels
    )


def routed(
    policy: Policy,
    candidates: Sequence[Candidate],
    predicted: Floats,
    objective: Floats,
    delta: float,
) -> Indices:
    """Return which candidate `Policy.order` puts first, prompt by prompt.

    Args:
        policy: Its `prefer_local` counts.
        candidates: Weakest first, m of them.
        predicted: Predicted quality, prompts x m.
        objective: USD, prompts x m; NaN where unknown.
        delta: δ.
    """
    rows = np.arange(len(predicted))
    eligible = predicted >= predicted.max(axis=1, keepdims=True) - delta - 1e-9
    if policy.prefer_local:
        local = eligible & np.array([bool(c.local) for c in candidates])
        eligible = np.where(local.any(axis=1, keepdims=True), local, eligible)
    chosen = eligible.argmax(axis=1)
    for column in range(1, len(candidates)):
        # NaN is smaller than nothing: unknown costs leave the weaker one where it is.
        cheaper = objective[:, column] < objective[rows, chosen]
        chosen = np.where(eligible[:, column] & cheaper, column, chosen)
    return np.asarray(chosen, np.int64)


def _levels(predicted: Floats) -> Floats:
    """Return the δ to try: as many prompts change hands between one and the next."""
    if not len(predicted):
        return np.zeros(1)
    gaps = predicted.max(axis=1, keepdims=True) - predicted
    return np.unique(np.concatenate([[0.0], np.quantile(gaps, np.linspace(0, 1, _LEVELS))]))


def _by_quality(
    policy: Policy,
    candidates: Sequence[Candidate],
    predicted: Floats,
    objective: Floats,
    scores: Floats,
    levels: Floats,
) -> Threshold:
    quality, kept, capital, rows = policy.quality or 0.0, None, 1.0, np.arange(len(scores))
    for delta in levels:
        chosen = routed(policy, candidates, predicted, objective, float(delta))
        surplus = scores[rows, chosen][:, None] - quality * scores
        capital = min(_capital(column, quality) for column in surplus.T)
        if capital < 1 / ALPHA:
            break
        kept = float(delta)
    if kept is None:
        needed = _prompts_needed(len(scores), capital)
        more = f": about {needed} more are needed" if needed else ""
        return _uncalibrated(
            policy, f"{len(scores)} scored prompts are not enough data{more}", needed
        )
    return Threshold(kept, True, f"δ {kept:.3f} from {len(scores)} scored prompts")


def _by_share(
    policy: Policy,
    candidates: Sequence[Candidate],
    predicted: Floats,
    objective: Floats,
    levels: Floats,
) -> Threshold:
    """Return the smallest δ at which the share leaves the cheapest; at 1 all are eligible."""
    if not len(predicted):
        raise NotCalibratedError(f"policy: strong_share={policy.strong_share}: no prompts")
    cheapest = routed(policy, candidates, predicted, objective, 1.0)
    for delta in (*levels, 1.0):
        chosen = routed(policy, candidates, predicted, objective, float(delta))
        share = float((chosen != cheapest).mean())
        if share <= (policy.strong_share or 0.0):
            break
    note = f"δ {delta:.3f}: {share:.0%} of {len(predicted)} prompts leave the cheapest"
    return Threshold(float(delta), True, note)


def _uncalibrated(policy: Policy, why: str, needed: int | None = None) -> Threshold:
    if policy.quality is None:
        raise NotCalibratedError(f"policy: strong_share={policy.strong_share}: {why}")
    return Threshold(policy.delta(), False, why, needed)


def _capital(surplus: Floats, quality: float) -> float:
    """Return what betting on a mean surplus over 0 makes of a capital of 1, at its height.

    If the mean is not over 0, it reaches 1 / ALPHA with a chance of at most ALPHA (Ville's
    inequality).
    """
    if not len(surplus):
        return 1.0
    x = (surplus + quality) / (1 + quality)  # in 0 to 1, as scores are
    null = quality / (1 + quality)
    count = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (count + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (count + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    stake = np.sqrt(2 * math.log(1 / ALPHA) / (len(x) * before))
    growth = np.log1p(np.minimum(stake, _CAUTION / max(null, 1e-9)) * (x - null))
    return float(np.exp(min(700.0, np.cumsum(growth).max())))


def _prompts_needed(prompts: int, capital: float) -> int | None:
    """Return how many more prompts would do if the capital goes on growing as it has."""
    if capital <= 1.01:
        return None
    return max(1, math.ceil(prompts * (math.log(1 / ALPHA) / math.log(capital) - 1)))


def _objectives(
    policy: Policy, candidates: Sequence[Candidate], sample: CalibrationSample, columns: list[int]
) -> Floats:
    """Return cost + energy x usd_per_kwh in USD, prompts x candidates; NaN where unknown."""
    tokens_in = np.asarray(sample.input_tokens, float)[:, None]
    tokens_out = np.asarray(sample.output_tokens, float)[:, columns]

    def at(rates: list[tuple[float, float] | None]) -> Any:
        known = np.array([rate or (np.nan, np.nan) for rate in rates], float)
        return (tokens_in * known[:, 0] + tokens_out * known[:, 1]) * 1e-6

    total = at([c.price for c in candidates])
    if policy.usd_per_kwh:
        total = total + at([c.energy for c in candidates]) / 1000 * policy.usd_per_kwh
    if policy.usd_per_second:
        total = total * np.nan  # no predictor knows seconds yet
    return np.asarray(total, float)
