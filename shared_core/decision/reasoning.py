"""Which candidates think before they answer when they are asked to, and how they are asked.

In: a candidate and a neutral level (`shared_core.types.Reasoning`). Out: a level that its model
knows, or a number of tokens to think in: what skins put into the parameters of its class.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from shared_core.tokens import TOKENS_TO_THINK
from shared_core.types import Candidate, Reasoning

__all__ = ["LEVELS", "effort_of", "longest_answer", "reasons", "thinking_tokens"]

LEVELS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""What providers call efforts, the least first, as LangChain's profiles of models have them."""

_USUAL: Final = ("low", "medium", "high")
"""What every model that takes an effort knows, where nobody says which (o1 knows no others)."""

_FEWEST: Final = 1024
"""The fewest that Anthropic takes ("Building with extended thinking")."""


def reasons(candidate: Candidate) -> bool:
    """Tell whether it is known to think when asked to.

    That a class has a parameter for it says nothing of the model: OpenAI refuses an effort that is
    sent to gpt-4o. So the model's profile has to say so, or the user: under `capabilities`, or by
    having set the parameter on the model, which the skins report.
    """
    can = candidate.capabilities
    stated = can.get("reasoning_output")
    return bool(can.get("reasoning_effort_levels") if stated is None else stated)


def effort_of(candidate: Candidate, level: Reasoning) -> str | None:
    """Return the effort nearest to a level that the candidate's model knows.

    The lesser one of two as near; None where it would have to think not at all, but was to.
    """
    stated = candidate.capabilities.get("reasoning_effort_levels")
    listed: Iterable[str] = stated if isinstance(stated, (list, tuple)) and stated else _USUAL
    places = [place for place, name in enumerate(LEVELS) if name in listed]
    wanted = LEVELS.index(level)
    nearest = min(places, key=lambda place: abs(place - wanted), default=None)
    if nearest is None or (LEVELS[nearest] == "none" and level != "none"):
        return None
    return LEVELS[nearest]


def longest_answer(candidate: Candidate, *limits: int | None) -> int | None:
    """Return the most output tokens there may be: the candidate's own limit, or a lesser one."""
    own = candidate.capabilities.get("max_output_tokens")
    known = [limit for limit in (own, *limits) if isinstance(limit, int) and limit > 0]
    return min(known, default=None)


def thinking_tokens(level: Reasoning, longest: int | None) -> int | None:
    """Return how many tokens a model may think in, or None where it is not to think.

    Args:
        level: How much.
        longest: Most output tokens, which thinking is a part of: half of it is left to the answer,
            and where that leaves too little to think in, the model does not.
    """
    wanted = TOKENS_TO_THINK.get(level, 0)
    tokens = wanted if longest is None else min(wanted, longest // 2)
    return tokens if tokens >= _FEWEST else None
