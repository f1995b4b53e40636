"""What a call is expected to cost, with what past calls taught and what caches give."""

from __future__ import annotations

from typing import Any

import pytest

from shared_core import Policy, Router
from shared_core.accounting.expected import repeated_tokens
from shared_core.types import Prompt, Turn, Usage
from tests.fakes.core import FixedPredictor, candidate, prompt
from tests.fakes.spending import LISTED, Metered, conversation, router


def estimates(llm: Router, view: Prompt) -> dict[str, Any]:
    return {e.candidate: e for e in llm.decide(view).estimates}


@pytest.mark.parametrize(
    ("roles", "repeated"),
    [
        ("", 0),
        ("u", 0),
        ("su", 0),
        ("ua", 100),
        ("uau", 90),
        ("uauau", 90),
        ("uatt", 80),
    ],
)
def test_what_is_repeated_goes_up_to_the_last_answer(roles: str, repeated: int) -> None:
    named: dict[str, Any] = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}
    turns = tuple(Turn(named[role], "x" * 40) for role in roles)
    assert repeated_tokens(Prompt(turns, 100)) == repeated


def test_more_after_an_answer_than_there_is_repeats_nothing() -> None:
    turns = (Turn("assistant", ""), Turn("user", "x" * 4000))
    assert repeated_tokens(Prompt(turns, 10)) == 0


def test_the_author_has_the_discount_and_nobody_else() -> None:
    llm = router(among=[candidate("a", listing=LISTED), candidate("b", listing=LISTED)])
    found = estimates(llm, conversation("b"))
    assert (found["a"].cached_tokens, found["b"].cached_tokens) == (0, 8000)
    assert found["b"].cost_usd < 0.6 * found["a"].cost_usd
    for nobody in (conversation(None), conversation("gone")):
        alike = estimates(llm, nobody)
        assert alike["a"].cost_usd == alike["b"].cost_usd == found["a"].cost_usd


def test_a_short_conversation_is_in_no_cache() -> None:
    llm = router(among=[candidate("a", listing=LISTED)])
    assert estimates(llm, conversation("a", 1023))["a"].cached_tokens == 0
    assert estimates(llm, conversation("a", 1024))["a"].cached_tokens == 1024


def test_the_cache_makes_the_policy_stay() -> None:
    """The cheaper one would win each first question, and loses in the middle of a conversation."""
    cheap = candidate("a", price=(0.1, 0.5))
    llm = router(among=[cheap, candidate("b", listing=LISTED)])
    assert llm.decide(conversation(None)).candidate == "a"
    assert llm.decide(conversation("a")).candidate == "a"
    stays = llm.decide(conversation("b"))
    assert stays.candidate == "b"
    assert "lowest estimated cost" in stays.reason


def test_a_cache_that_gives_nothing_is_no_reason_to_stay() -> None:
    llm = router(among=[candidate("a", price=(0.1, 0.5)), candidate("b", listing=LISTED)])
    transport = Metered({"b": ["x"]}, usage=Usage(8010, 100, cached_tokens=0))
    view = conversation("b")
    for _ in range(3):
        llm.answer(view, llm.decide(view, "b"), transport)
    assert llm.decide(view).candidate == "a"


def test_a_declared_price_knows_no_cache() -> None:
    llm = router(among=[candidate("a", price=(1, 2))])
    assert estimates(llm, conversation("a"))["a"].cached_tokens == 0


@pytest.mark.parametrize("kwh", [0.0, 0.4])
def test_a_local_one_costs_its_energy_at_the_price_of_a_kwh(kwh: float) -> None:
    local = candidate("a", local=True, energy=(1000, 2000))
    llm = router(among=[local, candidate("b")], policy=Policy(usd_per_kwh=kwh))
    found = estimates(llm, prompt(tokens=1000))
    wh = (1000 * 1000 + 100 * 2000) / 1e6
    assert found["a"].energy_wh == pytest.approx(wh)
    assert found["a"].cost_usd == pytest.approx(wh / 1000 * kwh)
    assert found["a"].pays_energy
    assert (found["b"].cost_usd, found["b"].pays_energy) == (None, False)


def test_a_local_ones_energy_is_not_counted_twice() -> None:
    kwh, policy = 0.4, Policy(usd_per_kwh=0.4)
    local = candidate("a", local=True, energy=(1000, 2000))
    hosted = candidate("b", price=(1, 2), energy=(1000, 2000))
    found = estimates(router(among=[local, hosted], policy=policy), prompt(tokens=1000))
    bill = found["a"].energy_wh / 1000 * kwh
    assert policy.objective(found["a"]) == pytest.approx(bill)
    assert policy.objective(found["b"]) == pytest.approx(found["b"].cost_usd + bill)


def test_seconds_and_lengths_come_from_past_calls() -> None:
    llm = router(among=[candidate("a", price=(1, 2))], policy=Policy(usd_per_second=0.001))
    first = estimates(llm, prompt())["a"]
    assert (first.output_tokens, first.predicted_tokens, first.latency_s) == (100, 100, None)
    for _ in range(6):
        llm.answer(prompt(), llm.decide(prompt()), Metered({"a": ["x"]}, usage=Usage(10, 400)))
    later = estimates(llm, prompt())["a"]
    assert 200 < later.output_tokens < 400
    assert later.predicted_tokens == 100, "what is corrected next time is the prediction itself"
    assert later.latency_s is not None
    assert llm.policy.objective(later) == pytest.approx(later.cost_usd + later.latency_s * 0.001)


def test_the_worst_that_is_known_is_told_to_those_of_whom_nothing_is() -> None:
    known = [candidate("b", price=(1, 2), energy=(1, 1)), candidate("c", price=(5, 9))]
    found = estimates(router(among=[candidate("a"), *known]), prompt())
    assert found["a"].worst_usd == max(found["b"].cost_usd, found["c"].cost_usd)
    assert found["a"].worst_wh == found["c"].worst_wh == found["b"].energy_wh_high
    assert (found["c"].worst_usd, found["b"].worst_usd, found["b"].worst_wh) == (None,) * 3


def test_without_a_predicted_length_nothing_is_known() -> None:
    llm = router(
        among=[candidate("a", price=(1, 2))],
        predictor=FixedPredictor({"a": 0.9}, output_tokens=None),
    )
    found = estimates(llm, prompt())["a"]
    assert (found.cost_usd, found.energy_wh, found.latency_s) == (None, None, None)
