"""Agents whose tool loops run into trouble: who takes which step, in every stack."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import ToolException, tool
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition

from langchain_router import Budget, ChatRouter, ChatRouterMiddleware, Policy, call_scope, max_steps
from langchain_router._messages import read_prompt
from shared_core import BudgetExceededError, ConfigurationError, NoCandidateError
from shared_core.types import Step
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.leftovers import nothing_left
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.replies import Answer, ToolCall
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS
from tests.integration_tests.langchain.forms import FORMS, Form, router, structured, with_tool

pytestmark = [
    *(pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS),
    pytest.mark.filterwarnings("ignore:create_react_agent has been moved"),
]

QUESTION = {"messages": [("user", "How is it in these cities?")]}


@tool
def look(city: str) -> str:
    """Look up a city."""
    if city.startswith("bad"):
        raise ToolException(f"there is no {city}")
    return f"sunny in {city}"


look.handle_tool_error = True


def call(city: str, number: int) -> dict[str, Any]:
    return {"name": "look", "args": {"city": city}, "id": f"call_{number}"}


def plan(*steps: Sequence[str] | AIMessage) -> list[Any]:
    """A script by which any model that is asked takes the next step: cities to call `look` for."""

    def reply(messages: list[BaseMessage]) -> AIMessage:
        taken = sum(isinstance(message, AIMessage) for message in messages)
        if taken >= len(steps):
            return AIMessage("It is sunny.")
        step = steps[taken]
        if isinstance(step, AIMessage):
            return step
        calls = [call(city, 10 * taken + place) for place, city in enumerate(step)]
        return AIMessage("", tool_calls=calls)

    return [reply] * 50


def scripted(*steps: Sequence[str] | AIMessage, **settings: Any) -> ChatRouter:
    small, large = (
        ScriptedChat(model_name=name, replies=plan(*steps)) for name in ("small", "large")
    )
    return router(small, large, **settings)


def records(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    return [m.response_metadata["router"] for m in messages if isinstance(m, AIMessage)]


def authors(messages: Sequence[BaseMessage]) -> list[str]:
    return [record["candidate"] for record in records(messages)]


def graph(llm: ChatRouter) -> Any:
    """A graph of one's own whose node calls the router."""
    bound = llm.bind_tools([look])

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [bound.invoke(state["messages"])]}

    async def aask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    built = StateGraph(MessagesState).add_node("ask", RunnableLambda(ask, aask))
    built.add_node("tools", ToolNode([look]))
    built.add_edge(START, "ask").add_conditional_edges("ask", tools_condition)
    return built.add_edge("tools", "ask").compile()


Stack = Callable[[ChatRouter], Any]
STACKS: dict[str, Stack] = {
    "create_agent": lambda llm: create_agent(llm, tools=[look]),
    "middleware": lambda llm: create_agent(llm, tools=[look], middleware=[ChatRouterMiddleware()]),
    "react agent": lambda llm: create_react_agent(llm, [look]),
    "graph": graph,
}
every_stack = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
both_ways = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


async def run(agent: Any, asynchronous: bool, question: Any = QUESTION) -> list[AnyMessage]:
    result = await agent.ainvoke(question) if asynchronous else agent.invoke(question)
    return list(result["messages"])


def called(body: dict[str, Any]) -> Answer | None:
    """Two cities that there are not, then three that there are, one call after the other."""
    cities = ("bad Lisboa", "bad Porta", "Lisbon", "Porto", "Faro")
    results = sum(message["role"] == "tool" for message in body["messages"])
    if not body.get("tools") or results >= len(cities):
        return None
    return Answer(tool_calls=(ToolCall("look", {"city": cities[results]}),))


@every_stack
@both_ways
async def test_the_large_one_takes_over_and_hands_back(
    stack: Stack, asynchronous: bool, server: OpenAIServer, llm: ChatRouter
) -> None:
    for name in ("small", "large"):
        server.say(name, called)
    messages = await run(stack(llm), asynchronous)
    assert authors(messages) == ["small", "small", "large", "large", "small", "small"]
    assert [body["model"] for body in server.requests] == authors(messages)
    reasons = [record["reason"] for record in records(messages)]
    assert reasons[1] == "small called the tool and reads its result"
    assert reasons[2] == "small's last 2 calls failed; large takes over"
    assert reasons[3] == "large called the tool and reads its result"
    assert reasons[4].startswith("2 calm steps since the trouble; small is the weakest")
    for body in server.requests:  # what the next model reads is whole, and has nothing of ours
        ids = [one["id"] for m in body["messages"] for one in m.get("tool_calls", ())]
        assert ids == [m["tool_call_id"] for m in body["messages"] if m["role"] == "tool"]
        assert "router" not in str(body)


