"""One candidate answers; where it fails in a way another might mend, the next one is asked."""

from __future__ import annotations

from dataclasses import dataclass

from shared_core.strategies.base import failure
from shared_core.types import Ask, Decision, Prompt, Reply, Steps

__all__ = ["Single"]


@dataclass(frozen=True, slots=True)
class Single:
    """Ask the chosen candidate, then each fallback in turn after a retryable failure.

    Raises:
        AllCandidatesFailedError: More than one was asked and all failed.
        BudgetExceededError: A budget had no room for any.
        Exception: The candidate's own error, where no other could mend it or none is left.
    """

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        """See `Strategy.steps`."""
        reply: Reply
        failures: list[tuple[str, Exception]] = []
        for name in (decision.candidate, *decision.fallbacks):
            (reply,) = yield (Ask(name),)
            if reply.error is None:
                return reply
            failures.append((name, reply.error))
            if not reply.retryable:
                break
        raise failure(failures)
