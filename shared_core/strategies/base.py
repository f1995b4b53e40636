"""What every strategy offers: a generator that does no I/O."""

from __future__ import annotations

from typing import Protocol

from shared_core.types import Decision, Prompt, Steps

__all__ = ["Strategy"]


class Strategy(Protocol):
    """Turns a decision into calls. Written once; four drivers run it in both frameworks.

    It may have `names`, those of candidates that it counts on whatever the decision, and
    `plan(prompt, decision)`, which says in words what it would do, for `explain`.
    """

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        """Start one call.

        Args:
            prompt: What is asked.
            decision: Who was chosen, who else is allowed, and what each is expected to do.
        """
        ...