@every_stack
async def test_a_stall_ends_with_another_model(stack: Stack) -> None:
    llm = scripted(["Faro"], ["Faro"], ["Porto"])
    messages = await run(stack(llm), asynchronous=True)
    assert authors(messages) == ["small", "small", "large", "large"]
    assert records(messages)[2]["reason"] == (
        "small's last call was made before, with the same result; large takes over"
    )


@every_stack
async def test_one_error_of_calls_side_by_side_is_no_trouble(stack: Stack) -> None:
    half = scripted(["bad 1", "Faro"], ["bad 2", "Porto"], ["bad 3", "Lisbon"])
    messages = await run(stack(half), asynchronous=False)
    assert sum(isinstance(m, ToolMessage) for m in messages) == 6
    assert set(authors(messages)) == {"small"}
    most = scripted(["bad 1", "bad 2", "Faro"], ["bad 3", "bad 4"], ["Porto"])
    messages = await run(stack(most), asynchronous=False)
    assert authors(messages) == ["small", "small", "large", "large"]


def test_calls_that_cannot_be_parsed_go_to_another_model() -> None:
    broken = AIMessage("", invalid_tool_calls=[_broken()])
    llm = scripted(broken, ["Faro"])
    bound = llm.bind_tools([look])
    messages: list[BaseMessage] = [HumanMessage("How is it in Faro?")]
    for _ in range(2):  # as a graph of one's own would do
        messages.append(bound.invoke(messages))
    assert authors(messages) == ["small", "large"]
    assert records(messages)[1]["reason"] == (
        "small's last call could not be parsed; large takes over"
    )


def _broken() -> Any:
    return {"name": "look", "args": '{"city": ', "id": "call_b", "error": "cut short"}


def test_what_is_read_of_a_loop() -> None:
    stamped = {"router": {"candidate": "small"}}
    messages = [
        HumanMessage("Before"),
        AIMessage("", tool_calls=[call("old", 0)]),
        ToolMessage("Error: old", tool_call_id="call_0"),
        HumanMessage("How is it?"),
        AIMessage("", tool_calls=[call("Faro", 1), call("Porto", 2)], response_metadata=stamped),
        ToolMessage("no", tool_call_id="call_1", status="error"),
        ToolMessage([{"type": "text", "text": "Error: none"}], tool_call_id="call_2"),
        AIMessage("I see.", tool_calls=[call("Lisbon", 3)], invalid_tool_calls=[_broken()]),
        ToolMessage("Errors are rare there", tool_call_id="call_3"),
    ]
    assert read_prompt(messages).loop == (
        Step(
            "small",
            ('look {"city": "Faro"}', 'look {"city": "Porto"}'),
            failed=2,
            results=("no", "Error: none"),
        ),
        Step(
            None,
            ('look {"city": "Lisbon"}',),
            malformed=True,
            results=("Errors are rare there",),
        ),
    )
    assert read_prompt(messages[:4]).loop == ()
    assert read_prompt([SystemMessage("Be brief."), *messages[:3], messages[3]]).loop == ()


def test_explain_tells_of_the_loop() -> None:
    llm = scripted(["bad 1"], ["bad 2"], ["Faro"])
    messages = create_agent(llm, tools=[look]).invoke(QUESTION)["messages"]
    before = llm.bind_tools([look]).kwargs
    planned = llm.explain(messages[:1], **before)
    assert planned.phase == "planning"
    decision = llm.explain(messages[:5], **before)
    assert (decision.candidate, decision.phase) == ("large", "after an error")
    assert decision.estimates[0].quality < planned.estimates[0].quality
    assert decision.estimates[1].quality == planned.estimates[1].quality
    assert "small's last 2 calls failed; large takes over" in str(decision)


@contextmanager
def none_left_open(asynchronous: bool) -> Iterator[None]:
    """See that nothing is left of a run; an event loop keeps the threads in which tools ran."""
    if not asynchronous:
        with nothing_left():
            yield
        return
    tasks = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() <= tasks


