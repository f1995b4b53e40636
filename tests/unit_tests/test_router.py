"""The spine: decisions, forced candidates, tool loops, the record."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from typing import Any

import pytest

from shared_core import (
    ConfigurationError,
    NoCandidateError,
    NotCalibratedError,
    Policy,
    Router,
    RouterError,
    UnknownCandidateError,
)
from shared_core.decision.candidates import prepare_candidates
from shared_core.strategies.single import Single
from shared_core.types import Candidate, Estimate, Reply, Usage
from tests.fakes.core import FakeTransport, FixedPredictor, candidate, prompt


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
    told = router(candidate("a"), candidate("b"), candidate("c")).explain(prompt())
    assert told.candidate == "b"
    assert told.detail is not None
    assert told.detail.flips == (
        "a would answer with a δ of 0.420 or more (it is 0.050)",
        "c would answer with a δ under 0.020 (it is 0.050)",
    )
    assert told.detail.moved == {}  # this predictor does not say
    assert "c would answer" in str(told)


def test_explain_of_a_forced_candidate_names_who_would_have_answered() -> None:
    told = router().explain(prompt(), force="a")
    assert told.detail is not None
    assert told.detail.flips[0] == "b would answer by the policy alone"


@pytest.mark.parametrize("force", [None, "a"])
def test_explain_asks_a_constraint_once_about_each_candidate(force: str | None) -> None:
    asked: list[str] = []

    def once(_: Any, of: Candidate, __: Any) -> str | None:
        asked.append(of.name)
        return "is spent" if asked.count(of.name) > 1 else None

    told = router(policy=Policy(subject_to=[once])).explain(prompt(), force)
    assert sorted(asked) == ["a", "b"]
    assert told.refusals == ()


def test_explain_leaves_refused_candidates_out_of_what_might_have_been() -> None:
    blind = candidate("b", capabilities={"tool_calling": False})
    told = router(candidate("a"), blind).explain(prompt(tools=({"type": "function"},)))
    assert told.detail is not None
    assert told.detail.flips == ()
    assert "  b is refused: cannot call tools (1 bound)" in str(told).splitlines()


def test_the_fallback_says_what_moved_its_estimates() -> None:
    prepared = prepare_candidates([candidate("a"), candidate("b")], lambda c: (c.model, {}))
    hard = prompt("Prove 3 + 4 = 7 from the axioms of Peano, in 12 steps, and count them.")
    told = Router(prepared).explain(hard)
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
