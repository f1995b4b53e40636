"""Routers that are candidates of routers: how often all of them together may ask."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.exceptions import ModelRateLimitError

from langchain_router import Budget, ChatRouter, ChatRouterMiddleware, Policy, deadline_s
from shared_core import ConfigurationError, TooManyAttemptsError
from shared_core.execution.tally import _OUTER
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import FixedPredictor
from tests.fakes.strategies import Everyone, Relay
from tests.integration_tests.accounts import entries, last, nothing_held
from tests.integration_tests.langchain.forms import FORMS, Form, plain, structured, with_tool

every_form = pytest.mark.parametrize("form", FORMS)
BUSY = ModelRateLimitError("busy")


def over(made: Any, strategy: Any = None, **settings: Any) -> ChatRouter:
    predictor = FixedPredictor(dict.fromkeys(made, 0.9))
    return ChatRouter(made, strategy=strategy or Everyone(), predictor=predictor, **settings)


def tower(levels: int, calls: list[Any], limit: int = 100, **settings: Any) -> ChatRouter:
    """A router over two routers over two routers … over models, each asking both."""
    if levels == 1:
        made: Any = {n: ScriptedChat(model_name=n, calls=calls) for n in ("a", "b")}
    else:
        made = {name: tower(levels - 1, calls, **settings) for name in ("a", "b")}
    return over(made, max_attempts=limit, **settings)


IN_TIME = {"policy": Policy(subject_to=[deadline_s(60)])}
each_setting = pytest.mark.parametrize("settings", [{}, IN_TIME], ids=["no deadline", "deadline"])
LEVELS = {1: 2, 2: 2 + 4, 3: 2 + 4 + 8}
"""How many attempts a tower takes: those at routers count too."""


@each_setting
@pytest.mark.parametrize("levels", LEVELS)
@every_form
def test_the_limit_holds_exactly_however_deep_routers_nest(
    form: Form, levels: int, settings: Any
) -> None:
    calls: list[Any] = []
    form(tower(levels, calls, LEVELS[levels], **settings), "Hi")
    assert len(calls) == 2**levels
    llm = tower(levels, calls, LEVELS[levels] - 1, **settings)
    with pytest.raises(TooManyAttemptsError) as caught:
        form(llm, "Hi")
    assert caught.value.limit == LEVELS[levels] - 1
    assert last(llm)["outcome"] == "failed"
    form(tower(levels, calls, LEVELS[levels], **settings), "Hi")  # each call counts anew


WHOLE_OR_STREAMED = [
    *[(way, form) for way in (plain, with_tool) for form in FORMS],
    *[(structured, form) for form in FORMS[:2]],
]


@pytest.mark.parametrize(("way", "form"), WHOLE_OR_STREAMED)
def test_the_limit_is_no_failure_that_another_candidate_could_mend(way: Any, form: Form) -> None:
    spare = ScriptedChat(model_name="spare")
    inner = over({"x": ScriptedChat(replies=[BUSY]), "y": ScriptedChat()}, Relay())
    middle = ChatRouter({"inner": inner, "spare": spare})
    outer = ChatRouter({"middle": middle, "spare": spare}, max_attempts=4)
    with pytest.raises(TooManyAttemptsError) as caught:
        form(way(outer), "Hi")
    assert caught.value.limit == 4
    assert spare.calls == []
    for llm in (outer, middle, inner):
        assert [entry["outcome"] for entry in entries(llm)] == ["failed"]
        assert llm.explain("Hi").resting == ()


@every_form
def test_the_limit_of_an_inner_router_ends_the_call_as_well(form: Form) -> None:
    inner = over({"x": ScriptedChat(), "y": ScriptedChat()}, max_attempts=1)
    outer = ChatRouter({"inner": inner, "spare": ScriptedChat()})
    with pytest.raises(TooManyAttemptsError) as caught:
        form(outer, "Hi")
    assert caught.value.limit == 1


@every_form
def test_retries_count_too_and_budgets_are_given_back(form: Form) -> None:
    made = {name: ScriptedChat(model_name=name, replies=[BUSY]) for name in "abcd"}
    llm = ChatRouter(made, max_attempts=2, budgets=[Budget(tokens=10**6)])
    with pytest.raises(TooManyAttemptsError):
        form(llm, "Hi")
    assert [bool(model.calls) for model in made.values()].count(True) == 2
    assert nothing_held(llm)
    assert len(last(llm)["attempts"]) == 2


@each_setting
def test_a_stream_leaves_the_callers_context_alone(settings: Any) -> None:
    llm = tower(2, [], **settings)
    relay = ChatRouter({"inner": llm, "own": ScriptedChat()}, strategy=Relay(), **settings)
    for one in (llm, relay):
        chunks = one.stream("Hi")
        for _ in chunks:
            assert _OUTER.get() is None
            assert len(one.invoke("Hi").text) > 0  # counts by itself
        assert _OUTER.get() is None


@each_setting
async def test_a_stream_of_the_loop_does_so_too(settings: Any) -> None:
    llm = ChatRouter({"inner": tower(2, [], **settings)}, strategy=Relay(), max_attempts=14)
    async for _ in llm.astream("Hi"):
        assert _OUTER.get() is None
        await llm.ainvoke("Hi")
    assert _OUTER.get() is None


async def test_calls_of_the_caller_side_by_side_count_each_for_itself() -> None:
    llm = tower(2, [], LEVELS[2])
    answers = await asyncio.gather(*(llm.ainvoke("Hi") for _ in range(5)))
    assert len(answers) == 5
    assert len(await llm.abatch(["Hi"] * 5)) == 5
    assert len(llm.batch(["Hi"] * 5)) == 5


def test_a_stream_may_be_read_in_several_contexts() -> None:
    llm = ChatRouter({"inner": tower(2, [])})
    chunks = llm.stream("Hi")
    seen = []
    while (chunk := copy_context().run(next, chunks, None)) is not None:
        seen.append(chunk)
    assert len(seen) >= 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_agents_step_counts_what_is_below_it(asynchronous: bool) -> None:
    asked = {"messages": [("user", "Hi")]}
    for middleware in ([], [ChatRouterMiddleware()]):
        agent: Any = create_agent(tower(2, [], LEVELS[2] - 1), [], middleware=middleware)
        with pytest.raises(TooManyAttemptsError):
            asyncio.run(agent.ainvoke(asked)) if asynchronous else agent.invoke(asked)


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_limit_is_at_least_one(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_attempts must be 1 or more"):
        ChatRouter({"a": ScriptedChat()}, max_attempts=wrong)
