"""What every predictor offers: one interface for N models, learned or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared_core.types import Candidate, Estimate, Prompt

__all__ = ["Predictor"]


class Predictor(Protocol):
    """Predicts, before any model is called, how well each candidate would answer.

    It may also have `contributions(prompt, candidate)`, which returns what moved that candidate's
    quality as pairs of a name and log odds, the largest first: `explain(..., detail=True)` asks it.
    """

    @property
    def name(self) -> str:
        """What decisions call it."""
        ...

    @property
    def inline_chars(self) -> int:
        """Most characters of a prompt that is predicted fast enough for an event loop.

        Well under a millisecond is fast enough; a longer prompt goes to an executor.
        """
        ...

    def predict(self, prompt: Prompt, candidates: Sequence[Candidate]) -> Sequence[Estimate]:
        """Return one `Estimate` per candidate, in their order, with quality and output tokens.

        Args:
            prompt: What is asked.
            candidates: Completed candidates (`strength` set), also ones never seen in training.
        """
        ...
