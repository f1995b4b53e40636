"""What would have changed a choice: the other side of a decision, in words and numbers.

In: a policy, the candidates with their estimates that it may choose from, and δ. Out: one sentence
for each of them that is not chosen. For a given prompt the choice depends on δ only through who is
eligible, so it changes at the gaps between predicted qualities alone: all of them are tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from shared_core.decision.policy import Contender, Policy

__all__ = ["flips"]


def flips(policy: Policy, allowed: Sequence[Contender], delta: float) -> tuple[str, ...]:
    """Return, for each candidate that the policy does not choose, what would make it.

    Args:
        policy: The trade-off.
        allowed: Those that no constraint refuses, weakest first; at least one.
        delta: How far under the best predicted quality a candidate may be.
    """
    chosen = policy.order(allowed, delta)[0][0]
    ranges = _ranges(policy, allowed)
    return tuple(
        _by_delta(contender[0].name, ranges, delta) or _by_cost(policy, contender, allowed, delta)
        for contender in allowed
        if contender is not chosen
    )


def _ranges(policy: Policy, allowed: Sequence[Contender]) -> list[tuple[float, float, str]]:
    """Return who is chosen from which δ up to which, joined where it is the same candidate."""
    best = max(estimate.quality for _, estimate in allowed)
    gaps = sorted({best - estimate.quality for _, estimate in allowed})
    found: list[tuple[float, float, str]] = []
    for low, high in pairwise([*gaps, 1.0]):
        name = policy.order(allowed, low)[0][0][0].name
        if found and found[-1][2] == name:
            found[-1] = (found[-1][0], high, name)
        else:
            found.append((low, high, name))
    return found


def _by_delta(name: str, ranges: Sequence[tuple[float, float, str]], delta: float) -> str | None:
    mine = [(low, high) for low, high, winner in ranges if winner == name]
    if not mine:
        return None
    low, high = min(mine, key=lambda ends: max(ends[0] - delta, delta - ends[1]))
    where = f"of {low:.3f} or more" if low > delta else f"under {high:.3f}"
    return f"{name} would answer with a δ {where} (it is {delta:.3f})"


def _by_cost(
    policy: Policy, contender: Contender, allowed: Sequence[Contender], delta: float
) -> str:
    name, best = contender[0].name, max(estimate.quality for _, estimate in allowed)
    gap = best - contender[1].quality
    rival = policy.order(allowed, max(gap, delta))[0][0]  # who is before it once it is eligible
    ours, theirs = policy.objective(contender[1]), policy.objective(rival[1])
    if policy.prefer_local and rival[0].local and not contender[0].local:
        theirs = None  # no price goes before what runs locally
    if ours is None or theirs is None or theirs >= ours:
        return f"{name} would answer at no δ: {rival[0].name} goes before it"
    needed = f"with a δ of {gap:.3f} or more and " if gap > delta else ""
    return (
        f"{name} would answer {needed}at a cost under {theirs:.2g} USD, that of {rival[0].name} "
        f"(it is estimated at {ours:.2g})"
    )
