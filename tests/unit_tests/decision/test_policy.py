"""The trade-off between quality, money, energy and time."""

from __future__ import annotations

import math

import pytest

from shared_core import ConfigurationError, NotCalibratedError, Policy, local_only
from shared_core.decision.constraints import broken_constraint
from shared_core.decision.policy import Contender
from tests.fakes.core import candidate, estimate, prompt


def contenders(**qualities: float) -> list[Contender]:
    return [(candidate(name), estimate(name, quality)) for name, quality in qualities.items()]


def names(policy: Policy, allowed: list[Contender]) -> list[str]:
    return [chosen.name for chosen, _ in policy.order(allowed)[0]]


def test_the_default_is_95_percent() -> None:
    assert Policy() == Policy(quality=0.95)
    assert Policy().delta() == pytest.approx(0.05)


def test_the_weakest_within_delta_wins() -> None:
    assert names(Policy(), contenders(a=0.5, b=0.86, c=0.9))[0] == "b"
    assert names(Policy(quality=0.5), contenders(a=0.5, b=0.86, c=0.9))[0] == "a"
    assert names(Policy(quality=1), contenders(a=0.5, b=0.86, c=0.9))[0] == "c"


def test_exactly_delta_below_is_eligible() -> None:
    assert names(Policy(quality=0.95), contenders(a=0.85, b=0.9))[0] == "a"


def test_fallbacks_are_the_eligible_then_the_best_of_the_rest() -> None:
    assert names(Policy(), contenders(a=0.1, b=0.3, c=0.86, d=0.9)) == ["c", "d", "b", "a"]


def test_the_lowest_known_cost_wins_among_the_eligible() -> None:
    allowed = [
        (candidate("a"), estimate("a", 0.9, cost_usd=0.02)),
        (candidate("b"), estimate("b", 0.9, cost_usd=0.01)),
        (candidate("c"), estimate("c", 0.9)),
    ]
    order, reason = Policy().order(allowed)
    assert order[0][0].name == "b"
    assert "0.01 USD" in reason


def test_unknown_prices_go_to_the_weaker() -> None:
    allowed = [
        (candidate("a"), estimate("a", 0.9)),
        (candidate("b"), estimate("b", 0.9, cost_usd=0.01)),
    ]
    order, reason = Policy().order(allowed)
    assert order[0][0].name == "a"
    assert "not every price is known" in reason


def test_energy_and_time_count_at_their_rates() -> None:
    frugal = estimate("a", 0.9, cost_usd=0.002, energy_wh=1.0, latency_s=9.0)
    quick = estimate("b", 0.9, cost_usd=0.001, energy_wh=50.0, latency_s=1.0)
    allowed = [(candidate("a"), frugal), (candidate("b"), quick)]
    assert names(Policy(), allowed)[0] == "b"
    assert names(Policy(usd_per_kwh=0.3), allowed)[0] == "a"
    assert names(Policy(usd_per_kwh=0.3, usd_per_second=0.01), allowed)[0] == "b"


def test_local_first_only_if_eligible() -> None:
    local = (candidate("home", local=True), estimate("home", 0.88))
    hosted = (candidate("cloud"), estimate("cloud", 0.9, cost_usd=0.0))
    order, reason = Policy(prefer_local=True).order([hosted, local])
    assert order[0][0].name == "home"
    assert "runs locally" in reason
    assert names(Policy(quality=0.99, prefer_local=True), [hosted, local])[0] == "cloud"


