"""Routers that are candidates of routers: how often all of them together may ask."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage

from llamaindex_router import Budget, Policy, RouterLLM, deadline_s
from shared_core import ConfigurationError, TooManyAttemptsError
from shared_core.execution.tally import _OUTER
from tests.fakes.core import FixedPredictor
from tests.fakes.strategies import Everyone, Relay
from tests.integration_tests.accounts import entries, last, nothing_held, outcomes
from tests.integration_tests.llamaindex.forms import FORMS, TOOL, Form
from tests.integration_tests.llamaindex.scripted import Busy

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.fakes.llms import ScriptedLLM  # isort: skip

every_form = pytest.mark.parametrize("form", FORMS)
HELLO = [ChatMessage(content="Hi")]


def over(made: Any, strategy: Any = None, **settings: Any) -> RouterLLM:
    predictor = FixedPredictor(dict.fromkeys(made, 0.9))
    return RouterLLM(made, strategy=strategy or Everyone(), predictor=predictor, **settings)


def tower(levels: int, calls: list[Any], limit: int = 100, **settings: Any) -> RouterLLM:
    """A router over two routers over two routers … over LLMs, each asking both."""
    if levels == 1:
        made: Any = {name: ScriptedLLM(model=name, calls=calls) for name in ("a", "b")}
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
    form(tower(levels, calls, LEVELS[levels], **settings))
    assert len(calls) == 2**levels
    llm = tower(levels, calls, LEVELS[levels] - 1, **settings)
    with pytest.raises(TooManyAttemptsError) as caught:
        form(llm)
    assert caught.value.limit == LEVELS[levels] - 1
    assert last(llm)["outcome"] == "failed"
    form(tower(levels, calls, LEVELS[levels], **settings))  # each call counts anew


@every_form
def test_the_limit_is_no_failure_that_another_candidate_could_mend(form: Form) -> None:
    spare = ScriptedLLM(model="spare")
    inner = over({"x": ScriptedLLM(replies=[Busy()]), "y": ScriptedLLM()}, Relay())
    middle = RouterLLM({"inner": inner, "spare": spare})
    outer = RouterLLM({"middle": middle, "spare": spare}, max_attempts=4)
    with pytest.raises(TooManyAttemptsError) as caught:
        form(outer)
    assert caught.value.limit == 4
    assert spare.calls == []
    for llm in (outer, middle, inner):
        assert [entry["outcome"] for entry in entries(llm)] == ["failed"]
        assert llm.explain("Hi").resting == ()


@every_form
def test_retries_count_too_and_budgets_are_given_back(form: Form) -> None:
    made = {name: ScriptedLLM(model=name, replies=[Busy()]) for name in "abcd"}
    llm = RouterLLM(made, max_attempts=2, budgets=[Budget(tokens=10**6)])
    with pytest.raises(TooManyAttemptsError):
        form(llm)
    assert [bool(model.calls) for model in made.values()].count(True) == 2
    assert nothing_held(llm)
    assert [how for _, how in outcomes(last(llm))] == ["failed"] * 2


@each_setting
def test_a_stream_leaves_the_callers_context_alone(settings: Any) -> None:
    llm = RouterLLM({"inner": tower(2, [], **settings)}, strategy=Relay(), max_attempts=14)
    for _ in llm.stream_chat(HELLO):
        assert _OUTER.get() is None
        assert llm.chat(HELLO).message.content  # counts by itself
    assert _OUTER.get() is None


@each_setting
async def test_a_stream_of_the_loop_does_so_too(settings: Any) -> None:
    llm = RouterLLM({"inner": tower(2, [], **settings)}, strategy=Relay(), max_attempts=14)
    async for _ in await llm.astream_chat(HELLO):
        assert _OUTER.get() is None
        await llm.achat(HELLO)
    assert _OUTER.get() is None


async def test_calls_of_the_caller_side_by_side_count_each_for_itself() -> None:
    llm = tower(2, [], LEVELS[2])
    assert len(await asyncio.gather(*(llm.achat(HELLO) for _ in range(5)))) == 5


@pytest.mark.parametrize("streaming", [True, False])
async def test_an_agents_step_counts_what_is_below_it(streaming: bool) -> None:
    llm = tower(2, [], LEVELS[2] - 1)
    agent = FunctionAgent(tools=[TOOL], llm=llm, streaming=streaming)
    with pytest.raises(Exception, match="raise max_attempts"):
        await agent.run("Hi")


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_limit_is_at_least_one(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_attempts must be 1 or more"):
        RouterLLM({"a": ScriptedLLM()}, max_attempts=wrong)
