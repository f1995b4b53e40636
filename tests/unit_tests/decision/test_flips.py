"""What would have changed a choice: every sentence holds when it is tried."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from shared_core import Policy
from shared_core.decision.flips import flips
from shared_core.decision.policy import Contender
from tests.fakes.core import candidate, estimate


def contender(name: str, quality: float, cost: float | None = None) -> Contender:
    return candidate(name), estimate(name, quality, cost_usd=cost)


def chosen(policy: Policy, allowed: list[Contender], delta: float) -> str:
    return policy.order(allowed, delta)[0][0][0].name


def test_the_only_one_allowed_has_nothing_to_flip_to() -> None:
    assert flips(Policy(), [contender("a", 0.5)], 0.05) == ()


def test_a_weaker_one_needs_more_tolerance_and_a_better_one_less() -> None:
    allowed = [contender("a", 0.5), contender("b", 0.8), contender("c", 0.83)]
    assert flips(Policy(), allowed, 0.05) == (
        "a would answer with a δ of 0.330 or more (it is 0.050)",
        "c would answer with a δ under 0.030 (it is 0.050)",
    )


def test_what_is_worse_and_dearer_says_at_what_price() -> None:
    allowed = [contender("a", 0.5, 0.003), contender("b", 0.8, 0.002)]
    assert flips(Policy(), allowed, 0.05) == (
        "a would answer with a δ of 0.300 or more and at a cost under 0.002 USD, that of b "
        "(it is estimated at 0.003)",
    )
    assert flips(Policy(), allowed, 0.4) == (
        "a would answer at a cost under 0.002 USD, that of b (it is estimated at 0.003)",
    )


def test_an_equal_one_that_comes_later_says_so() -> None:
    allowed = [contender("a", 0.5), contender("b", 0.5)]
    assert flips(Policy(), allowed, 0.05) == ("b would answer at no δ: a goes before it",)


def test_no_price_goes_before_what_runs_locally() -> None:
    local = (candidate("a", local=True), estimate("a", 0.5, cost_usd=1.0))
    allowed = [local, contender("b", 0.5, 2.0), contender("c", 0.9, 3.0)]
    said = flips(Policy(prefer_local=True), allowed, 0.5)
    assert said[0] == "b would answer at no δ: a goes before it"


@pytest.mark.parametrize("seed", range(20))
def test_every_sentence_holds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    qualities = rng.permutation(np.arange(0.05, 1, 0.05))[:5]
    costs = rng.uniform(0.001, 0.01, 5).tolist()
    allowed = [contender(n, float(q), c) for n, q, c in zip("abcde", qualities, costs, strict=True)]
    policy, delta = Policy(), float(rng.uniform(0, 0.5))
    said = flips(policy, allowed, delta)
    assert len(said) == 4
    wins = {chosen(policy, allowed, d) for d in np.linspace(0, 1, 2_001)}
    for sentence in said:
        name = sentence[0]
        edge = re.search(r"δ (of|under) (\d\.\d+)", sentence)
        price = re.search(r"cost under (\S+) USD", sentence)
        assert bool(price) == (name not in wins)
        at, cheaper = delta, allowed
        if edge:
            at = float(edge[2]) + (0.0006 if edge[1] == "of" else -0.0006)
        if price:
            cheaper = [
                contender(c.name, e.quality, 0.9 * float(price[1])) if c.name == name else (c, e)
                for c, e in allowed
            ]
        assert chosen(policy, cheaper, at) == name


def test_the_nearest_of_several_ranges_is_named() -> None:
    """The middle one wins from its gap on until a cheaper one becomes eligible."""
    allowed = [contender("a", 0.4, 1), contender("b", 0.6, 2), contender("c", 0.9, 3)]
    for delta, name in itertools.product((0.0, 0.6), "b"):
        sentence = next(s for s in flips(Policy(), allowed, delta) if s.startswith(name))
        assert ("of 0.300 or more" if delta == 0 else "under 0.500") in sentence
