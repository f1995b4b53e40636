"""Agents and graphs over a router with real OpenAI clients: each step is routed by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_router import ChatRouter, Policy
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.standard_gates import openai_chat

QUESTION = {"messages": [("user", "Use the weather tool: how is it in Lisbon?")]}


def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


@pytest.fixture
def llm() -> Iterator[ChatRouter]:
    with OpenAIServer() as server:
        yield ChatRouter({name: openai_chat(server, name) for name in ("small", "large")})


def records(messages: list[Any]) -> list[str]:
    return [
        m.response_metadata["router"]["candidate"] for m in messages if isinstance(m, AIMessage)
    ]


def test_01_an_agent_runs_its_tool(llm: ChatRouter) -> None:
    agent = create_agent(llm, tools=[weather])
    messages = agent.invoke(QUESTION)["messages"]
    assert [m.type for m in messages] == ["human", "ai", "tool", "ai"]
    assert "sunny in" in messages[2].content
    assert records(messages) == ["small", "small"]


async def test_an_agent_streams_and_runs_async(llm: ChatRouter) -> None:
    agent = create_agent(llm, tools=[weather])
    tokens = [t async for t, _ in agent.astream(QUESTION, stream_mode="messages")]
    assert any(token.type == "tool" for token in tokens)
    messages = (await agent.ainvoke(QUESTION))["messages"]
    assert records(messages) == ["small", "small"]


def test_the_model_that_called_the_tool_reads_its_result(llm: ChatRouter) -> None:
    bound = llm.bind_tools([weather])
    asked = bound.invoke("Use the weather tool for Lisbon.", model="large")
    result = {"role": "tool", "content": "sunny", "tool_call_id": asked.tool_calls[0]["id"]}
    answer = bound.invoke([("user", "How is it in Lisbon?"), asked, result])
    record = answer.response_metadata["router"]
    assert record["candidate"] == "large"
    assert record["reason"] == "large called the tool and reads its result"


def test_a_graph_whose_nodes_have_their_own_policies(llm: ChatRouter) -> None:
    best = llm.with_policy(Policy(quality=1))

    def draft(state: MessagesState) -> dict[str, Any]:
        return {"messages": [llm.invoke(state["messages"])]}

    def check(state: MessagesState) -> dict[str, Any]:
        return {"messages": [best.invoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("draft", draft).add_node("check", check)
    graph.add_edge(START, "draft").add_edge("draft", "check").add_edge("check", END)
    messages = graph.compile().invoke({"messages": [("user", "Hello")]})["messages"]
    assert records(messages) == ["small", "large"]
