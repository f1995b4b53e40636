"""Hard limits: tags that a prompt needs, deadlines, and who is calling."""

from __future__ import annotations

import math
from typing import Any

import pytest

from shared_core import (
    ConfigurationError,
    cleared,
    deadline_s,
    local_only,
    max_cost_usd,
    max_energy_wh,
)
from shared_core.decision.constraints import time_limit
from shared_core.types import Prompt, Scope, Turn
from tests.fakes.core import candidate, estimate, prompt

SOME = estimate("a", 0.5)


def test_cleared_for_a_tag() -> None:
    rule = cleared("pii")
    assert rule(prompt(), candidate("a", tags=("pii",)), SOME) is None
    assert rule(prompt(), candidate("a", tags=("eu",)), SOME) == "is not cleared for pii"


def test_a_function_tells_what_a_prompt_needs_from_anything_in_it() -> None:
    def needs(view: Prompt) -> list[str]:
        tags = ["pii"] if any("@" in turn.text for turn in view.turns) else []
        return [*tags, "eu"] if view.scope.tenant == "acme" else tags

    rule = cleared(needs)
    hosted = candidate("hosted")
    assert rule(prompt("Hello"), hosted, SOME) is None
    secret = Prompt((Turn("user", "Look her up."), Turn("tool", "ann@example.org")), 10)
    assert rule(secret, hosted, SOME) == "is not cleared for pii"
    for_acme = prompt("a@b", scope=Scope(tenant="acme"))
    assert rule(for_acme, hosted, SOME) == "is not cleared for eu, pii"
    assert rule(for_acme, candidate("own", tags=("eu", "pii")), SOME) is None


@pytest.mark.parametrize("told", [None, (), [], ""])
def test_a_prompt_that_needs_nothing_goes_anywhere(told: Any) -> None:
    assert cleared(lambda _: told or None)(prompt(), candidate("a"), SOME) is None


@pytest.mark.parametrize("wrong", [(), ("",), (7,), (["pii"],)])
def test_cleared_refuses_what_is_no_tag(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="takes tags, or functions"):
        cleared(*wrong)


def test_a_deadline_refuses_who_is_expected_to_be_late_and_nobody_unknown() -> None:
    rule = deadline_s(2)
    late = rule(prompt(), candidate("a"), estimate("a", 0.5, latency_s=3.0))
    assert late == "is expected to take 3 s, and there are 2"
    assert rule(prompt(), candidate("a"), estimate("a", 0.5, latency_s=1.5)) is None
    assert rule(prompt(), candidate("a"), SOME) is None


@pytest.mark.parametrize("wrong", [0, -1, math.inf, math.nan, "2", None, True])
def test_a_deadline_is_a_positive_number(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"deadline_s\(\) takes a positive number"):
        deadline_s(wrong)


def test_the_shortest_deadline_counts() -> None:
    assert time_limit([deadline_s(5), local_only(), deadline_s(2)]) == 2
    assert time_limit([local_only()]) is None


LIMITS = [(max_cost_usd, "cost_usd", "worst_usd"), (max_energy_wh, "energy_wh", "worst_wh")]


@pytest.mark.parametrize(("limit", "known", "worst"), LIMITS)
@pytest.mark.parametrize(
    ("unknown", "is_known", "is_worst", "allowed"),
    [
        ("refuse", 0.5, None, True),
        ("refuse", 0.6, None, False),
        ("refuse", 0.0, None, True),
        ("refuse", None, 0.1, False),
        ("refuse", None, None, False),
        ("worst", 0.6, 0.1, False),
        ("worst", None, 0.5, True),
        ("worst", None, 0.6, False),
        ("worst", None, None, False),
    ],
)
def test_a_call_may_cost_and_take_so_much(
    limit: Any, known: str, worst: str, unknown: Any, is_known: Any, is_worst: Any, allowed: bool
) -> None:
    some = estimate("a", 0.5, **{known: is_known, worst: is_worst})
    verdict = limit(0.5, unknown=unknown)(prompt(), candidate("a"), some)
    assert (verdict is None) is allowed


def test_money_and_energy_say_why() -> None:
    def said(rule: Any, **known: Any) -> Any:
        return rule(prompt(), candidate("a"), estimate("a", 0.5, **known))

    assert said(max_cost_usd(0.01), cost_usd=0.025) == (
        "is expected to cost 0.025 USD, and at most 0.01 is allowed"
    )
    assert said(max_energy_wh(2), energy_wh=3.14) == (
        "is expected to take 3.1 Wh, and at most 2 is allowed"
    )
    assert said(max_cost_usd(0.01)) == "its price is unknown, and at most 0.01 USD is allowed"
    assert said(max_energy_wh(2, unknown="worst"), worst_wh=9.0) == (
        "its energy is unknown, and the worst known would take 9 Wh"
    )


@pytest.mark.parametrize("limit", [max_cost_usd, max_energy_wh])
@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf, "1", None, True])
def test_a_limit_is_a_number_from_0_up(limit: Any, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"{limit.__name__}\(\) takes a number from 0 up"):
        limit(wrong)
    with pytest.raises(ConfigurationError, match="unknown must be 'refuse' or 'worst', not 'no'"):
        limit(1, unknown="no")
