"""What every strategy offers: a generator that does no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared_core.errors import (
    AllCandidatesFailedError,
    BudgetExceededError,
    DeadlineExceededError,
)
from shared_core.strategies.verifiers.answers import spoken
from shared_core.types import Decision, Prompt, Reply, Steps

__all__ = ["Strategy", "failure", "is_crowded_out", "is_empty", "unparsed"]


class Strategy(Protocol):
    """Turns a decision into calls. Written once; four drivers run it in both frameworks.

    It may have `names`, those of candidates that it counts on whatever the decision, and
    `plan(prompt, decision)`, which says in words what it would do, for `explain`. One that sets
    `needs_overlaps` finds in decisions what candidates have in common.
    """

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        """Start one call.

        Args:
            prompt: What is asked.
            decision: Who was chosen, who else is allowed, and what each is expected to do.
        """
        ...


def failure(failures: Sequence[tuple[str, Exception]]) -> Exception:
    """Return what a call raises whose attempts failed, the last one's error being its cause.

    Args:
        failures: (candidate, error) of each attempt, in order; at least one.
    """
    last = failures[-1][1]
    limits = BudgetExceededError, DeadlineExceededError  # of the call, not of a candidate
    if len(failures) == 1 or all(isinstance(e, limits) for _, e in failures):
        return last
    error = AllCandidatesFailedError(failures)
    error.__cause__ = last
    return error


def unparsed(prompt: Prompt, reply: Reply) -> str | None:
    """Return why there is nothing to hand on of what was asked for; an agent may call tools."""
    if reply.parse_error is not None:
        return type(reply.parse_error).__name__
    asked = prompt.schema is not None and not reply.tool_calls
    return "it gave none of what was asked for" if asked and reply.parsed is None else None


def is_empty(reply: Reply) -> bool:
    """Tell whether a reply says nothing: thoughts alone, or a refusal that is no text."""
    said = reply.tool_calls or reply.parsed is not None or spoken(reply.text).strip()
    return not said


def is_crowded_out(reply: Reply, beside: Sequence[Reply]) -> bool:
    """Tell whether a budget refused it while others of the same step held what there was.

    They may have held far more than they took: asked alone it may have room.
    """
    return len(beside) > 1 and isinstance(reply.error, BudgetExceededError)
