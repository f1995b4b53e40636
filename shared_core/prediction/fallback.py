"""The honest fallback: surface features of the prompt against declared strengths.

It needs no training data, no download and no encoder, and knows little: use it until a learned
predictor is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shared_core.prediction.surface import difficulty, surface_features
from shared_core.types import Candidate, Estimate, Prompt

__all__ = ["FallbackPredictor"]


@dataclass(frozen=True, slots=True)
class FallbackPredictor:
    """x"""

    name: str = "fallback"
    inline_chars: int = 100_000

    def predict(self, prompt: Prompt, candidates: Sequence[Candidate]) -> Sequence[Estimate]:
        """See `Predictor.predict`."""
        d = difficulty(surface_features(prompt.text))
        out = []
        for c in candidates:
            q = 1 / (1 + math.exp(-(6 * ((c.strength or 0) - d) + 2)))
            out.append(Estimate(c.name, q, max(0, q - 0.3), min(1, q + 0.3), 200))
        return out
