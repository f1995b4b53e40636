"""What callers and handlers get from real OpenAI clients with and without a router: item by item.

Every test puts one question to a bare client and to a router that picks an equal one, and compares
answers, chunks, runs and usage.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_router import ChatRouter
from shared_core import FallbackPredictor
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS, openai_chat
from tests.integration_tests.langchain.forms import (
    CITY,
    FORMS,
    WAYS,
    Form,
    Runs,
    Way,
    collected,
    structured,
)

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS]

every_form = pytest.mark.parametrize("form", FORMS)
every_way = pytest.mark.parametrize("way", WAYS)
QUESTION = "What is the capital of France?"


@every_way
@every_form
def test_02_one_decision_one_request(form: Form, way: Way, server: OpenAIServer) -> None:
    made: list[Any] = []

    class Counted(FallbackPredictor):
        def predict(self, *args: Any) -> Any:
            made.append(args)
            return super().predict(*args)

    models = {name: openai_chat(server, name) for name in ("small", "large")}
    form(way(ChatRouter(models, predictor=Counted())), QUESTION)
    assert len(made) == 1
    assert len(server.requests) == 1


@every_way
@every_form
def test_03_05_the_models_run_is_the_bare_models(
    form: Form, way: Way, bare: BaseChatModel, llm: ChatRouter
) -> None:
    seen = []
    for model in (bare, llm):
        runs = Runs()
        form(way(model), QUESTION, {"callbacks": [runs], "tags": ["t"], "metadata": {"user": "u"}})
        (run,) = runs.of("model")
        seen.append((run["name"], run["metadata"]))
        assert "t" in run["tags"]
    assert seen[0] == seen[1]
    assert seen[1][1]["ls_model_name"] == "small"
    assert seen[1][1]["ls_provider"] == "openai"


@every_way
@every_form
def test_06_usage_is_the_bare_models(
    form: Form, way: Way, bare: BaseChatModel, llm: ChatRouter
) -> None:
    with get_usage_metadata_callback() as expected:
        form(way(bare), QUESTION)
    with get_usage_metadata_callback() as counted:
        form(way(llm), QUESTION)
    assert counted.usage_metadata == expected.usage_metadata
    assert set(counted.usage_metadata) == {"small"}


def without_record(message: AIMessage) -> dict[str, Any]:
    """All that a message says but the record, and the ids that differ from call to call."""
    dumped = message.model_dump(exclude={"id", "tool_calls", "tool_call_chunks"})
    metadata = {k: v for k, v in message.response_metadata.items() if k not in ("router", "id")}
    return {**dumped, "response_metadata": metadata}


@pytest.mark.parametrize("way", WAYS[:2])
@every_form
def test_07_the_answer_is_the_bare_models_but_for_the_record(
    form: Form, way: Way, bare: BaseChatModel, llm: ChatRouter
) -> None:
    expected, answer = form(way(bare), QUESTION), form(way(llm), QUESTION)
    assert without_record(answer) == without_record(expected)
    assert [call["args"] for call in answer.tool_calls] == [
        call["args"] for call in expected.tool_calls
    ]
    assert answer.response_metadata["model_name"] == "small"


@pytest.mark.parametrize("way", WAYS[:2])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_08_the_chunks_are_the_bare_models_and_one_has_the_record(
    asynchronous: bool, way: Way, bare: BaseChatModel, llm: ChatRouter
) -> None:
    expected = await collected(way(bare), asynchronous, QUESTION)
    chunks = await collected(way(llm), asynchronous, QUESTION)
    assert [without_record(c) for c in chunks] == [without_record(c) for c in expected]
    (record,) = [c.response_metadata["router"] for c in chunks if "router" in c.response_metadata]
    full: AIMessageChunk = sum(chunks[1:], chunks[0])
    assert full.response_metadata["router"] == record == json.loads(json.dumps(record))
    assert full.response_metadata["model_name"] == "small"


def node_calling(form_name: str, model: Runnable[Any, Any]) -> Callable[..., Any]:
    """A graph's node that calls the model in one of the four forms and returns what it said."""

    def sync(state: MessagesState) -> dict[str, Any]:
        if form_name == "invoke":
            said = [model.invoke(state["messages"])]
        else:
            said = list(model.stream(state["messages"]))
        return {"messages": [sum(said[1:], said[0])] if isinstance(said[0], AIMessage) else []}

    async def asynchronous(state: MessagesState) -> dict[str, Any]:
        if form_name == "ainvoke":
            said = [await model.ainvoke(state["messages"])]
        else:
            said = [item async for item in model.astream(state["messages"])]
        return {"messages": [sum(said[1:], said[0])] if isinstance(said[0], AIMessage) else []}

    return asynchronous if form_name.startswith("a") else sync


@every_way
@pytest.mark.parametrize("form_name", ["invoke", "ainvoke", "stream", "astream"])
async def test_09_langgraph_shows_the_chunks_of_the_bare_model(
    form_name: str, way: Way, bare: BaseChatModel, llm: ChatRouter
) -> None:
    async def shown(model: BaseChatModel) -> list[Any]:
        graph = StateGraph(MessagesState).add_node("step", node_calling(form_name, way(model)))
        graph.add_edge(START, "step").add_edge("step", END)
        stream = graph.compile().astream({"messages": [QUESTION]}, stream_mode="messages")
        return [(m.content, bool(m.tool_call_chunks)) async for m, _ in stream]

    expected = await shown(bare)
    assert len(expected) > 2
    assert await shown(llm) == expected


async def until(holds: Callable[[], Any]) -> None:
    while not holds():  # noqa: ASYNC110 - another thread makes it so
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("streamed", [False, True])
async def test_28_cancelling_closes_the_run_and_the_connection(
    streamed: bool, server: OpenAIServer, llm: ChatRouter
) -> None:
    server.script("small", [Fault("hang", after=3)])
    runs = Runs()

    async def ask() -> None:
        if not streamed:
            await llm.ainvoke(QUESTION, {"callbacks": [runs]})
        async for _ in llm.astream(QUESTION, {"callbacks": [runs]}):
            pass

    task = asyncio.create_task(ask())
    async with asyncio.timeout(10):
        await until(lambda: server.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: server.abandoned)
    assert runs.ended[-1] == ("chain", "error")
    assert server.asked("large") == []


@every_way
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_28_an_abandoned_stream_ends_the_models_run_first(
    asynchronous: bool, way: Way, server: OpenAIServer, llm: ChatRouter
) -> None:
    server.script("small", [Fault("slow", between_s=0.05)])
    runs = Runs()

    def router_run() -> Any:
        return next(key for key, run in runs.runs.items() if run["parent"] is None)

    # A dictionary is what grows; an object comes whole, at the end.
    model = way(llm) if way is not structured else llm.with_structured_output(CITY)
    if asynchronous:
        stream: AsyncIterator[Any] = model.astream(QUESTION, {"callbacks": [runs]})
        async with contextlib.aclosing(stream):  # type: ignore[type-var]
            await anext(stream)
        async with asyncio.timeout(10):  # the binding that `bind_tools` returned closes late
            await until(lambda: len(runs.ended) == len(runs.runs))
    else:
        for _ in model.stream(QUESTION, {"callbacks": [runs]}):
            break
    (model_run,) = (key for key, run in runs.runs.items() if run["kind"] == "model")
    assert runs.order.index(model_run) < runs.order.index(router_run())
    assert runs.ended[runs.order.index(router_run())] == ("chain", "end")
