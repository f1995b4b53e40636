"""What is written down of a call: every attempt, with its share of money and energy.

In: the decision and every reply, failed ones too. Out: one `Entry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shared_core.accounting.rates import at_rates
from shared_core.errors import CandidateRestingError
from shared_core.types import Attempt, Candidate, Decision, Energy, Entry, Reply, Usage

__all__ = ["make_entry"]


def make_entry(
    decision: Decision,
    answered_by: str,
    replies: Iterable[Reply],
    candidates: Mapping[str, Candidate],
) -> Entry:
    """Record one call.

    Args:
        decision: The decision it began with.
        answered_by: The candidate whose reply the caller gets, which is not the chosen one when
            that one failed.
        replies: Every reply, in order.
        candidates: By name, for their rates.
    """
    attempts = tuple(_attempt(reply, candidates[reply.candidate]) for reply in replies)
    reason = decision.reason
    if answered_by != decision.candidate:
        failed = {attempt.candidate for attempt in attempts if attempt.outcome != "answered"}
        why = "which failed" if decision.candidate in failed else "by the strategy's choice"
        reason = f"{answered_by} stepped in for {decision.candidate}, {why}; {reason}"
    return Entry(
        decision_id=decision.id,
        candidate=answered_by,
        reason=reason,
        calibrated=decision.calibrated,
        attempts=attempts,
        cost_usd=_total(attempt.cost_usd for attempt in attempts),
        energy=_energy(attempts),
    )


def _attempt(reply: Reply, candidate: Candidate) -> Attempt:
    if isinstance(reply.error, CandidateRestingError):  # it was not asked, which costs nothing
        return Attempt(reply.candidate, "resting", 0.0, cost_usd=0.0)
    return Attempt(
        candidate=reply.candidate,
        outcome="answered" if reply.error is None else "failed",
        seconds=reply.seconds,
        usage=reply.usage,
        cost_usd=at_rates(candidate.price, reply.usage),
        energy=_declared(candidate, reply.usage),
        error=None if reply.error is None else type(reply.error).__name__,
    )


def _total(shares: Iterable[float | None]) -> float | None:
    total = 0.0
    for share in shares:
        if share is None:
            return None
        total += share
    return total


def _declared(candidate: Candidate, usage: Usage | None) -> Energy | None:
    wh = at_rates(candidate.energy, usage)
    return None if wh is None else Energy(wh, wh, wh, "declared")


def _energy(attempts: Iterable[Attempt]) -> Energy | None:
    total = None
    for attempt in attempts:
        if attempt.outcome == "resting":
            continue
        if attempt.energy is None:
            return None
        total = attempt.energy if total is None else total + attempt.energy
    return total
