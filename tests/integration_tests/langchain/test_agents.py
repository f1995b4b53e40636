"""Agents and graphs over a router with real OpenAI clients: each step is routed by itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, SummarizationMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import ConfigurableField
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import create_react_agent

from langchain_router import Candidate, ChatRouter, ChatRouterMiddleware, Policy
from tests.fakes.core import Choosing
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.replies import Answer, ToolCall
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS, openai_chat
from tests.integration_tests.langchain.forms import City, weather

pytestmark = [
    *(pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS),
    pytest.mark.filterwarnings("ignore:create_react_agent has been moved"),
]

QUESTION = {"messages": [("user", "Use the weather tool: how is it in 'Lisbon'?")]}


def records(messages: list[Any]) -> list[str]:
    return [
        m.response_metadata["router"]["candidate"] for m in messages if isinstance(m, AIMessage)
    ]


def check(messages: list[Any]) -> None:
    """The tool ran once, with the model's arguments, and each step says who took it."""
    assert [m.type for m in messages] == ["human", "ai", "tool", "ai"]
    assert messages[2].content == "sunny in Lisbon"
    assert records(messages) == ["small", "small"]
    ids = {m.response_metadata["router"]["decision_id"] for m in (messages[1], messages[3])}
    assert len(ids) == 2


async def test_01_an_agent_runs_its_tool(llm: ChatRouter) -> None:
    agent = create_agent(llm, tools=[weather])
    check(agent.invoke(QUESTION)["messages"])
    check((await agent.ainvoke(QUESTION))["messages"])


def test_01_a_deep_agent_runs_its_tool(llm: ChatRouter) -> None:
    deepagents = pytest.importorskip("deepagents", reason="deepagents is not installed")
    check(deepagents.create_deep_agent(model=llm, tools=[weather]).invoke(QUESTION)["messages"])


async def test_01_an_agents_steps_are_streamed_with_their_records(llm: ChatRouter) -> None:
    agent = create_agent(llm, tools=[weather])
    whole = list(agent.stream(QUESTION, stream_mode="values"))
    awhole = [state async for state in agent.astream(QUESTION, stream_mode="values")]
    for states in (whole, awhole):
        assert len(states) == 4
        check(states[-1]["messages"])


async def test_09_an_agents_message_chunks_are_the_bare_models(
    bare: BaseChatModel, llm: ChatRouter
) -> None:
    async def shown(model: BaseChatModel) -> list[tuple[str, Any]]:
        stream = create_agent(model, tools=[weather]).astream(QUESTION, stream_mode="messages")
        return [(message.type, message.content) async for message, _ in stream]

    expected = await shown(bare)
    assert len(expected) > 8
    assert await shown(llm) == expected


@pytest.mark.parametrize("bound", [False, True])
def test_14_a_react_agent_takes_a_bare_and_a_bound_router(llm: ChatRouter, bound: bool) -> None:
    model = llm.bind_tools([weather]) if bound else llm
    check(create_react_agent(model, [weather]).invoke(QUESTION)["messages"])


# Before langchain-openai 1.7, tools beside a native format had to be strict, which `create_agent`
# sees to for OpenAI's own classes alone.
OLD_OPENAI = tuple(map(int, version("langchain-openai").split(".")[:2])) < (1, 7)


@pytest.mark.parametrize(
    ("strategy", "tools"),
    [
        *[(strategy, []) for strategy in (ProviderStrategy(City), ToolStrategy(City), City)],
        *[(strategy, [weather]) for strategy in (ToolStrategy(City), City)],
        pytest.param(
            ProviderStrategy(City),
            [weather],
            marks=pytest.mark.skipif(OLD_OPENAI, reason="needs langchain-openai 1.7"),
        ),
    ],
)
def test_18_an_agents_structured_response_is_the_bare_models(
    strategy: Any, tools: list[Any], bare: BaseChatModel, llm: ChatRouter
) -> None:
    question = {"messages": [("user", "A city: 'Lisbon' in 'Portugal'.")]}
    expected, result = [
        create_agent(model, tools=tools, response_format=strategy).invoke(question)
        for model in (bare, llm)
    ]
    assert result["structured_response"] == expected["structured_response"]
    assert result["structured_response"] == City(name="Lisbon", country="Portugal")
    assert set(records(result["messages"])) == {"small"}


def test_24_a_candidates_name_does_not_decide_the_response_format(server: OpenAIServer) -> None:
    llm = ChatRouter([Candidate("gpt-5", openai_chat(server, "small"))])
    question = {"messages": [("user", "A city.")]}
    create_agent(llm, tools=[], response_format=City).invoke(question)
    assert server.requests[0]["tools"][0]["function"]["name"] == "City"
    assert "response_format" not in server.requests[0]


