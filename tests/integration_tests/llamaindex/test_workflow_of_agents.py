"""A workflow of two agents over real clients: one thinks with a mixture, the other with a cascade.

Tools run, answers are streamed, drafts are never shown, and one budget holds for the whole run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.agent.workflow import (
    AgentOutput,
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ToolCallResult,
)
from llama_index.core.memory import ChatMemoryBuffer

from llamaindex_router import (
    Budget,
    Candidate,
    Cascade,
    Draft,
    MixtureOfAgents,
    RouterLLM,
    call_scope,
)
from shared_core import Budgets
from shared_core.accounting.ledger.ledger import Ledger
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.replies import Answer, ToolCall
from tests.integration_tests.accounts import PRICE, entries, outcomes, standing
from tests.integration_tests.llamaindex.forms import client, weather
from tests.integration_tests.strategies import CHANCES, NAMES

QUESTION = "Find out how it is in Lisbon, then write a note."
HANDOFF = ToolCall("handoff", {"to_agent": "writer", "reason": "It is known."})


def voice(name: str) -> Any:
    """What a model of the server says: tools' calls first, then a draft, or the final answer."""

    def say(body: dict[str, Any]) -> Answer:
        offered = {one["function"]["name"] for one in body.get("tools", ())}
        said = [message for message in body["messages"] if message["role"] == "tool"]
        if "weather" in offered:
            call = HANDOFF if said else ToolCall("weather", {"city": "Lisbon"})
            return Answer(tool_calls=(call,), finish_reason="tool_calls")
        if "note" in offered and not any(m["content"] == "written" for m in said):
            call = ToolCall("note", {"text": "Sunny."})
            return Answer(tool_calls=(call,), finish_reason="tool_calls")
        final = "PROPOSAL" in str(body["messages"])
        return Answer("FINAL: the note is written." if final else f"DRAFT of {name}.")

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
    return models


def calls_a_tool(draft: Draft) -> bool:
    """A draft is right where it calls a tool."""
    return bool(draft.reply.tool_calls)


def workflow_over(
    server: OpenAIServer, notes: list[str], *budgets: Budget, streaming: bool = True
) -> tuple[AgentWorkflow, RouterLLM]:
    """The workflow, and one of its two routers, which share their budgets and their ledger."""

    def note(text: str) -> str:
        """Write a note."""
        notes.append(text)
        return "written"

    shared: dict[str, Any] = {"budgets": Budgets(*budgets), "ledger": Ledger()}
    candidates = [Candidate(name, client(server, name), price=PRICE) for name in NAMES]
    cascade = Cascade(calls_a_tool, accept=0.65)
    cascading = RouterLLM(candidates, strategy=cascade, predictor=CHANCES, **shared)
    mixing = RouterLLM(candidates, strategy=MixtureOfAgents(), predictor=CHANCES, **shared)
    clerk = FunctionAgent(
        name="clerk", description="Asks.", llm=cascading, tools=[weather], streaming=streaming
    )
    writer = FunctionAgent(
        name="writer",
        description="Writes.",
        llm=mixing,
        tools=[note],
        can_handoff_to=[],
        streaming=streaming,
    )
    return AgentWorkflow(agents=[clerk, writer], root_agent="clerk"), mixing


async def run(workflow: AgentWorkflow, llm: RouterLLM) -> tuple[Any, list[Any]]:
    """Its result and its events."""
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    with call_scope(run="r1"):
        handler = workflow.run(QUESTION, memory=memory)
        seen = [event async for event in handler.stream_events()]
        return await handler, seen


@pytest.mark.parametrize("streaming", [True, False])
async def test_two_agents_stream_what_they_say_and_no_draft(
    streaming: bool, server: OpenAIServer
) -> None:
    notes: list[str] = []
    budget = Budget(usd=1, calls=40, per="run")
    workflow, llm = workflow_over(server, notes, budget, streaming=streaming)
    result, seen = await run(workflow, llm)
    assert str(result) == "FINAL: the note is written."
    assert notes == ["Sunny."]
    assert [(e.tool_name, e.tool_output.content) for e in seen if isinstance(e, ToolCallResult)][
        ::2
    ] == [("weather", "sunny in Lisbon"), ("note", "written")]
    agents = [e.current_agent_name for e in seen if isinstance(e, AgentOutput)]
    assert agents == ["clerk", "clerk", "writer", "writer"]
    assert "DRAFT" not in str([e.response.content for e in seen if isinstance(e, AgentOutput)])
    if streaming:
        deltas = [e.delta for e in seen if isinstance(e, AgentStream)]
        assert "".join(deltas) == "FINAL: the note is written."
        assert sum(map(bool, deltas)) > 1  # by words, and not in one piece


@pytest.mark.parametrize("streaming", [True, False])
async def test_all_that_was_asked_is_charged_to_the_run_and_reported(
    streaming: bool, server: OpenAIServer
) -> None:
    budget = Budget(usd=1, calls=40, per="run")
    workflow, llm = workflow_over(server, [], budget, streaming=streaming)
    await run(workflow, llm)
    asked = Counter(body["model"] for body in server.requests)
    attempts = [attempt for entry in entries(llm) for attempt in entry["attempts"]]
    assert Counter(attempt["candidate"] for attempt in attempts) == asked
    assert {attempt["outcome"] for attempt in attempts} == {"answered"}
    assert asked.total() > 6  # a mixture asks three, and one more
    spent, held = standing(llm, run="r1")
    assert held.calls == held.nano_usd == 0
    assert spent.calls == asked.total()
    costs = [attempt["cost_usd"] for attempt in attempts]
    # OpenAI's client of LlamaIndex counts no tokens of a stream: the most they can be is charged.
    unknown = costs.count(None)
    assert (unknown > 0) == streaming
    usd = sum(cost for cost in costs if cost is not None)
    most = sum(attempt["cost_usd_high"] or 0 for attempt in attempts if attempt["cost_usd"] is None)
    assert spent.nano_usd == pytest.approx((usd + most) * 1e9)
    report = llm.ledger.report()
    known = sum(entry["cost_usd"] or 0 for entry in entries(llm))  # all attempts of a call, or none
    assert report.spent["usd"] == pytest.approx(known)
    assert sum(row["attempts"] for row in report.models) == asked.total()
    assert {entry["run"] for entry in entries(llm)} == {"r1"}
    assert standing(llm, run="r2").spent.calls == 0


@pytest.mark.parametrize("most", [1, 2, 3])
async def test_a_runs_budget_is_never_overrun(most: int, server: OpenAIServer) -> None:
    workflow, llm = workflow_over(server, [], Budget(calls=most, per="run"))
    with pytest.raises(Exception, match=rf"the budget of {most} calls? per run has 0 calls left"):
        await run(workflow, llm)
    assert len(server.requests) == most == standing(llm, run="r1").spent.calls
    answered = [how for entry in entries(llm) for _, how in outcomes(entry)].count("answered")
    assert answered == most


async def test_a_mixture_answers_with_what_the_budget_left_it(server: OpenAIServer) -> None:
    workflow, llm = workflow_over(server, [], Budget(calls=4, per="run"))
    result, _ = await run(workflow, llm)
    assert str(result) == "DRAFT of small."
    assert outcomes(entries(llm)[-1]) == [
        ("small", "answered"),
        ("large", "refused"),
        ("middle", "refused"),
        ("large", "refused"),  # by itself: it might have had room once the other's was given back
    ]
    assert len(server.requests) == 4 == standing(llm, run="r1").spent.calls
