"""The spine: decisions, forced candidates, tool loops, the record."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import threading
from typing import Any, ClassVar

import numpy as np
import pytest

from shared_core import (
    AllCandidatesFailedError,
    BudgetExceededError,
    ConfigurationError,
    MixtureOfAgents,
    NoCandidateError,
    NotCalibratedError,
    Policy,
    Router,
    RouterError,
    Scope,
    StorageError,
    UnknownCandidateError,
    max_cost_usd,
    max_energy_wh,
)
from shared_core.accounting.books import Books
from shared_core.accounting.budgets.budget import Budget, Budgets
from shared_core.accounting.budgets.stores import NOTHING, Amounts
from shared_core.decision.candidates import prepare_candidates
from shared_core.strategies.single import Single
from shared_core.types import CalibrationSample, Candidate, Estimate, Reply, Usage
from tests.fakes.core import FakeTransport, FixedPredictor, candidate, prompt
from tests.fakes.spending import FailingStore, Metered, SlowStore, standing


def router(*candidates: Candidate, **settings: Any) -> Router:
    prepared = prepare_candidates(
        candidates or (candidate("a"), candidate("b")), lambda c: (c.model, {})
    )
    qualities = {"a": 0.5, "b": 0.9, "c": 0.92}
    return Router(prepared, predictor=FixedPredictor(qualities), **settings)


def test_every_decision_has_its_own_id_and_all_estimates() -> None:
    first, second = (router().decide(prompt()) for _ in range(2))
    assert first.id != second.id
    assert [e.candidate for e in first.estimates] == ["a", "b"]
    assert first.candidate == "b"
    assert first.fallbacks == ("a",)
    assert first.predictor == "fixed"
    assert first.calibrated is False


def test_refusals_are_named_with_their_reasons() -> None:
    blind = candidate("b", capabilities={"tool_calling": False})
    decision = router(candidate("a"), blind).decide(prompt(tools=({"type": "function"},)))
    assert decision.candidate == "a"
    assert decision.fallbacks == ()
    assert [(r.candidate, r.reason) for r in decision.refusals] == [
        ("b", "cannot call tools (1 bound)")
    ]
    assert [e.candidate for e in decision.estimates] == ["a", "b"]


def test_none_left_names_every_refusal() -> None:
    tight = router(candidate("a", context_window=5), candidate("b", context_window=6))
    with pytest.raises(NoCandidateError) as caught:
        tight.decide(prompt(tokens=7))
    assert [r.candidate for r in caught.value.refusals] == ["a", "b"]
    assert "a: about 7 input tokens, and its window holds 5; b: about 7" in str(caught.value)


def test_force_beats_quality_but_no_constraint() -> None:
    decision = router().decide(prompt(), force="a")
    assert (decision.candidate, decision.fallbacks) == ("a", ())
    assert decision.reason == "a was asked for by name"
    small = router(candidate("a", context_window=5), candidate("b"))
    with pytest.raises(NoCandidateError, match="a: about 10"):
        small.decide(prompt(), force="a")
    with pytest.raises(UnknownCandidateError, match="'z'; there are: a, b"):
        small.decide(prompt(), force="z")


def test_the_one_that_called_the_tool_reads_its_result() -> None:
    view = prompt(in_tool_loop=True, author="a")
    decision = router().decide(view)
    assert decision.candidate == "a"
    assert decision.fallbacks == ("b",)
    assert "called the tool" in decision.reason
    assert router().decide(prompt(in_tool_loop=True, author="gone")).candidate == "b"
    assert router().decide(prompt(in_tool_loop=False, author="a")).candidate == "b"
    free = router(policy=Policy(stay_in_tool_loop=False))
    assert free.decide(view).candidate == "b"


def test_max_retries_bounds_the_fallbacks() -> None:
    three = (candidate("a"), candidate("b"), candidate("c"))
    assert router(*three).decide(prompt()).fallbacks == ("c", "a")
    assert router(*three, max_retries=1).decide(prompt()).fallbacks == ("c",)
    assert router(*three, max_retries=0).decide(prompt()).fallbacks == ()


def test_estimates_carry_money_and_energy_at_declared_rates() -> None:
    priced = candidate("a", price=(1, 2), energy=(10, 20))
    known, unknown = router(priced, candidate("b")).decide(prompt(tokens=1000)).estimates
    assert known.cost_usd == pytest.approx((1000 * 1 + 100 * 2) / 1e6)
    assert known.energy_wh == pytest.approx((1000 * 10 + 100 * 20) / 1e6)
    assert (unknown.cost_usd, unknown.energy_wh) == (None, None)


def test_a_policy_that_cannot_decide_is_refused_at_once() -> None:
    with pytest.raises(NotCalibratedError):
        router(policy=Policy(strong_share=0.5))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"policy": "cheap"}, "policy must be a Policy"),
        ({"strategy": "single"}, "strategy must have a method 'steps'"),
        ({"strategy": Single}, "strategy must have a method 'steps'.* give an instance of it"),
        ({"max_retries": -1}, "max_retries must be 0 or more"),
        ({"max_retries": True}, "max_retries must be 0 or more"),
    ],
)
def test_parts_of_the_wrong_kind_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        router(**wrong)


@pytest.mark.parametrize("quality", [math.nan, math.inf, -math.inf])
def test_a_quality_that_is_no_number_decides_nothing(quality: float) -> None:
    prepared = prepare_candidates([candidate("a"), candidate("b")], lambda c: (c.model, {}))
    broken = Router(prepared, predictor=FixedPredictor({"a": quality, "b": 0.9}))
    with pytest.raises(RouterError, match=r"predictor 'fixed' gave 'a' the quality -?(nan|inf)"):
        broken.decide(prompt())


def test_a_predictor_that_forgets_a_candidate_decides_nothing() -> None:
    class Forgetful(FixedPredictor):
        def predict(self, *args: Any) -> list[Estimate]:
            return super().predict(*args)[:1]

    prepared = prepare_candidates([candidate("a"), candidate("b")], lambda c: (c.model, {}))
    with pytest.raises(RouterError, match="'fixed' gave 1 estimates for 2 candidates"):
        Router(prepared, predictor=Forgetful({"a": 0.5, "b": 0.9})).decide(prompt())


@pytest.mark.parametrize("name", ["nope", "", 7, ["a"]])
def test_whoever_is_asked_for_must_exist(name: Any) -> None:
    with pytest.raises(UnknownCandidateError, match="; there are: a, b"):
        router().decide(prompt(), name)


class Counting(FakeTransport):
    """Reports usage with every reply."""

    def join(self, ask: Any, chunks: list[Any]) -> Reply:
        reply = super().join(ask, chunks)
        return Reply(reply.candidate, native=reply.native, usage=Usage(1000, 100))


def test_the_record_is_small_plain_json_with_what_every_attempt_cost() -> None:
    priced = router(candidate("a"), candidate("b", price=(1, 2), energy=(10, 20)))
    decision = priced.decide(prompt())
    entry = priced.answer(prompt(), decision, Counting({"b": ["x"]})).entry
    assert json.loads(json.dumps(entry.as_dict())) == {
        "decision_id": decision.id,
        "candidate": "b",
        "reason": decision.reason,
        "calibrated": False,
        "attempts": [{"candidate": "b", "outcome": "answered"}],
        "cost_usd": pytest.approx(0.0012),
        "energy_wh": pytest.approx(0.012),
    }


def test_a_failed_attempt_of_unknown_cost_makes_the_sum_unknown() -> None:
    priced = router(candidate("a", price=(1, 2)), candidate("b", price=(1, 2)))
    decision = priced.decide(prompt())
    transport = Counting({"b": [ConnectionError()], "a": ["x"]})
    entry = priced.answer(prompt(), decision, transport).entry
    assert (entry.candidate, entry.cost_usd) == ("a", None)
    assert [(a.candidate, a.outcome, a.error) for a in entry.attempts] == [
        ("b", "failed", "ConnectionError"),
        ("a", "answered", None),
    ]
    assert entry.reason.startswith("a stepped in for b, which failed; ")


async def test_a_long_prompt_is_predicted_off_the_event_loop() -> None:
    threads = []

    class Noting(FixedPredictor):
        def predict(self, *args: Any) -> Any:
            threads.append(threading.current_thread())
            return super().predict(*args)

    prepared = prepare_candidates([candidate("a")], lambda c: (c.model, {}))
    noting = Router(prepared, predictor=Noting({"a": 0.5}))
    await noting.adecide(prompt("x" * 1000))
    await noting.adecide(prompt("x" * 1001))
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


def test_the_four_forms_give_the_same_answer() -> None:
    one = router()
    decision = one.decide(prompt())

    async def gather() -> list[Any]:
        transport = FakeTransport({"b": ["x", "y"]})
        answer = await one.aanswer(prompt(), decision, transport)
        items = [item async for item in one.astream(prompt(), decision, transport)]
        return [answer, *items]

    whole = one.answer(prompt(), decision, FakeTransport({"b": ["x", "y"]}))
    *chunks, streamed = one.stream(prompt(), decision, FakeTransport({"b": ["x", "y"]}))
    awaited, *achunks, astreamed = asyncio.run(gather())
    assert chunks == achunks == ["x", "y"]
    assert whole.reply.native == "xy"
    for answer in (streamed, awaited, astreamed):
        assert answer.reply.native == "xy"
        assert answer.entry.as_dict() == whole.entry.as_dict()


def test_explain_says_what_would_have_changed_the_choice_and_what_moved_it() -> None:
    told = router(candidate("a"), candidate("b"), candidate("c")).explain(prompt(), detail=True)
    assert told.candidate == "b"
    assert told.detail is not None
    assert told.detail.flips == (
        "a would answer with a δ of 0.420 or more (it is 0.050)",
        "c would answer with a δ under 0.020 (it is 0.050)",
    )
    assert told.detail.moved == {}  # this predictor does not say
    assert "c would answer" in str(told)


def test_explain_of_a_forced_candidate_names_who_would_have_answered() -> None:
    told = router().explain(prompt(), force="a", detail=True)
    assert told.detail is not None
    assert told.detail.flips[0] == "b would answer by the policy alone"


@pytest.mark.parametrize("force", [None, "a"])
def test_explain_asks_a_constraint_once_about_each_candidate(force: str | None) -> None:
    asked: list[str] = []

    def once(_: Any, of: Candidate, __: Any) -> str | None:
        asked.append(of.name)
        return "is spent" if asked.count(of.name) > 1 else None

    told = router(policy=Policy(subject_to=[once])).explain(prompt(), force, detail=True)
    assert sorted(asked) == ["a", "b"]
    assert told.refusals == ()


def test_explain_leaves_refused_candidates_out_of_what_might_have_been() -> None:
    blind = candidate("b", capabilities={"tool_calling": False})
    told = router(candidate("a"), blind).explain(prompt(tools=({"type": "function"},)), detail=True)
    assert told.detail is not None
    assert told.detail.flips == ()
    assert "  b is refused: cannot call tools (1 bound)" in str(told).splitlines()


def test_the_fallback_says_what_moved_its_estimates() -> None:
    prepared = prepare_candidates([candidate("a"), candidate("b")], lambda c: (c.model, {}))
    hard = prompt("Prove 3 + 4 = 7 from the axioms of Peano, in 12 steps, and count them.")
    told = Router(prepared).explain(hard, detail=True)
    assert told.detail is not None
    for estimate in told.estimates:
        parts = dict(told.detail.moved[estimate.candidate])
        assert set(parts) == {"length", "numbers", "symbols", "words"}
        logit = math.log(estimate.quality / (1 - estimate.quality))
        assert 1.0 + sum(parts.values()) == pytest.approx(logit)


def test_a_decision_reads_as_text() -> None:
    lines = str(router(candidate("a", price=(1, 2)), candidate("b")).decide(prompt())).splitlines()
    assert lines[0].startswith("b: no other candidate is within 0.05")
    assert lines[1] == "calibrated: no (nothing has been calibrated)"
    assert lines[2] == ("  a: quality 0.50 (0.50 to 0.50), about 100 output tokens, 0.00021 USD")
    assert len(lines) == 4


# --- money, energy, budgets ---

PRICED = (candidate("a", price=(1, 2), energy=(9, 9)), candidate("b", price=(10, 20)))


def budgeted(*budgets: Budget, store: Any = None, **settings: Any) -> Router:
    """A router of a cheap "a" (quality 0.5) and a dear "b" (0.9) with budgets."""
    one = router(*settings.pop("among", PRICED), **settings)
    return dataclasses.replace(one, books=Books(one.candidates, Budgets(*budgets, store=store)))


def spend(one: Router, usd: float, account: str = "ever") -> None:
    """Charge so much, as if it had been spent before."""
    nano = Amounts(nano_usd=round(usd * 1e9))
    one.books.budgets.store.settle(f"{usd} on {account}", [(account, None)], nano)


def test_limits_of_a_call_refuse_by_what_is_expected_and_explain_it() -> None:
    tight = router(*PRICED, policy=Policy(subject_to=[max_cost_usd(0.001)]))
    decision = tight.decide(prompt(tokens=10))
    assert decision.candidate == "a"
    (refusal,) = decision.refusals
    assert refusal.reason == "is expected to cost 0.0021 USD, and at most 0.001 is allowed"
    assert f"  b is refused: {refusal.reason}" in str(decision).splitlines()
    frugal = router(*PRICED, policy=Policy(subject_to=[max_energy_wh(1)]))
    assert frugal.decide(prompt()).refusals[0].reason.startswith("its energy is unknown")
    worst = router(*PRICED, policy=Policy(subject_to=[max_energy_wh(1, unknown="worst")]))
    assert worst.decide(prompt()).refusals == ()
    scoped = Scope(subject_to=[max_cost_usd(0)])
    with pytest.raises(NoCandidateError) as caught:
        router(*PRICED).decide(prompt(scope=scoped))
    assert not isinstance(caught.value, BudgetExceededError)


@pytest.mark.parametrize(
    ("spent", "delta", "chosen"), [(0.0, 0.05, "b"), (8.0, 0.05, "b"), (9.5, 0.7625, "a")]
)
def test_near_its_end_a_budget_makes_the_policy_thrifty(
    spent: float, delta: float, chosen: str
) -> None:
    one = budgeted(Budget(usd=10), Budget(usd=1000, per="user"))
    spend(one, spent)
    decision = one.decide(prompt())
    assert decision.delta == pytest.approx(delta)
    assert decision.candidate == chosen
    thrifty = "95% of 10 USD is used or held, so δ is 0.76 and not 0.05"
    assert (thrifty in decision.reason) is (spent > 9)


def test_soft_budgets_raise_delta_to_one_and_refuse_nobody() -> None:
    one = budgeted(Budget(usd=1, hard=False))
    spend(one, 5.0)
    decision = one.decide(prompt())
    assert (decision.candidate, decision.delta, decision.refusals) == ("a", 1.0, ())
    assert "500% of 1 USD is used" in decision.reason


def test_the_fullest_budget_says_how_thrifty_and_never_means_never() -> None:
    one = budgeted(Budget(usd=1, near=1), Budget(usd=2, hard=False), Budget(usd=4, hard=False))
    spend(one, 1.9 - 1e-9)
    with pytest.raises(BudgetExceededError):
        one.decide(prompt())
    never = budgeted(Budget(usd=2, near=1))
    spend(never, 1.9)
    assert never.decide(prompt()).delta == pytest.approx(0.05)


def test_explain_flips_at_the_raised_delta() -> None:
    one = budgeted(Budget(usd=10))
    spend(one, 9.5)
    told = one.explain(prompt(), detail=True)
    assert told.candidate == "a"
    assert told.detail is not None
    assert told.detail.flips == ("b would answer with a δ under 0.400 (it is 0.762)",)
    assert one.books.states(prompt())[0].standing.held == NOTHING, "explaining holds nothing"


@pytest.mark.parametrize("force", [None, "a"])
def test_explain_leaves_out_those_for_whom_there_is_no_room(force: str | None) -> None:
    one = budgeted(Budget(usd=0.01, near=1))
    told = one.explain(prompt(max_tokens=4000), force, detail=True)
    assert told.candidate == "a"
    assert told.detail is not None
    assert told.detail.flips == ()
    with pytest.raises(BudgetExceededError):
        one.explain(prompt(max_tokens=4000), "b", detail=True)


def test_without_room_for_the_dear_one_the_cheap_one_answers() -> None:
    one = budgeted(Budget(usd=0.01, near=1))
    decision = one.decide(prompt(max_tokens=4000))
    assert (decision.candidate, decision.fallbacks) == ("a", ())
    assert "may take 0.0807 USD, and of 0.01 USD 0.01 is left" in str(decision)


def test_nobody_left_for_a_budget_and_nobody_left_at_all_are_two_errors() -> None:
    full = budgeted(Budget(usd=0))
    with pytest.raises(BudgetExceededError, match="budget of 0 USD has 0 USD left") as caught:
        full.decide(prompt())
    assert [r.candidate for r in caught.value.refusals] == ["a", "b"]
    mixed = budgeted(Budget(usd=0), among=(candidate("a", context_window=1), PRICED[1]))
    with pytest.raises(BudgetExceededError) as caught:
        mixed.decide(prompt())
    assert "its window holds 1" in caught.value.refusals[0].reason
    unknown = budgeted(Budget(usd=1), among=(candidate("a"),))
    with pytest.raises(NoCandidateError, match="its price is unknown") as other:
        unknown.decide(prompt())
    assert not isinstance(other.value, BudgetExceededError)


@pytest.mark.parametrize("by", ["force", "pin"])
def test_a_forced_candidate_is_held_to_budgets(by: str) -> None:
    one = budgeted(Budget(usd=0.01, near=1))
    pin = "b" if by == "pin" else None
    view = prompt(max_tokens=4000, scope=Scope(pin=pin))
    with pytest.raises(BudgetExceededError) as caught:
        one.decide(view, None if pin else "b")
    assert [r.candidate for r in caught.value.refusals] == ["b"]
    assert one.decide(view, "a").candidate == "a"


def test_a_shadow_answers_and_what_was_wanted_is_noted() -> None:
    one = budgeted(Budget(usd=1), shadow="a")
    decision = one.decide(prompt())
    assert (decision.candidate, decision.wanted, decision.fallbacks) == ("a", "b", ())
    assert decision.reason.startswith("a answers in shadow mode; b would: no other")
    entry = one.answer(prompt(), decision, Metered({"a": ["x"]})).entry
    assert (entry.candidate, entry.chosen, entry.shadow) == ("a", "b", True)
    forced = one.decide(prompt(), "b")
    assert (forced.candidate, forced.wanted) == ("b", None)


def test_a_shadow_that_may_not_answer_leaves_nobody() -> None:
    one = budgeted(Budget(usd=0.01, near=1), shadow="b")
    with pytest.raises(BudgetExceededError) as caught:
        one.decide(prompt(max_tokens=4000))
    assert [r.candidate for r in caught.value.refusals] == ["b"]
    narrow = router(candidate("a"), candidate("b", context_window=1), shadow="b")
    with pytest.raises(NoCandidateError) as other:
        narrow.decide(prompt())
    assert not isinstance(other.value, BudgetExceededError)
    with pytest.raises(ConfigurationError, match="shadow names no candidate: 'z'; there are: a, b"):
        router(shadow="z")


def test_a_fallback_is_asked_only_where_there_is_room() -> None:
    one = budgeted(Budget(calls=1))
    decision = one.decide(prompt())
    spend(one, 0)
    down = Metered({"b": [ConnectionError()], "a": ["x"]})
    entry = one.answer(prompt(), decision, down).entry
    assert [a.outcome for a in entry.attempts] == ["failed", "answered"], "the first was refunded"
    with pytest.raises(BudgetExceededError, match="1 call has 0 calls left"):
        one.answer(prompt(), decision, Metered({}))
    assert standing(one).spent.calls == 1


def test_where_one_fails_and_the_others_have_no_room_all_failed() -> None:
    one = budgeted(Budget(usd=0.1, near=1))
    decision = one.decide(prompt(max_tokens=1000))

    class Spending(Metered):
        def send(self, ask: Any) -> Reply:
            spend(one, 0.1)
            raise ConnectionError("lost")

    with pytest.raises(AllCandidatesFailedError) as caught:
        one.answer(prompt(max_tokens=1000), decision, Spending({}))
    assert [(name, type(error)) for name, error in caught.value.errors] == [
        ("b", ConnectionError),
        ("a", BudgetExceededError),
    ]


def test_one_without_room_steps_aside_for_one_with() -> None:
    one = budgeted(Budget(usd=0.1, near=1))
    view = prompt(max_tokens=1000)
    decision = one.decide(view)
    assert (decision.candidate, decision.fallbacks) == ("b", ("a",))
    spend(one, 0.09)  # others were faster: what is left is enough for the cheap one
    entry = one.answer(view, decision, Metered({"a": ["x"]})).entry
    assert [(a.candidate, a.outcome) for a in entry.attempts] == [
        ("b", "refused"),
        ("a", "answered"),
    ]
    assert entry.cost_usd == pytest.approx(2e-5)


@pytest.mark.parametrize("slow", [False, True])
async def test_slow_budgets_are_read_off_the_event_loop(slow: bool) -> None:
    store = SlowStore()
    store.slow = slow  # type: ignore[misc]
    one = budgeted(Budget(usd=1), store=store)
    assert (await one.adecide(prompt())).candidate == "b"
    one.decide(prompt())
    on_loop = [thread is threading.main_thread() for _, thread in store.threads]
    assert on_loop == [not slow, True]


async def test_a_store_that_fails_lets_nobody_be_chosen() -> None:
    one = budgeted(Budget(usd=1), store=FailingStore("standings"))
    with pytest.raises(StorageError):
        one.decide(prompt())
    with pytest.raises(StorageError):
        await one.adecide(prompt())


# --- what decisions tell a strategy that asks ---


class Sampled(FixedPredictor):
    """Has a sample, and notes when it is asked for."""

    asked: ClassVar[list[int]] = []

    @property
    def sample(self) -> CalibrationSample:
        self.asked.append(1)
        scores = np.array([[0.0, 1.0], [1.0, 0.0]] * 200)
        return CalibrationSample(("a", "b"), scores, np.ones(400), scores, scores)


def test_overlaps_are_told_once_and_only_to_a_strategy_that_needs_them() -> None:
    prepared = prepare_candidates(
        [candidate("a", context_window=99), candidate("b")], lambda c: (c.model, {})
    )
    for strategy, found in ((Single(), 0), (MixtureOfAgents(), 2)):
        predictor = Sampled({"a": 0.5, "b": 0.6})
        made = Router(prepared, predictor=predictor, strategy=strategy)
        before = len(predictor.asked)
        decisions = [made.decide(prompt()) for _ in range(3)]
        assert [len(decision.overlaps) for decision in decisions] == [found] * 3
        assert len(predictor.asked) - before == bool(found)
        assert decisions[0].windows == {"a": 99}
        assert decisions[0].windows is decisions[1].windows


def test_without_a_sample_there_are_no_overlaps() -> None:
    assert router(strategy=MixtureOfAgents()).decide(prompt()).overlaps == {}
