"""Who proposes: candidates of which one is probably right where another is wrong.

In: a decision. Out: names, and how probably at least one of a team is right. What candidates have
in common is told by the decision's `overlaps`, where a predictor knows them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from math import erf, exp, sqrt
from statistics import NormalDist
from typing import Final

from shared_core.types import COMMON_OVERLAP, Decision, Estimate

__all__ = ["Team"]

_NORMAL: Final = NormalDist()
_SURE: Final = 1e-6  # a probability of 0 or 1 lies at no finite place
_FREE: Final = 1e-9  # USD or Wh: what costs nothing is compared by its gain
_PLACES: Final = tuple((z / 2, exp(-z * z / 8)) for z in range(-8, 9))
_WEIGHT: Final = sum(weight for _, weight in _PLACES)
"""A normal distribution at 17 places, with weights: as exact as a closed form would be here."""


class Team:
    """The candidates of one call, as proposers."""

    def __init__(self, decision: Decision) -> None:
        """Take what was predicted of each."""
        self._allowed = {e.candidate: e for e in decision.estimates}
        self._overlaps = decision.overlaps
        self._costs = _costs([self._allowed[name] for name in decision.allowed])

    def chosen(
        self,
        pool: Sequence[str],
        most: int,
        gain: float,
        *,
        first: str | None = None,
        max_usd: float | None = None,
    ) -> tuple[str, ...]:
        """Return who proposes, who is worth most first.

        The best is always one of them: by worth for money alone, cheap ones that know less together
        than the best alone would fill all places (Khuller, Moss and Naor 1999,
        https://doi.org/10.1016/S0020-0190(99)00031-9). Others are added as long as the probability
        that one of them is right grows, by most for what they cost first.

        Args:
            pool: Who may, weakest first.
            most: How many at most.
            gain: By how much that probability must grow, at least, for each.
            first: Who is one of them in any case, instead of the best.
            max_usd: What they are expected to cost together at most, in USD; one of unknown cost is
                not added then.
        """
        seed = first if first in pool else max(pool, key=self.quality, default=None)
        team = [] if seed is None else [seed]
        while team and len(team) < most:
            known, found = self.covers(team), list[tuple[float, str]]()
            for name in pool:
                if name in team or not self._affordable([*team, name], max_usd):
                    continue
                grows = self.covers([*team, name]) - known
                if grows >= gain:
                    found.append((grows / max(self._costs.get(name, 1.0), _FREE), name))
            if not found:
                break
            team.append(max(found, key=lambda one: one[0])[1])
        return tuple(team)

    def covers(self, names: Collection[str]) -> float:
        """Return how probably at least one of these is right, 0 to 1.

        Each is right where its ability passes how hard the prompt is for all of them: a normal
        distribution with one common factor (as Vasicek's of loans that fail together, 1987), whose
        share is the mean overlap of each two. For three models of four data sets that is off by .02
        to .04 (root mean square) with `COMMON_OVERLAP`, by .02 with overlaps from 200 prompts
        (examples.benchmarks.mixture).
        """
        pairs = list(combinations(names, 2))
        shared = sum(self._overlap(*pair) for pair in pairs) / max(1, len(pairs))
        bars = [_NORMAL.inv_cdf(_inside(1.0 - self.quality(name))) for name in names]
        wrong = 0.0
        for place, weight in _PLACES:
            for bar in bars:
                weight *= _below((bar - sqrt(shared) * place) / sqrt(1.0 - shared))
            wrong += weight
        return 1.0 - wrong / _WEIGHT

    def quality(self, name: str) -> float:
        """Return how probably a candidate is right by itself."""
        return self._allowed[name].quality

    def _overlap(self, one: str, other: str) -> float:
        return self._overlaps.get((one, other), COMMON_OVERLAP)

    def _affordable(self, names: Sequence[str], max_usd: float | None) -> bool:
        if max_usd is None:
            return True
        costs = [self._allowed[name].cost_usd for name in names]
        known = [cost for cost in costs if cost is not None]
        return len(known) == len(costs) and sum(known) <= max_usd


def _costs(estimates: Sequence[Estimate]) -> Mapping[str, float]:
    """Return what each costs, in USD, else in Wh, where that is known of all; else nothing."""
    for unit in ("cost_usd", "energy_wh"):
        costs = {e.candidate: getattr(e, unit) for e in estimates}
        if None not in costs.values():
            return costs
    return {}


def _inside(chance: float) -> float:
    return min(max(chance, _SURE), 1.0 - _SURE)


def _below(bar: float) -> float:
    return 0.5 * (1.0 + erf(bar / sqrt(2.0)))
