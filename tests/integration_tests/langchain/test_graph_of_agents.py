"""A graph of two agents over real clients: one thinks with a mixture, the other with a cascade.

Tools run, answers are streamed, drafts are never shown, and one budget holds for the whole run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_router import Budget, Candidate, Cascade, ChatRouter, MixtureOfAgents
from shared_core import BudgetExceededError, Budgets
from shared_core.accounting.ledger.ledger import Ledger
from shared_core.types import Draft
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.replies import Answer, ToolCall
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS, openai_chat
from tests.integration_tests.accounts import PRICE, entries, outcomes, standing
from tests.integration_tests.langchain.forms import weather
from tests.integration_tests.strategies import CHANCES, NAMES

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS]

RUN = {"configurable": {"run": "r1"}}
ASKED = {"messages": [("user", "Find out how it is in Lisbon, then write a note.")]}
NOTED: list[str] = []


@tool
def note(text: str) -> str:
    """Write a note."""
    NOTED.append(text)
    return "written"


def voice(name: str) -> Any:
    """What a model of the server says: a tool's call first, then a draft, or the final answer."""
    finals = {"weather": "FINAL: it is sunny.", "note": "FINAL: the note is written."}

    def say(body: dict[str, Any]) -> Answer:
        (offered,) = [one["function"]["name"] for one in body["tools"]]
        if body["messages"][-1]["role"] != "tool" and "PROPOSAL" not in str(body["messages"][-1]):
            arguments = {"weather": {"city": "Lisbon"}, "note": {"text": "Sunny."}}[offered]
            return Answer(tool_calls=(ToolCall(offered, arguments),), finish_reason="tool_calls")
        final = name == "large" if offered == "note" else "PROPOSAL" in str(body["messages"])
        return Answer(finals[offered] if final else f"DRAFT of {name}.")

    return say


@pytest.fixture(scope="module")
def models() -> Iterator[OpenAIServer]:
    with OpenAIServer(models=NAMES) as running:
        yield running


@pytest.fixture
def server(models: OpenAIServer) -> OpenAIServer:
    models.reset()
    for name in NAMES:
        models.say(name, voice(name))
    NOTED.clear()
    return models


def calls_a_tool(draft: Draft) -> bool:
    """A draft is right where it calls a tool."""
    return bool(draft.reply.tool_calls)


def graph_over(server: OpenAIServer, *budgets: Budget) -> tuple[Any, ChatRouter]:
    """The graph, and one of its two routers, which share their budgets and their ledger."""
    shared: dict[str, Any] = {"budgets": Budgets(*budgets), "ledger": Ledger()}
    candidates = [Candidate(n, openai_chat(server, n), price=PRICE) for n in NAMES]
    mixing = ChatRouter(candidates, strategy=MixtureOfAgents(), predictor=CHANCES, **shared)
    cascade = Cascade(calls_a_tool, accept=0.65)
    cascading = ChatRouter(candidates, strategy=cascade, predictor=CHANCES, **shared)
    builder = StateGraph(MessagesState)
    builder.add_node("research", create_agent(mixing, [weather], name="research"))
    builder.add_node("write", create_agent(cascading, [note], name="write"))
    builder.add_edge(START, "research").add_edge("research", "write").add_edge("write", END)
    return builder.compile(), mixing


def streamed(graph: Any, asynchronous: bool) -> list[tuple[str, Any]]:
    """All that the graph streams, with its mode."""
    options: Any = {"stream_mode": ["messages", "updates"], "subgraphs": True}

    async def collect() -> list[Any]:
        return [item async for item in graph.astream(ASKED, RUN, **options)]

    items = asyncio.run(collect()) if asynchronous else list(graph.stream(ASKED, RUN, **options))
    return [(mode, item) for _, mode, item in items]


def texts(items: list[tuple[str, Any]]) -> str:
    """What was shown of the models' answers, as it came."""
    shown = [message for mode, item in items if mode == "messages" for message in item[:1]]
    return "".join(one.text for one in shown if isinstance(one, (AIMessage, AIMessageChunk)))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_two_agents_stream_what_they_say_and_no_draft(
    asynchronous: bool, server: OpenAIServer
) -> None:
    graph, _ = graph_over(server, Budget(usd=1, calls=40, per="run"))
    items = streamed(graph, asynchronous)
    assert texts(items) == "FINAL: it is sunny.FINAL: the note is written."
    chunks = [item for mode, item in items if mode == "messages"]
    finals = [message for message, _ in chunks if "FINAL" in message.text or "note" in message.text]
    assert len(finals) >= 2  # by words, and not in one piece
    updates = [item for mode, item in items if mode == "updates"]
    nodes = [node for update in updates for node in update]
    assert [node for node in nodes if node in ("research", "write")] == ["research", "write"]
    assert nodes.count("tools") == 2
    (results,) = [update["write"]["messages"] for update in updates if "write" in update]
    assert [m.content for m in results if isinstance(m, ToolMessage)] == [
        "sunny in Lisbon",
        "written",
    ]
    assert NOTED == ["Sunny."]
    assert "DRAFT" not in "".join(message.text for message in results)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_all_that_was_asked_is_charged_to_the_run_and_reported(
    asynchronous: bool, server: OpenAIServer
) -> None:
    graph, llm = graph_over(server, Budget(usd=1, calls=40, per="run"))
    streamed(graph, asynchronous)
    asked = Counter(body["model"] for body in server.requests)
    attempts = [attempt for entry in entries(llm) for attempt in entry["attempts"]]
    assert Counter(attempt["candidate"] for attempt in attempts) == asked
    assert {attempt["outcome"] for attempt in attempts} == {"answered"}
    assert asked.total() > 8  # a mixture asks three, and one more
    spent, held = standing(llm, run="r1")
    assert held.calls == held.nano_usd == 0
    assert spent.calls == asked.total()
    usd = sum(attempt["cost_usd"] for attempt in attempts)
    assert spent.nano_usd == pytest.approx(usd * 1e9)
    report = llm.ledger.report()
    assert report.spent["usd"] == pytest.approx(usd)
    assert sum(row["attempts"] for row in report.models) == asked.total()
    assert {entry["run"] for entry in entries(llm)} == {"r1"}
    assert standing(llm, run="r2").spent.calls == 0


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("most", [1, 2, 4, 7])
def test_a_runs_budget_is_never_overrun(
    most: int, asynchronous: bool, server: OpenAIServer
) -> None:
    graph, llm = graph_over(server, Budget(calls=most, per="run"))
    with pytest.raises(BudgetExceededError):
        streamed(graph, asynchronous)
    assert len(server.requests) == most == standing(llm, run="r1").spent.calls
    answered = [how for entry in entries(llm) for _, how in outcomes(entry)].count("answered")
    assert answered == most