@every_stack
@both_ways
async def test_a_loop_that_never_ends_is_ended_by_its_steps(
    stack: Stack, asynchronous: bool
) -> None:
    cities = [[f"city {number}"] for number in range(40)]
    llm = scripted(*cities, policy=Policy(subject_to=[max_steps(3)]))
    with none_left_open(asynchronous), pytest.raises(NoCandidateError, match="has had 3 steps"):
        await run(stack(llm), asynchronous)
    assert [len(c.model.calls) for c in llm._router.candidates] == [3, 0]


@every_stack
@both_ways
async def test_a_loop_that_never_ends_is_ended_by_the_runs_budget(
    stack: Stack, asynchronous: bool
) -> None:
    cities = [[f"city {number}"] for number in range(40)]
    llm = scripted(*cities, budgets=Budget(calls=4, per="run"))
    agent = stack(llm)
    for name in ("r1", "r2"):  # each run has its own
        with none_left_open(asynchronous), call_scope(run=name), pytest.raises(BudgetExceededError):
            await run(agent, asynchronous)
    assert sum(len(c.model.calls) for c in llm._router.candidates) == 8
    assert [entry["outcome"] for entry in llm.ledger.entries()] == ["answered"] * 8


@pytest.mark.parametrize("stack", [s for name, s in STACKS.items() if name != "react agent"])
def test_langgraphs_own_limit_stays_what_it_is(stack: Stack) -> None:
    llm = scripted(*[[f"city {number}"] for number in range(40)])
    with pytest.raises(GraphRecursionError):
        stack(llm).invoke(QUESTION, {"recursion_limit": 6})


def test_the_whole_loop_is_read_at_a_cost_linear_in_it(bare: BaseChatModel) -> None:
    messages: list[BaseMessage] = [HumanMessage("How is it?")]
    for number in range(5_000):
        messages.append(AIMessage("", tool_calls=[call(f"city {number}", number)]))
        messages.append(ToolMessage("sunny", tool_call_id=f"call_{number}"))
    assert len(read_prompt(messages).loop) == 5_000
    decision = router().explain(messages)
    assert decision.reason == "small goes on"


# --- stages ---


@pytest.mark.parametrize("form", FORMS)
def test_a_stage_has_its_own_policy_and_its_row_in_the_report(form: Form) -> None:
    llm = router()
    stage = llm.with_policy(Policy(quality=1), step="synthesis")
    assert form(stage, "Hello").response_metadata["router"]["candidate"] == "large"
    assert form(llm, "Hello").response_metadata["router"]["candidate"] == "small"
    assert stage.ledger is llm.ledger
    rows = {row["name"]: row["calls"] for row in llm.ledger.report().steps}
    assert rows == {"synthesis": 1, None: 1}


@pytest.mark.parametrize("way", [with_tool, structured])
def test_a_stage_keeps_its_name_where_something_is_bound(way: Any) -> None:
    llm = router()
    way(llm.with_policy(Policy(), step="extraction")).invoke("A city: 'Faro' in 'Portugal'.")
    assert [row["name"] for row in llm.ledger.report().steps] == ["extraction"]


def test_whose_word_on_the_step_holds() -> None:
    llm = router()
    stage = llm.with_policy(Policy(), step="own")
    seen = []

    def asked(model: ChatRouter, config: Any = None) -> None:
        model.invoke("Hello", config)
        seen.append(list(llm.ledger.entries())[-1]["step"])

    with call_scope(step="scope"):
        asked(llm)
        asked(stage)
        asked(stage, {"configurable": {"step": "config"}})
    asked(stage.with_policy(Policy(quality=1)))
    asked(ChatRouter(llm.candidates, step="constructor", ledger=llm.ledger))
    assert seen == ["scope", "own", "config", "own", "constructor"]


@pytest.mark.parametrize("wrong", ["", 7])
def test_a_step_is_a_name(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="step must be a non-empty string"):
        router().with_policy(Policy(), step=wrong)
    with pytest.raises((ConfigurationError, ValueError)):
        router(step=wrong)


async def test_a_stage_inside_the_middleware_keeps_its_name() -> None:
    llm = scripted(["Faro"])
    stage = llm.with_policy(Policy(), step="research")
    await run(create_agent(stage, tools=[look], middleware=[ChatRouterMiddleware()]), True)
    await run(create_agent(llm, tools=[look]), True)
    steps = {row["name"]: row["calls"] for row in llm.ledger.report().steps}
    assert steps == {"research": 2, "model": 2}  # else it is the graph's node
