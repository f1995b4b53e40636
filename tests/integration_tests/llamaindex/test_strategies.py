"""What holds for every strategy in LlamaIndex: it ends when left, in time, and within bounds."""

from __future__ import annotations

from typing import Any

import pytest

from llamaindex_router import Budget, Candidate, Policy, RouterLLM, deadline_s
from shared_core import DeadlineExceededError, TooManyAttemptsError
from tests.integration_tests.accounts import PRICE, entries, last, nothing_held, outcomes, standing
from tests.integration_tests.cancelling import (
    Cut,
    at_suspension,
    at_turn,
    cancel_everywhere,
    nothing_left,
)
from tests.integration_tests.llamaindex.forms import FORMS, Form, begin
from tests.integration_tests.llamaindex.scripted import Watched
from tests.integration_tests.strategies import (
    CHANCES,
    LONG_WAYS,
    NAMES,
    STRATEGIES,
    each_long_way,
    each_strategy,
)

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.contracts.llamaindex import awaited, observed  # isort: skip
from tests.fakes.llms import ScriptedLLM  # isort: skip

FEW = [form for form in FORMS if form.__name__ in ("chat", "astream_chat", "achat_with_tools")]
few_forms = pytest.mark.parametrize("form", FEW)
IN_TIME = {"policy": Policy(subject_to=[deadline_s(60)])}


def over(name: str, made: dict[str, Any], **settings: Any) -> RouterLLM:
    """A router with that strategy."""
    candidates = [Candidate(one, model, price=PRICE) for one, model in made.items()]
    strategy = STRATEGIES[name]
    return RouterLLM(candidates, strategy=strategy, predictor=CHANCES, **settings)


def watched(**settings: Any) -> dict[str, Watched]:
    return {name: Watched(model=name, **settings) for name in NAMES}


@pytest.mark.parametrize(
    ("cut", "settings"),
    [(at_suspension, {}), (at_turn, {}), (at_suspension, IN_TIME)],
    ids=["suspension", "turn", "suspension, with a deadline"],
)
@pytest.mark.parametrize("method", ["achat", "astream_chat", "astructured_predict"])
@each_long_way
async def test_each_may_be_cancelled_at_every_await_point(
    name: str, method: str, settings: Any, cut: Cut
) -> None:
    ends: set[str] = set()

    def start() -> Any:
        made = watched()
        llm = over(name, made, budgets=[Budget(tokens=10**6)], **settings)

        def check() -> None:
            logs = [log for model in made.values() for log in model.log]
            ends.update(logs)
            assert "under way" not in logs
            assert nothing_held(llm)
            assert llm.explain("Hello").resting == ()
            assert {entry["outcome"] for entry in entries(llm)} <= {"cancelled"}

        return awaited(method, begin(method, llm)), check

    with observed() as seen:
        assert await cancel_everywhere(start, cut) >= 1
    assert "CancelledError" in ends
    assert sorted(seen.closed) == sorted(seen.opened)


@pytest.mark.parametrize("method", ["stream_chat", "astream_chat"])
@each_strategy
async def test_each_ends_where_its_stream_is_left(name: str, method: str) -> None:
    made = watched()
    llm = over(name, made, budgets=[Budget(tokens=10**6)])
    async with nothing_left():
        if method == "astream_chat":
            later = await begin(method, llm)
            await anext(later)
            await later.aclose()
            del later
        else:
            responses = begin(method, llm)
            next(responses)
            responses.close()
            del responses
    assert "under way" not in {log for model in made.values() for log in model.log}
    assert nothing_held(llm)
    assert [entry["outcome"] for entry in entries(llm)] == ["cancelled"]


@few_forms
@each_strategy
def test_no_strategy_outlasts_a_deadline(name: str, form: Form) -> None:
    made = {one: ScriptedLLM(model=one, delay_s=3) for one in NAMES}
    policy = Policy(subject_to=[deadline_s(0.2)])
    llm = over(name, made, policy=policy, budgets=[Budget(tokens=10**6)])
    with pytest.raises(DeadlineExceededError):
        form(llm)
    entry = last(llm)
    assert entry["seconds"] < 2
    assert {how for _, how in outcomes(entry)} == {"failed"}
    assert nothing_held(llm)
    assert llm.explain("Hello").resting == ()


@few_forms
@each_strategy
def test_no_strategy_spends_more_than_a_budget_allows(name: str, form: Form) -> None:
    made = {one: ScriptedLLM(model=one) for one in NAMES}
    llm = over(name, made, budgets=[Budget(calls=2, per="day")])
    assert form(llm)
    answered = [who for who, how in outcomes(last(llm)) if how == "answered"]
    assert 1 <= len(answered) <= 2
    assert standing(llm).spent.calls == len(answered) == sum(len(m.calls) for m in made.values())
    assert nothing_held(llm)


@pytest.mark.parametrize("inner", LONG_WAYS)
@each_long_way
def test_strategies_in_strategies_ask_a_bounded_number_of_times(name: str, inner: str) -> None:
    calls: list[Any] = []

    def nested(limit: int) -> RouterLLM:
        made = {
            place: over(
                inner,
                {n: ScriptedLLM(model=n, calls=calls, replies=[f"{n} says so."]) for n in NAMES},
            )
            for place in NAMES
        }
        return over(name, made, max_attempts=limit)

    for form in FEW[:2]:
        calls.clear()
        llm = nested(100)
        form(llm)
        needed = len(calls) + len(last(llm)["attempts"])
        assert needed <= 60
        calls.clear()
        llm = nested(needed // 2)
        with pytest.raises(TooManyAttemptsError):
            form(llm)
        assert len(calls) + len(last(llm)["attempts"]) <= needed // 2
