"""What holds for every strategy in LangChain: it ends when left, in time, and within bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import get_usage_metadata_callback

from langchain_router import Budget, Candidate, ChatRouter, Policy, SelfConsistency, deadline_s
from shared_core import DeadlineExceededError, TooManyAttemptsError
from tests.fakes.chat_models import ScriptedChat
from tests.integration_tests.accounts import PRICE, entries, last, nothing_held, outcomes, standing
from tests.integration_tests.cancelling import (
    Cut,
    at_suspension,
    at_turn,
    cancel_everywhere,
    nothing_left,
)
from tests.integration_tests.langchain.forms import FORMS, Form, ainvoke, invoke
from tests.integration_tests.langchain.watching import (
    QUESTION,
    Asks,
    Told,
    Watched,
    streamed,
    whole,
)
from tests.integration_tests.strategies import (
    CHANCES,
    LONG_WAYS,
    NAMES,
    STRATEGIES,
    each_long_way,
    each_strategy,
)

every_form = pytest.mark.parametrize("form", FORMS)
both_ways = pytest.mark.parametrize("asynchronous", [False, True])


IN_TIME = {"policy": Policy(subject_to=[deadline_s(60)])}


def over(name: str, made: dict[str, Any], **settings: Any) -> ChatRouter:
    """A router with that strategy."""
    candidates = [Candidate(one, model, price=PRICE) for one, model in made.items()]
    strategy = STRATEGIES[name]
    return ChatRouter(candidates, strategy=strategy, predictor=CHANCES, **settings)


def watched(**settings: Any) -> dict[str, Watched]:
    return {name: Watched(model_name=name, **settings) for name in NAMES}


@pytest.mark.parametrize(
    ("cut", "settings"),
    [(at_suspension, {}), (at_turn, {}), (at_suspension, IN_TIME)],
    ids=["suspension", "turn", "suspension, with a deadline"],
)
@pytest.mark.parametrize("ask", [whole, streamed])
@each_long_way
async def test_22_each_may_be_cancelled_at_every_await_point(
    name: str, ask: Asks, settings: Any, cut: Cut
) -> None:
    ends: set[str] = set()

    def begin() -> Any:
        made, told = watched(), Told()
        llm = over(name, made, budgets=[Budget(tokens=10**6)], **settings)

        def check() -> None:
            logs = [log for model in made.values() for log in model.log]
            ends.update(logs)
            assert "under way" not in logs
            assert nothing_held(llm)
            assert llm.explain(QUESTION).resting == ()
            # Of one that was answered, LangChain was still telling the handlers.
            assert {entry["outcome"] for entry in entries(llm)} <= {"cancelled", "answered"}
            # LangChain leaves the run of a model open where its `ainvoke` is cancelled.
            assert set(told.open) <= {"model"}

        return ask(llm, {"callbacks": [told]}), check

    assert await cancel_everywhere(begin, cut) >= 3
    assert "CancelledError" in ends


@each_strategy
async def test_22_each_ends_where_its_stream_is_left(name: str) -> None:
    made, told = watched(), Told()
    llm = over(name, made, budgets=[Budget(tokens=10**6)])
    async with nothing_left():
        chunks: Any = llm.astream(QUESTION, {"callbacks": [told]})
        await anext(chunks)
        await chunks.aclose()
        later: Any = llm.stream(QUESTION, {"callbacks": [told]})
        next(later)
        later.close()
    assert "under way" not in {log for model in made.values() for log in model.log}
    assert told.open == []
    assert nothing_held(llm)
    # One that was held back comes in a single chunk, with the record.
    assert {entry["outcome"] for entry in entries(llm)} <= {"cancelled", "answered"}


@every_form
@each_strategy
def test_no_strategy_outlasts_a_deadline(name: str, form: Form) -> None:
    made = {one: ScriptedChat(model_name=one, delay_s=3) for one in NAMES}
    policy = Policy(subject_to=[deadline_s(0.2)])
    llm = over(name, made, policy=policy, budgets=[Budget(tokens=10**6)])
    with pytest.raises(DeadlineExceededError):
        form(llm, QUESTION)
    entry = last(llm)
    assert entry["seconds"] < 2
    assert {how for _, how in outcomes(entry)} == {"failed"}
    assert nothing_held(llm)
    assert llm.explain(QUESTION).resting == ()


@every_form
@each_strategy
def test_no_strategy_spends_more_than_a_budget_allows(name: str, form: Form) -> None:
    made = {one: ScriptedChat(model_name=one) for one in NAMES}
    llm = over(name, made, budgets=[Budget(calls=2, per="day")])
    text = form(llm, QUESTION).text
    assert text
    answered = [who for who, how in outcomes(last(llm)) if how == "answered"]
    assert 1 <= len(answered) <= 2
    assert standing(llm).spent.calls == len(answered) == sum(len(m.calls) for m in made.values())
    assert nothing_held(llm)


@pytest.mark.parametrize("inner", LONG_WAYS)
@each_long_way
def test_strategies_in_strategies_ask_a_bounded_number_of_times(name: str, inner: str) -> None:
    calls: list[Any] = []

    def nested(limit: int) -> ChatRouter:
        made = {
            place: over(
                inner,
                {
                    n: ScriptedChat(model_name=n, calls=calls, replies=[f"{n} says so."])
                    for n in NAMES
                },
            )
            for place in NAMES
        }
        return over(name, made, max_attempts=limit)

    for form in (invoke, ainvoke):
        calls.clear()
        llm = nested(100)
        form(llm, QUESTION)
        needed = len(calls) + len(last(llm)["attempts"])
        assert needed <= 60
        calls.clear()
        llm = nested(needed // 2)
        with pytest.raises(TooManyAttemptsError):
            form(llm, QUESTION)
        assert len(calls) + len(last(llm)["attempts"]) <= needed // 2


@both_ways
@each_strategy
def test_10_an_agent_shows_each_answer_once_and_no_draft(name: str, asynchronous: bool) -> None:
    replies = {one: [f"{one} says so."] for one in NAMES}
    made = {one: ScriptedChat(model_name=one, replies=replies[one]) for one in NAMES}
    agent: Any = create_agent(over(name, made), [])
    asked = {"messages": [("user", QUESTION)]}

    async def collect() -> list[Any]:
        modes = ["messages", "values"]
        return [item async for item in agent.astream(asked, stream_mode=modes)]

    if asynchronous:
        items = asyncio.run(collect())
    else:
        items = list(agent.stream(asked, stream_mode=["messages", "values"]))
    shown = "".join(item[0].text for mode, item in items if mode == "messages")
    answer = [item for mode, item in items if mode == "values"][-1]["messages"][-1]
    assert shown == answer.text != ""


@every_form
@each_strategy
def test_06_the_usage_of_all_attempts_is_counted(name: str, form: Form) -> None:
    made = {one: ScriptedChat(model_name=one) for one in NAMES}
    llm = over(name, made)
    with get_usage_metadata_callback() as counted:
        form(llm, QUESTION)
    attempts = last(llm)["attempts"]
    for kind in ("input_tokens", "output_tokens"):
        told = sum(usage[kind] for usage in counted.usage_metadata.values())  # type: ignore[literal-required]
        assert told == sum(attempt["usage"][kind] for attempt in attempts) > 0


class Warm(ScriptedChat):
    temperature: float = 0.0


def test_a_cache_does_not_answer_one_sample_with_another() -> None:
    said = ["The answer is 7.", "The answer is 8."]
    model = Warm(replies=said, cache=InMemoryCache())
    router = ChatRouter({"small": model}, strategy=SelfConsistency(at_once=1))
    assert router.invoke("3 + 5?").text == "The answer is 8."
    drawn = len(model.calls)
    assert drawn > 2
    assert router.invoke("3 + 5?").text == "The answer is 8."
    assert len(model.calls) == drawn, "the same samples come out of the cache the second time"
