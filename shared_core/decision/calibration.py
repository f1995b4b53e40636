"""From a promise to a threshold: δ out of a calibration sample.

In: a policy, the candidates, and prompts whose predicted qualities (and, for `quality`, whose
scores) are known. Out: a `Threshold`: δ, and whether the sample bears it out.

`Policy(quality=q)` is learned, then tested (Angelopoulos et al., "Learn then Test", 2021,
arXiv 2110.01052): δ is walked up from 0 over levels that no score has touched, and the last one
before the first failure is kept, so that the chance of breaking the promise is at most ALPHA over
all levels together. At each level the null hypothesis is that for some candidate c the mean of
(score of the routed choice - q x score of c) is not over 0. It is rejected when it is for every c
(intersection-union), so that the best candidate need not be known. The promise is about the
average over traffic like the sample, not about each prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared_core.decision.policy import Policy, Threshold
from shared_core.errors import ConfigurationError, NotCalibratedError
from shared_core.types import CalibrationSample, Candidate

__all__ = ["ALPHA", "chance_of_none", "routed", "threshold"]

ALPHA: Final = 0.05
"""Chance that a promise does not hold although the sample bore it out."""

_LEVELS: Final = 100
_NOTHING: Final = 1e-9  # a sum that is none but for rounding
_HALVINGS: Final = 50  # to the last digits
_HOPELESS: Final = 0.45  # a chance from which no number of prompts can be told
_NORMAL: Final = NormalDist()

_Rates = tuple[float, float] | None
_Facts = tuple[str, bool | None, _Rates, _Rates]
"""Of a candidate: name, local, price, energy."""

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


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
        ConfigurationError: The sample holds what cannot be meant.
    """
    facts = tuple([(c.name, c.local, c.price, c.energy) for c in candidates])
    return _threshold(replace(policy, subject_to=()), facts, sample)


@lru_cache(maxsize=32)  # copies of a router with another setting need not walk again
def _threshold(policy: Policy, facts: tuple[_Facts, ...], sample: CalibrationSample) -> Threshold:
    """Do so by what counts, so that the cache keeps no model and hashes no constraint."""
    candidates = [
        Candidate(name, None, local=local, price=price, energy=energy)
        for name, local, price, energy in facts
    ]
    _check(sample)
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
    texts = np.arange(len(scores)) if sample.prompts is None else np.asarray(sample.prompts)
    return _by_quality(
        policy, candidates, predicted[known], objective[known], scores[known], texts[known], levels
    )


def _check(sample: CalibrationSample) -> None:
    """Refuse a sample from which nothing could be promised.

    Raises:
        ConfigurationError: A shape is wrong, or a prediction or a score is not from 0 to 1.
    """
    n, m = len(sample.predicted), len(sample.names)
    shapes = {"predicted": (n, m), "input_tokens": (n,), "output_tokens": (n, m)}
    shapes |= {"scores": (n, m), "prompts": (n,)}
    for name, shape in shapes.items():
        given = getattr(sample, name)
        if given is not None and np.shape(given) != shape:
            raise ConfigurationError(
                f"the calibration sample has {name} of shape {np.shape(given)}, not {shape}"
            )
    predicted = np.asarray(sample.predicted, float)
    if not ((predicted >= 0) & (predicted <= 1)).all():  # NaN neither
        raise ConfigurationError("the calibration sample has predictions that are not from 0 to 1")
    scores = np.asarray(0.0 if sample.scores is None else sample.scores, float)
    if ((scores < 0) | (scores > 1)).any():
        raise ConfigurationError("the calibration sample has scores that are not from 0 to 1")


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
    texts: npt.NDArray[np.integer[Any]],
    levels: Floats,
) -> Threshold:
    quality, kept, chance, rows = policy.quality or 0.0, None, 1.0, np.arange(len(scores))
    # A text that comes again tells nothing about other texts: its rows count as one, their mean.
    _, text, times = np.unique(texts, return_inverse=True, return_counts=True)
    for delta in levels:
        chosen = routed(policy, candidates, predicted, objective, float(delta))
        surplus = scores[rows, chosen][:, None] - quality * scores
        by_text = [np.bincount(text, column) / times for column in surplus.T]
        chance = max(chance_of_none(column, -quality) for column in by_text)
        if chance > ALPHA:
            break
        kept = float(delta)
    if kept is None:
        needed = _prompts_needed(len(times), chance)
        more = f": about {needed} more are needed" if needed else ""
        return _uncalibrated(
            policy, f"{len(times)} scored prompts are not enough data{more}", needed
        )
    return Threshold(kept, True, f"δ {kept:.3f} from {len(times)} scored prompts")


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


def chance_of_none(surplus: Floats, worst: float) -> float:
    """Return the p-value of "the mean surplus is not over 0".

    Gaffke's bound (Learned-Miller and Thomas, 2019, arXiv 1905.06208): the chance that a mean with
    random weights, uniform over all that sum to 1, is below 0, after the worst that can be was
    added to what was seen. For surpluses of two values it is the exact test of Clopper and Pearson;
    for many prompts it is that of Student; in between it is not proven, and no counterexample is
    known. The chance is Lugannani and Rice's (1980) for sums of exponential variables, which holds
    to a few thousandths from some ten prompts on; its leading term is Owen's empirical likelihood.

    Args:
        surplus: Of each prompt, n.
        worst: The lowest that a surplus can be, below 0.
    """
    values, counts = np.unique(np.append(surplus, worst), return_counts=True)
    if counts @ values <= _NOTHING:
        return 1.0
    tilt = _tilt(values, counts)
    seen = values / (1 + tilt * values)
    root = -math.sqrt(2 * float(counts @ np.log1p(tilt * values)))
    slope = -tilt * math.sqrt(float(counts @ seen**2))
    density = math.exp(-root * root / 2) / math.sqrt(2 * math.pi)
    return min(1.0, _NORMAL.cdf(root) + density * (1 / root - 1 / slope))


def _tilt(values: Floats, counts: Indices) -> float:
    """Return t at which the sum of x / (1 + t x) is 0, by halving; it falls in t."""
    low, high = 0.0, -1 / float(values[0])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if counts @ (values / (1 + middle * values)) > 0:
            low = middle
        else:
            high = middle
    return low


def _prompts_needed(prompts: int, chance: float) -> int | None:
    """Return how many more prompts would do if they are like those that are there."""
    if not 0 < chance < _HOPELESS:
        return None
    return max(
        1, math.ceil(prompts * ((_NORMAL.inv_cdf(ALPHA) / _NORMAL.inv_cdf(chance)) ** 2 - 1))
    )


def _objectives(
    policy: Policy, candidates: Sequence[Candidate], sample: CalibrationSample, columns: list[int]
) -> Floats:
    """Return cost + energy x usd_per_kwh in USD, prompts x candidates; NaN where unknown."""
    tokens_in = np.asarray(sample.input_tokens, float)[:, None]
    tokens_out = np.asarray(sample.output_tokens, float)[:, columns]

    def at(rates: list[Any]) -> Any:  # a meter tells its rates only after calls
        pairs = [rate if isinstance(rate, tuple) else (np.nan, np.nan) for rate in rates]
        known = np.array(pairs, float)
        return (tokens_in * known[:, 0] + tokens_out * known[:, 1]) * 1e-6

    total = at([c.price for c in candidates])
    if policy.usd_per_kwh:
        total = total + at([c.energy for c in candidates]) / 1000 * policy.usd_per_kwh
    if policy.usd_per_second:
        total = total * np.nan  # no predictor knows seconds yet
    return np.asarray(total, float)
