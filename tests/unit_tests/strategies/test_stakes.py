"""What is at stake at each rung: how good a draft must be, whether it pays, who is best."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared_core.strategies.stakes import Stakes
from shared_core.types import Decision, Estimate
from tests.fakes.core import estimate

chances = st.floats(0.0, 1.0)
shares = st.floats(0.0, 1.0)
usd = st.floats(0.0001, 10.0)


def stakes(
    *estimates: Estimate, delta: float = 0.05, accept: float | None = None, resting: str = ""
) -> Stakes:
    """Of candidates that are given weakest first; one may rest."""
    names = [e.candidate for e in estimates]
    decision = Decision(
        *("id", names[0], "because", False, estimates),
        fallbacks=tuple(names[1:]),
        allowed=tuple(name for name in names if name != resting),
        delta=delta,
    )
    return Stakes(decision, accept)


def of(qualities: dict[str, float], delta: float = 0.05, accept: float | None = None) -> Stakes:
    return stakes(*(estimate(n, q) for n, q in qualities.items()), delta=delta, accept=accept)


NOBODY: frozenset[str] = frozenset()


@given(chances, chances, shares)
def test_a_bar_is_a_probability(small: float, large: float, delta: float) -> None:
    assert 0 <= of({"s": small, "l": large}, delta).bar("s", NOBODY) <= 1


@given(chances, chances, shares, shares)
def test_who_may_be_further_under_the_best_has_a_lower_bar(
    small: float, large: float, one: float, other: float
) -> None:
    tight, loose = sorted((one, other))
    bars = [of({"s": small, "l": large}, delta).bar("s", NOBODY) for delta in (tight, loose)]
    assert bars[1] <= bars[0] + 1e-12


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_draft_that_came_out_long_has_a_lower_bar(one: int, other: int) -> None:
    known = [estimate("s", 0.6, output_tokens=100), estimate("l", 0.8, output_tokens=100)]
    bars = [stakes(*known, delta=0.1).bar("s", NOBODY, n) for n in sorted((one, other))]
    assert bars[1] <= bars[0] + 1e-12
    assert stakes(*known, delta=0.1).bar("s", NOBODY, 100) == pytest.approx(
        stakes(*known, delta=0.1).bar("s", NOBODY)
    )
    assert stakes(*known, delta=0.1).bar("s", NOBODY, 300) == pytest.approx(
        stakes(*known, delta=0.2).bar("s", NOBODY)
    ), "twice what is usual, and never more"


@given(chances, st.floats(0.0, 0.98), st.floats(0.01, 0.5))
def test_a_better_candidate_left_raises_the_bar(small: float, large: float, more: float) -> None:
    assume(large + more <= 1)
    bars = [of({"s": small, "l": q}).bar("s", NOBODY) for q in (large, large + more)]
    assert bars[0] <= bars[1] + 1e-9


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0.0, 0.3))
def test_a_draft_at_the_bar_is_as_far_under_the_best_as_it_may_be(
    small: float, large: float, delta: float
) -> None:
    llm = of({"s": small, "l": large}, delta)
    bar = llm.bar("s", NOBODY)
    assume(0 < bar < 1)
    llm.learn("s", bar)
    assert llm.expected("l") - delta == pytest.approx(bar, abs=1e-9)


def test_the_users_own_bar_holds_everywhere() -> None:
    assert of({"s": 0.2, "l": 0.9}, accept=0.7).bar("s", NOBODY) == 0.7


def test_where_nobody_is_left_every_draft_is_good_enough() -> None:
    assert of({"s": 0.2, "l": 0.9}).bar("s", frozenset({"l"})) == 0.0


def test_a_bad_draft_tells_against_the_others_too() -> None:
    llm = of({"s": 0.5, "l": 0.9})
    before = llm.expected("l")
    llm.learn("s", 0.0)
    assert llm.expected("l") == pytest.approx(0.8 * before)


@given(chances, chances, usd, usd, shares)
def test_a_draft_that_costs_as_much_as_the_answer_never_pays(
    small: float, large: float, cost: float, more: float, delta: float
) -> None:
    s = estimate("s", small, cost_usd=cost + more)
    llm = stakes(s, estimate("l", large, cost_usd=cost), delta=delta)
    assert llm.next_draft(NOBODY) != "s"


@given(chances, chances, usd, usd, st.floats(0.0, 1.0))
def test_a_draft_that_pays_still_pays_where_it_is_cheaper(
    small: float, large: float, cost: float, answer: float, share: float
) -> None:
    def pays(price: float) -> bool:
        s = estimate("s", small, cost_usd=price)
        llm = stakes(s, estimate("l", large, cost_usd=answer))
        return llm.next_draft(NOBODY) == "s"

    assume(cost != answer and share * cost != answer)
    assert not pays(cost) or pays(share * cost)


def test_energy_counts_where_the_prices_are_alike() -> None:
    def drafts(small_wh: float) -> str | None:
        s = estimate("s", 0.8, cost_usd=0.0, energy_wh=small_wh)
        return stakes(s, estimate("l", 0.9, cost_usd=0.0, energy_wh=1.0)).next_draft(NOBODY)

    assert drafts(0.1) == "s"
    assert drafts(2.0) is None


def test_without_prices_the_weaker_one_drafts() -> None:
    assert of({"s": 0.7, "l": 0.9}).next_draft(NOBODY) == "s"


def test_a_rung_that_would_hardly_be_accepted_is_skipped() -> None:
    llm = of({"s": 0.01, "m": 0.8, "l": 0.95}, accept=0.9)
    assert llm.next_draft(NOBODY) == "m"


def test_the_best_never_drafts() -> None:
    llm = of({"s": 0.7, "l": 0.9})
    assert llm.next_draft(frozenset({"s"})) is None
    assert llm.next_draft(NOBODY, "l") is None  # nor where it waits for its tool's result


def test_who_waits_for_a_tools_result_drafts_first() -> None:
    llm = of({"s": 0.7, "m": 0.8, "l": 0.9})
    assert llm.next_draft(NOBODY, "m") == "m"
    assert llm.next_draft(frozenset({"m"}), "m") == "s"
    assert llm.next_draft(NOBODY, "z") == "s"


def test_those_that_rest_answer_last() -> None:
    llm = stakes(estimate("s", 0.5), estimate("l", 0.9), resting="l")
    assert llm.best(NOBODY) == "s"
    assert llm.best(frozenset({"s"})) == "l"
    assert llm.best(frozenset({"s", "l"})) is None
    assert llm.expected("l") == 0.0


@given(chances, chances, st.floats(0.0, 3.0))
def test_what_has_reached_the_bar_is_not_given_up(bar: float, over: float, spread: float) -> None:
    assume(over >= bar)
    assert not of({"s": 0.5, "l": 0.9}).gives_up(bar, over, spread)


def test_the_more_is_known_of_a_growing_draft_the_sooner_it_is_given_up() -> None:
    llm = of({"s": 0.5, "l": 0.9})
    given = [llm.gives_up(0.8, 0.3, spread) for spread in (0.0, 0.5, 3.0)]
    assert given == [True, True, False]
