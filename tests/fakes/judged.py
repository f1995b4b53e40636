"""Made-up judged answers: sums of which some slip, in two styles."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["judged_answers"]


def judged_answers(
    n: int, *, models: tuple[str, ...] = ("weak",), seed: int = 5, slips: float = 0.4
) -> list[dict[str, Any]]:
    """Return rows with prompt, model, answer and score; an answer with a slip is wrong.

    Each model answers n prompts; the later it is named, the rarer it slips. One answer in ten is
    judged the other way round.
    """
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        one, two = rng.randint(2, 60), rng.randint(2, 60)
        prompt = f"Case {number}: Ann has {one} pens and buys {two} more. How many has she?"
        for place, model in enumerate(models):
            slip = rng.random() < slips / (1 + place)
            total = one + two + (rng.randint(1, 9) if slip else 0)
            doubt = "However, perhaps I am not sure. " if slip and rng.random() < 0.5 else ""
            steps = f"She has {one} pens. {doubt}{one} + {two} = {total}. The answer is {total}."
            right = not slip if rng.random() > 0.1 else slip
            rows.append(
                {
                    "prompt_id": str(number),
                    "prompt": prompt,
                    "model": model,
                    "answer": steps,
                    "score": float(right),
                }
            )
    return rows
