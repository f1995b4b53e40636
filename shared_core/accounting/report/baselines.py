"""What other ways to route would have cost, beside what was spent.

In: sums of a ledger's calls by group of conversations. Out: baselines and differences, each with a
95 % bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared_core.accounting.report.sums import Sums

__all__ = [
    "BASELINES",
    "UNKNOWN",
    "Comparison",
    "Figure",
    "best",
    "by_deal",
    "cheapest",
    "figure",
    "quotient",
    "ratio",
    "weights_of",
]

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]
Figure = dict[str, float | None]
"""A value with its 95 % interval, "low" and "high"; None where it is not known."""

BASELINES: Final = ("always-best", "always-cheapest", "random mix")
ENOUGH: Final = 10
"""Calls that a candidate must have answered alone before its estimates are corrected by them."""

UNKNOWN: Final[Figure] = {"value": None, "low": None, "high": None}


@dataclass(frozen=True)
class _Pieces:
    """What a comparison is made of, summed by group of conversations (g of them).

    Attributes:
        calls: How many are compared, g.
        spent: On them, low, mid and high, g x 3.
        others: What m candidates would have come to, as estimated, g x m x 3: of calls that they
            did not answer alone.
        own: What calls came to that they did, g x m x 3: no estimate is better.
        true: What calls came to that each answered alone, g x m.
        estimated: The same, as estimated, g x m; both 0 where those are too few to correct by.
        answered: Calls that each answered, g x m; None: each counts wholly, not with its share.
    """

    calls: Floats
    spent: Floats
    others: Floats
    own: Floats
    true: Floats
    estimated: Floats
    answered: Floats | None = None

    def drawn(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return what the baseline and what was spent come to, low, mid and high, for each draw.

        Each draw is brought back to as many calls as there are.
        """
        factors = quotient(weights @ self.true, weights @ self.estimated, otherwise=1.0)
        each = np.tensordot(weights, self.others, axes=1) * factors[:, :, None]
        each += np.tensordot(weights, self.own, axes=1)
        if self.answered is not None:
            answered = weights @ self.answered
            each *= quotient(answered, answered.sum(axis=1, keepdims=True))[:, :, None]
        baseline = each.sum(axis=1)
        scale = quotient(np.full(len(weights), self.calls.sum()), weights @ self.calls)
        return baseline * scale[:, None], (weights @ self.spent) * scale[:, None]


