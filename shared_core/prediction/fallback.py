"""The honest fallback: the prompt's difficulty at first sight against declared strengths.

It needs no data of the user's, no download and no encoder, and it knows little. It is there so that
a router works before anything has been learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared_core.prediction.prior import contributions, prompt_difficulty
from shared_core.prediction.surface import OUTPUT_TOKENS, quality
from shared_core.types import Candidate, Estimate, Prompt

__all__ = ["FallbackPredictor"]


@dataclass(frozen=True, slots=True)
class FallbackPredictor:
    """Predicts quality from a prompt's difficulty (`prior`) and each candidate's declared strength.

    The interval is wide (96 % of what was measured lies within it) because the estimate is poor.

    Attributes:
        name: What decisions call it.
        inline_chars: Any prompt is predicted on the event loop: the work is bounded.
    """

    name: str = "fallback"
    inline_chars: int = 10_000_000

    def predict(self, prompt: Prompt, candidates: Sequence[Candidate]) -> Sequence[Estimate]:
        """See `Predictor.predict`."""
        hardness = prompt_difficulty(prompt.text)
        return [
            Estimate(c.name, *quality(hardness, c.strength or 0.0), output_tokens=OUTPUT_TOKENS)
            for c in candidates
        ]

    def contributions(self, prompt: Prompt, candidate: Candidate) -> list[tuple[str, float]]:
        """Return what lowers the odds of a good answer: (feature, log odds), largest first."""
        return contributions(prompt.text, candidate.strength or 0.0)
