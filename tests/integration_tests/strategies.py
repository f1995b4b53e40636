"""Every strategy there is, as one parameter of tests that hold for all of them.

In: nothing. Out: instances by name, over candidates `small`, `middle` and `large`; and which of
them ask how often at most.
"""

from __future__ import annotations

from typing import Any

import pytest

from shared_core import Cascade, ChainOfThought, MixtureOfAgents, SelfConsistency, Single
from shared_core.types import Draft
from tests.fakes.core import FixedPredictor
from tests.fakes.strategies import Adding, Editing, Everyone, Relay

NAMES = ("small", "middle", "large")
CHANCES = FixedPredictor({"small": 0.55, "middle": 0.6, "large": 0.7})
"""Worth a draft, worth asking several, and worth reasoning: nobody is sure."""


def long_enough(draft: Draft) -> float:
    """By the length of it."""
    return min(0.99, len(draft.reply.text) / 60)


def wrong(draft: Draft) -> bool:
    """Nothing is right."""
    return False


STRATEGIES: dict[str, Any] = {
    "single": Single(),
    "a cascade": Cascade(long_enough, accept=0.65),
    "a cascade that escalates": Cascade(wrong, accept=0.65),
    "chain of thought": ChainOfThought(easy="low"),
    "chain of thought in sight": ChainOfThought(easy="low", show_reasoning=True),
    "a mixture": MixtureOfAgents(),
    "a mixture of two layers": MixtureOfAgents(layers=2, agree=None),
    "a mixture one by one": MixtureOfAgents(at_once=1, aggregator="middle"),
    "a vote": SelfConsistency(samples=6),
    "a vote of all": SelfConsistency(samples=6, voters="all", at_once=1),
    "turns": Adding(),
    "an edit": Editing(),
    "everyone": Everyone(),
    "everyone twice, edited": Everyone(2, edit=" / ".join),
    "a relay": Relay(),
    "a relay out of sight": Relay(last=False),
}
REPEATING = ["a vote", "everyone twice, edited"]
"""Those that ask one candidate several times in a step."""

LONG_WAYS = [
    *("a cascade that escalates", "chain of thought", "a vote"),
    *("a mixture", "a mixture of two layers", "everyone twice, edited", "a relay"),
]
"""Those that take several steps, which no other one here takes too."""

each_strategy = pytest.mark.parametrize("name", STRATEGIES)
each_long_way = pytest.mark.parametrize("name", LONG_WAYS)
