"""What is at stake at each rung: whether a draft pays, how good it has to be, who is best.

In: a decision's estimates, then what became of each draft. Out: names and probabilities. All of it
follows from three numbers per candidate: predicted quality, cost, and how far verifiers move it.
"""

from __future__ import annotations

from math import erfc, sqrt
from typing import Final

from shared_core.strategies.verifiers.base import logit
from shared_core.types import Decision, Estimate

__all__ = ["Stakes"]

_SHARED: Final = 0.2
"""By what share a better model is less often right where the draft is wrong. On prompts that a
weaker model gets wrong, stronger ones are right 28 % (10 to 90 % of pairs: 16 to 40 %) less often
than on all on MMLU-Pro, and 12 % (0 to 26 %) on hard mathematics (train_answers_*: 12 and 18
models, pairs that differ by 5 points and more)."""

_SPREAD: Final = 1.5
"""Standard deviation, in log odds, by which verifiers move the probability of a draft."""

_LEAST: Final = 0.05
"""Chance of being accepted under which a draft is not begun, or not continued."""


_DEAREST: Final = 2.0
"""Times what is usual: one endless draft must not pass for that."""


class Stakes:
    """The candidates of one call, as they are seen while drafts are made."""

    def __init__(self, decision: Decision, accept: float | None) -> None:
        """Begin with what was predicted."""
        estimates = {e.candidate: e for e in decision.estimates}
        self._allowed = {name: estimates[name] for name in decision.allowed}
        self._others = [n for n in decision.fallbacks if n not in self._allowed]
        self._delta, self._accept = decision.delta, accept
        self._learned: dict[str, float] = {}

    def of(self, name: str) -> Estimate:
        """Return what was predicted of a candidate."""
        return self._allowed[name]

    def best(self, tried: frozenset[str]) -> str | None:
        """Return who is left to answer: the best by prediction, those that rest last."""
        left = [name for name in self._allowed if name not in tried]
        if left:
            return max(left, key=lambda name: self._allowed[name].quality)
        return next((name for name in self._others if name not in tried), None)

    def bar(self, name: str, tried: frozenset[str], written: int | None = None) -> float:
        """Return the probability from which a draft of this candidate is good enough.

        Args:
            name: Whose draft.
            tried: Who has been asked.
            written: Tokens of the draft, once it is there: one that is longer than expected says
                that the best one's answer will be long, too, and dear, so it may be δ times half
                of both lengths' ratio and half of 1 worse. On answers of 8 models to MMLU-Pro and
                hard mathematics that spends the same money better than δ alone in four pairs of
                four (APGR .621, .566, 1.02 and .57 against .597, .551, 1.01 and .54).

        The best candidate left is right with probability a where the draft is right and b where it
        is wrong, p * a + (1 - p) * b in all; the draft is good enough where its own p is no more
        than δ below that, which is so from p = (b - δ) / (1 - a + b) on.
        """
        if self._accept is not None:
            return self._accept
        best = self.best(tried | {name})
        if best is None or best not in self._allowed:
            return 0.0
        right, wrong = _given(self.expected(best), self._allowed[name].quality)
        slope, delta = 1.0 - right + wrong, self._delta * self._dearness(name, written)
        return min(1.0, max(0.0, (wrong - delta) / slope)) if slope > 0 else 0.0

    def next_draft(self, tried: frozenset[str], first: str | None = None) -> str | None:
        """Return the weakest candidate not tried yet whose draft pays, or None.

        Args:
            tried: Who has been asked.
            first: Who drafts before all others, whatever it costs; the best has nobody to be
                judged against, so it answers.
        """
        best = self.best(tried)
        if first is not None and first in self._allowed and first not in tried:
            return None if first == best else first
        for name in self._allowed:  # weakest first
            if name not in tried and name != best and self._pays(name, best, tried):
                return name
        return None

    def expected(self, name: str) -> float:
        """Return how probably a candidate is right, now that drafts are known; 0 where it rests."""
        if name not in self._allowed:
            return 0.0
        chance = self._allowed[name].quality
        for drafted, known in self._learned.items():
            right, wrong = _given(chance, self._allowed[drafted].quality)
            chance = known * right + (1.0 - known) * wrong
        return chance

    def learn(self, name: str, chance: float) -> None:
        """Take note that a draft is right with this probability only."""
        self._learned[name] = chance

    def gives_up(self, bar: float, chance: float, spread: float) -> bool:
        """Tell whether a growing draft is to be broken off.

        Args:
            bar: What it has to reach.
            chance: The probability that it is right, by what there is of it.
            spread: Standard deviation of what the rest of it will move that by, in log odds.
        """
        return _reaches(bar, chance, spread) < _LEAST

    def _pays(self, name: str, best: str | None, tried: frozenset[str]) -> bool:
        """Tell whether a draft saves more, by being accepted, than it costs."""
        if best is None or best not in self._allowed:
            return False
        draft, answer = self._allowed[name], self._allowed[best]
        accepted = _reaches(self.bar(name, tried), draft.quality, _SPREAD)
        if accepted < _LEAST:
            return False
        pairs = (draft.cost_usd, answer.cost_usd), (draft.energy_wh, answer.energy_wh)
        for cost, other in pairs:
            if cost is not None and other is not None and cost != other:
                return cost < accepted * other
        return True

    def _dearness(self, name: str, written: int | None) -> float:
        expected = self._allowed[name].output_tokens
        if not expected or written is None:
            return 1.0
        return min(_DEAREST, (1.0 + written / expected) / 2.0)


def _given(chance: float, draft: float) -> tuple[float, float]:
    """Return how probably a candidate is right where a draft is right, and where it is wrong.

    Args:
        chance: How probably it is right in all.
        draft: How probably the draft is.
    """
    wrong = chance * (1.0 - _SHARED)
    return min(1.0, (chance - (1.0 - draft) * wrong) / max(draft, 1e-6)), wrong


def _reaches(bar: float, chance: float, spread: float) -> float:
    """Return the probability that log odds of a normal distribution end above a bar."""
    if spread <= 0:
        return float(chance >= bar)
    return 0.5 * erfc((logit(bar) - logit(chance)) / (spread * sqrt(2.0)))
