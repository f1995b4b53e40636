"""What every strategy offers: a generator that does no I/O."""

from __future__ import annotations

from typing import Protocol

from shared_core.types import Decision, Prompt, Steps

__all__ = ["Strategy"]


class Strategy(Protocol):
    """Turns a decision into calls. Written once; four drivers run it in both frameworks."""

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        """Start one call.

        Args:
            prompt: What is asked.
            decision: Who was chosen, who else is allowed, and what each is expected to do.
        """
        ...