def test_the_model_that_called_the_tool_reads_its_result(llm: ChatRouter) -> None:
    bound = llm.bind_tools([weather])
    asked = bound.invoke("Use the weather tool for Lisbon.", model="large")
    result = {"role": "tool", "content": "sunny", "tool_call_id": asked.tool_calls[0]["id"]}
    answer = bound.invoke([("user", "How is it in Lisbon?"), asked, result])
    record = answer.response_metadata["router"]
    assert record["candidate"] == "large"
    assert record["reason"] == "large called the tool and reads its result"


def test_an_agent_goes_on_when_a_candidate_fails(server: OpenAIServer, llm: ChatRouter) -> None:
    server.script("small", [Fault("status", status=503)])
    messages = create_agent(llm, tools=[weather]).invoke(QUESTION)["messages"]
    assert messages[2].content == "sunny in Lisbon"
    assert records(messages) == ["large", "large"]
    assert messages[1].response_metadata["router"]["attempts"] == [
        {"candidate": "small", "outcome": "failed"},
        {"candidate": "large", "outcome": "answered"},
    ]


async def test_a_graph_whose_nodes_have_their_own_policies(llm: ChatRouter) -> None:
    best = llm.with_policy(Policy(quality=1))

    def draft(state: MessagesState) -> dict[str, Any]:
        return {"messages": [llm.invoke(state["messages"])]}

    async def check_it(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await best.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("draft", draft).add_node("check", check_it)
    graph.add_edge(START, "draft").add_edge("draft", "check").add_edge("check", END)
    result = await graph.compile().ainvoke({"messages": [("user", "Hello")]})
    assert records(result["messages"]) == ["small", "large"]
    assert [m.content for m in result["messages"]][1:] == [
        "small answers: Hello",
        "large answers: small answers: Hello",
    ]


def called_twice(body: dict[str, Any]) -> Answer | None:
    """Ask for the weather of two cities, one after the other."""
    results = sum(message["role"] == "tool" for message in body["messages"])
    if not body.get("tools") or results > 1:
        return None
    return Answer(tool_calls=(ToolCall("weather", {"city": ("Lisbon", "Porto")[results]}),))


Stack = Callable[[ChatRouter, BaseChatModel], Any]
STACKS: dict[str, Stack] = {
    "create_agent": lambda llm, bare: create_agent(llm, tools=[weather]),
    "middleware": lambda llm, bare: create_agent(
        bare, tools=[weather], middleware=[ChatRouterMiddleware(llm)]
    ),
    "react agent": lambda llm, bare: create_react_agent(llm, [weather]),
    "bound": lambda llm, bare: create_react_agent(llm.bind_tools([weather]), [weather]),
    "summarization": lambda llm, bare: create_agent(
        llm,
        tools=[weather],
        middleware=[SummarizationMiddleware(model=llm, trigger=("messages", 50))],
    ),
    "fallback": lambda llm, bare: create_agent(
        llm, tools=[weather], middleware=[ModelFallbackMiddleware(bare)]
    ),
    "configurable": lambda llm, bare: create_agent(
        llm.configurable_fields(temperature=ConfigurableField(id="temperature")),
        tools=[weather],
    ),
    "router in a router": lambda llm, bare: create_agent(
        ChatRouter({"inner": llm}), tools=[weather]
    ),
}


def chosen(message: AnyMessage) -> str:
    """Who answered, below all routers."""
    record = message.response_metadata["router"]
    while "inner" in record:
        record = record["inner"]
    return str(record["candidate"])


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
async def test_31_32_34_a_stack_whose_model_changes_at_every_step(
    stack: Stack, asynchronous: bool, server: OpenAIServer, bare: BaseChatModel
) -> None:
    for name in ("small", "large"):
        server.say(name, called_twice)
    llm = ChatRouter(
        {name: openai_chat(server, name) for name in ("small", "large")},
        policy=Policy(stay_in_tool_loop=False),
        predictor=Choosing(lambda number: ("small", "large")[number % 2]),
    )
    agent = stack(llm, bare)
    result = await agent.ainvoke(QUESTION) if asynchronous else agent.invoke(QUESTION)
    messages = result["messages"]
    assert [m.type for m in messages] == ["human", "ai", "tool", "ai", "tool", "ai"]
    assert [m.content for m in messages if m.type == "tool"] == [
        "sunny in Lisbon",
        "sunny in Porto",
    ]
    authors = [chosen(m) for m in messages if m.type == "ai"]
    assert authors == [body["model"] for body in server.requests]
    assert len(set(authors[:2])) == len(set(authors[1:])) == 2
    for body in server.requests:
        ids = [call["id"] for m in body["messages"] for call in m.get("tool_calls", ())]
        assert ids == [m["tool_call_id"] for m in body["messages"] if m["role"] == "tool"]
        assert "router" not in str(body)
