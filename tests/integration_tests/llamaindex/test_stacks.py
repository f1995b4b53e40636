"""Query engines, chat engines and agents over a router with real clients on a loopback server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import SentenceSplitter
from llama_index.llms.openai_like import OpenAILike

from llamaindex_router import RouterLLM
from tests.fakes.openai_server import OpenAIServer
from tests.integration_tests.llamaindex.forms import FORMS, QUESTION, City, Form

CORPUS = [
    "The Rhine rises in the Swiss Alps, passes Lake Constance and the Rhine Falls, and reaches the "
    "North Sea in the Netherlands after about 1,230 kilometres.",
    "The Danube rises in the Black Forest and flows through ten countries, more than any other "
    "river, before it reaches the Black Sea.",
    "The Elbe rises in the Giant Mountains of the Czech Republic, passes Dresden and Hamburg, and "
    "ends in the North Sea at Cuxhaven.",
]


def client(server: OpenAIServer, model: str) -> OpenAILike:
    return OpenAILike(
        model=model,
        api_base=server.base_url,
        api_key="test",
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=8000,
        max_retries=0,
    )


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def llm(server: OpenAIServer) -> RouterLLM:
    return RouterLLM({name: client(server, name) for name in ("small", "large")})


@pytest.fixture
def index() -> VectorStoreIndex:
    return VectorStoreIndex.from_documents(
        [Document(text=text) for text in CORPUS],
        embed_model=MockEmbedding(embed_dim=8),
        transformations=[SentenceSplitter(chunk_size=128, chunk_overlap=0)],
    )


def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


@pytest.mark.parametrize("form", FORMS[:13])
def test_real_clients_in_every_form(form: Form, llm: RouterLLM, server: OpenAIServer) -> None:
    response = form(llm)
    assert len(server.asked("small")) == 1
    assert server.asked("large") == []
    if hasattr(response, "additional_kwargs"):
        assert response.additional_kwargs["router"]["candidate"] == "small"
    else:
        assert isinstance(response, City)


@pytest.mark.parametrize("mode", ["compact", "tree_summarize", "refine"])
def test_a_query_engine(
    mode: str, index: VectorStoreIndex, llm: RouterLLM, server: OpenAIServer
) -> None:
    engine = index.as_query_engine(llm=llm, response_mode=mode, similarity_top_k=3)
    assert " answers: " in str(engine.query("Where does the Danube end?"))
    sent = server.requests
    assert "ten countries" in str([request["messages"] for request in sent])
    assert "router" not in str([request.get("messages") for request in sent])


async def test_a_query_engine_streams_and_runs_async(
    index: VectorStoreIndex, llm: RouterLLM
) -> None:
    streaming = index.as_query_engine(llm=llm, streaming=True)
    assert " answers: " in "".join(streaming.query("Where does the Elbe end?").response_gen)
    assert " answers: " in str(await index.as_query_engine(llm=llm).aquery("And the Rhine?"))


@pytest.mark.parametrize("mode", ["context", "condense_plus_context", "simple"])
def test_a_chat_engine(mode: str, index: VectorStoreIndex, llm: RouterLLM) -> None:
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    engine = index.as_chat_engine(chat_mode=mode, llm=llm, memory=memory)
    assert " answers: " in str(engine.chat("Where does the Rhine rise?"))
    assert " answers: " in str(engine.chat("And the Elbe?"))


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_function_agent_runs_its_tool(
    streaming: bool, llm: RouterLLM, server: OpenAIServer
) -> None:
    called: list[str] = []

    def look(city: str) -> str:
        """Tell the weather in a city."""
        called.append(city)
        return weather(city)

    agent = FunctionAgent(tools=[look], llm=llm, streaming=streaming)
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    answer = await agent.run("Use the look tool: how is the weather in Lisbon?", memory=memory)
    assert called
    assert str(answer)
    assert answer.response.additional_kwargs["router"]["candidate"] == "small"
    requests = server.requests
    assert [request["model"] for request in requests] == ["small", "small"]
    assert requests[1]["messages"][-1]["role"] == "tool"
    assert all("router" not in message for r in requests for message in r["messages"])


async def test_a_workflow_takes_the_agent_that_calls_functions(llm: RouterLLM) -> None:
    workflow = AgentWorkflow.from_tools_or_functions([weather], llm=llm)
    assert isinstance(next(iter(workflow.agents.values())), FunctionAgent)
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    assert str(await workflow.run("Use the weather tool: how is it?", memory=memory))


def test_settings_and_structured_llm(
    llm: RouterLLM, index: VectorStoreIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "_llm", None)
    Settings.llm = llm
    assert " answers: " in str(index.as_query_engine().query(QUESTION))
    answer: Any = llm.as_structured_llm(City).complete("A city.")
    assert isinstance(answer.raw, City)