def test_the_reason_names_the_only_one_good_enough() -> None:
    _, reason = Policy().order(contenders(a=0.2, b=0.9))
    assert reason == "no other candidate is within 0.05 of b's predicted quality, 0.90"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"quality": 0}, "over 0"),
        ({"quality": 1.5}, "must not exceed 1"),
        ({"quality": -0.1}, "from 0 up"),
        ({"quality": math.nan}, "from 0 up"),
        ({"quality": "high"}, "from 0 up"),
        ({"quality": 0.9, "strong_share": 0.3}, "not both"),
        ({"strong_share": 2}, "must not exceed 1"),
        ({"usd_per_kwh": math.inf}, "from 0 up"),
        ({"usd_per_second": -1}, "from 0 up"),
        ({"subject_to": local_only()}, "list of constraints"),
        ({"subject_to": ["local"]}, "list of constraints"),
        ({"subject_to": None}, "list of constraints"),
        ({"subject_to": 7}, "list of constraints"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Policy(**wrong)  # type: ignore[arg-type]


def test_a_share_needs_a_calibration() -> None:
    with pytest.raises(NotCalibratedError, match="calibration"):
        Policy(strong_share=0.3).delta()


def test_constraints_give_their_reason() -> None:
    def short_prompts(prompt: object, candidate: object, estimate: object) -> bool:
        return False

    def not_now(prompt: object, candidate: object, estimate: object) -> str:
        return "not now"

    def check(*rules: object) -> str | None:
        return broken_constraint(rules, prompt(), candidate("a"), estimate("a", 1.0))  # type: ignore[arg-type]

    assert check() is None
    assert check(short_prompts) == "refused by short_prompts"
    assert check(lambda *_: True, lambda *_: None, not_now) == "not now"
    assert check(local_only()) == "is not declared to run locally"
    assert check(lambda *_: "") == "refused by <lambda>"


@pytest.mark.parametrize("verdict", [0, 1, 0.5, [], ["too", "long"], object()])
def test_what_is_no_verdict_lets_nobody_pass(verdict: object) -> None:
    def vague(prompt: object, candidate: object, estimate: object) -> object:
        return verdict

    with pytest.raises(ConfigurationError, match="constraint vague must return None or True"):
        broken_constraint([vague], prompt(), candidate("a"), estimate("a", 1.0))  # type: ignore[list-item]


def test_constraints_may_come_from_a_generator() -> None:
    assert len(Policy(subject_to=(local_only() for _ in range(2))).subject_to) == 2  # type: ignore[arg-type]


def test_what_is_paid_for_energy_is_not_paid_twice() -> None:
    policy = Policy(usd_per_kwh=0.5)
    local = estimate("a", 0.9, cost_usd=0.001, energy_wh=2.0, pays_energy=True)
    hosted = estimate("b", 0.9, cost_usd=0.0015, energy_wh=2.0)
    assert policy.objective(local) == 0.001
    assert policy.objective(hosted) == 0.0025
    assert names(policy, [(candidate("b"), hosted), (candidate("a"), local)])[0] == "a"


@pytest.mark.parametrize(
    ("known", "rates", "objective"),
    [
        ({}, {}, None),
        ({"cost_usd": 0.0}, {}, 0.0),
        ({"cost_usd": 0.1}, {"usd_per_kwh": 1.0}, None),
        ({"cost_usd": 0.1, "energy_wh": 0.0}, {"usd_per_kwh": 1.0}, 0.1),
        ({"cost_usd": 0.1, "energy_wh": 50.0}, {"usd_per_second": 1.0}, None),
        ({"cost_usd": 0.1, "latency_s": 2.0}, {"usd_per_second": 0.1}, 0.3),
        ({"energy_wh": 1.0, "latency_s": 2.0}, {"usd_per_kwh": 1, "usd_per_second": 1}, None),
    ],
)
def test_the_objective_is_unknown_as_soon_as_a_part_is(
    known: dict[str, float], rates: dict[str, float], objective: float | None
) -> None:
    found = Policy(**rates).objective(estimate("a", 0.9, **known))  # type: ignore[arg-type]
    assert found == (None if objective is None else pytest.approx(objective))


def test_the_reason_names_what_counted() -> None:
    both = [
        (candidate(n), estimate(n, 0.9, cost_usd=c, energy_wh=1.0, latency_s=1.0))
        for n, c in (("a", 0.3), ("b", 0.1))
    ]
    _, reason = Policy(usd_per_kwh=0.3, usd_per_second=0.01).order(both)
    assert "estimated cost + energy at 0.3 USD/kWh + time at 0.01 USD/s, 0.11 USD" in reason