class Comparison:
    """What was spent in one unit, beside what others would have come to."""

    def __init__(self, found: Sums, unit: str, weights: Floats) -> None:
        self.found, self.unit, self.weights = found, unit, weights
        self.live = ~found.shadow
        if unit == "USD":
            self.spent = np.repeat(found.usd[:, None], 3, axis=1)
            self.others = np.repeat(found.other_usd[:, :, None], 3, axis=2)
            self.known, self.others_known = found.usd_known, found.other_usd_known
        else:
            self.spent, self.others = found.wh, found.other_wh
            self.known, self.others_known = found.wh_known, found.other_wh_known
        places = np.arange(len(found.names))
        self.by = found.candidate[:, None] == places
        self.chose = found.chosen[:, None] == places

    def saved(self, baseline: str, best: int | None, cheapest: int | None) -> dict[str, Any]:
        """Return the row of a baseline."""
        answered = self.live & self.found.answered
        shares = (self.by & answered[:, None]) * self.found.calls[:, None]
        used = np.flatnonzero(shares.sum(axis=0)).tolist()
        place = {"always-best": best, "always-cheapest": cheapest}.get(baseline)
        mixed = baseline == "random mix"
        members = used if mixed else [] if place is None else [place]
        compared = answered & self.known & self.others_known[:, members].all(axis=1)
        compared &= bool(members)
        # What was paid for calls without an answer counts against us: a baseline pays nothing.
        charged = compared | (self.live & ~self.found.answered & self.known)
        pieces = self._pieces(charged, np.tile(compared[:, None], len(members)), members)
        if mixed:
            pieces = replace(pieces, answered=self._by_deal(shares[:, members]))
        return {
            "baseline": baseline,
            "model": None if place is None else self.found.names[place],
            "unit": self.unit,
            **self._figures(pieces, bool(compared.any())),
            "left_out": self._calls(self.live & ~charged),
        }

    def shadow(self) -> dict[str, Any]:
        """Return what the choice would have saved in the calls of shadow mode."""
        shadow = self.found.shadow
        members = list(range(len(self.found.names)))
        chosen = self.chose & self.others_known
        compared = shadow & self.found.answered & self.known & chosen.any(axis=1)
        pieces = self._pieces(compared, chosen & compared[:, None], members)
        flipped = self._figures(pieces, bool(compared.any()), sign=-1)
        return {
            "baseline": "what answered",
            "unit": self.unit,
            **flipped,
            "left_out": self._calls(shadow & ~compared),
        }

    def _by_deal(self, values: npt.NDArray[Any]) -> Floats:
        return by_deal(self.found.deal, values, self.weights.shape[1])

    def _calls(self, mask: Masks) -> int:
        return int(self.found.calls[mask].sum())

    def _pieces(self, charged: Masks, compared: Masks, members: Sequence[int]) -> _Pieces:
        """Return the pieces of rows that are charged, and of these members that are compared."""
        found = self.found
        alone = (found.alone & self.known)[:, None] & self.by & self.others_known
        enough = (alone * found.calls[:, None]).sum(axis=0) >= ENOUGH
        own, alone = alone[:, members] & compared, (alone & enough)[:, members]
        others = self.others[:, members] * (compared & ~own)[:, :, None]
        return _Pieces(
            calls=self._by_deal(found.calls * charged),
            spent=self._by_deal(self.spent * charged[:, None]),
            others=self._by_deal(others),
            own=self._by_deal(self.spent[:, None] * own[:, :, None]),
            true=self._by_deal(self.spent[:, 1, None] * alone),
            estimated=self._by_deal(self.others[:, members, 1] * alone),
        )

    def _figures(self, pieces: _Pieces, known: bool, sign: int = 1) -> dict[str, Any]:
        """Return both sides and their difference, which is positive where we spent less.

        Args:
            pieces: What is compared.
            known: There is something to compare.
            sign: -1 where not what was spent but the other side is ours.
        """
        if not known:
            nothing = {"other": UNKNOWN, "spent": None, "saved": UNKNOWN, "share": UNKNOWN}
            return {**nothing, "method_low": None, "method_high": None, "calls": 0}
        groups = int((pieces.calls > 0).sum())
        others, spent = pieces.drawn(np.ones((1, len(pieces.calls))))
        many_others, many_spent = pieces.drawn(self.weights)
        saved, many_saved = sign * (others - spent)[0], sign * (many_others - many_spent)[:, 1]
        base, many_base = (others[0, 1], many_others[:, 1])
        if sign < 0:
            base, many_base = spent[0, 1], many_spent[:, 1]
        ends = sorted(saved[[0, 2]].tolist()) if self.unit == "Wh" else [None, None]
        return {
            "other": figure(others[0, 1], many_others[:, 1], groups),
            "spent": float(spent[0, 1]),
            "saved": figure(saved[1], many_saved, groups),
            "share": figure(ratio(saved[1], base), quotient(many_saved, many_base), groups),
            "method_low": ends[0],
            "method_high": ends[1],
            "calls": int(pieces.calls.sum()),
        }


def best(found: Sums) -> int | None:
    """Return the candidate with the highest mean predicted quality."""
    answered = ~found.shadow & found.answered
    total, calls = found.other_quality[answered].sum(axis=0), found.rated[answered].sum(axis=0)
    return int(quotient(total, calls, otherwise=-1.0).argmax()) if calls.any() else None


def cheapest(compared: Sequence[Comparison]) -> int | None:
    """Return the candidate with the lowest mean cost; by energy where no cost is known."""
    for one in compared:
        answered = one.live & one.found.answered
        counted = answered[:, None] & one.others_known
        calls = (counted * one.found.calls[:, None]).sum(axis=0)
        if calls.any():
            mean = quotient((one.others[:, :, 1] * counted).sum(axis=0), calls, np.inf)
            return int(mean.argmin())
    return None


def weights_of(groups: int, rng: np.random.Generator, draws: int) -> Floats:
    """Return how often each group of conversations is drawn, draws x groups."""
    if not groups:
        return np.zeros((draws, 0))
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=draws).astype(float)


def by_deal(deal: npt.NDArray[np.int64], values: npt.NDArray[Any], groups: int) -> Floats:
    """Return sums over the first axis by group of conversations."""
    summed = np.zeros((groups, *values.shape[1:]))
    np.add.at(summed, deal, values)
    return summed


def quotient(above: Floats, below: Floats, otherwise: float = np.nan) -> Floats:
    """Return one array over another, `otherwise` where that is not above 0."""
    shape = np.broadcast_shapes(above.shape, below.shape)
    result = np.full(shape, otherwise)
    np.divide(above, below, out=result, where=below > 0)
    return result


def ratio(above: float, below: float) -> float | None:
    """Return one number over another, None where that is 0."""
    return float(above / below) if below else None


def figure(value: float | None, drawn: Floats, groups: int) -> Figure:
    """Return a value with its 95 % interval, which one conversation alone does not have."""
    if value is None:
        return UNKNOWN
    defined = drawn[np.isfinite(drawn)]
    low, high = None, None
    if groups > 1 and len(defined):
        low, high = map(float, np.quantile(defined, [0.025, 0.975]))
    return {"value": float(value), "low": low, "high": high}
